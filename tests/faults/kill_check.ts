/** What must be in a store that was killed: all that was acknowledged, in order, once. */

import assert from "node:assert/strict";
import type { Store } from "../../mod.ts";
import { committedOffsets, listTopics, offsetsOf, read } from "../../mod.ts";
import type { Acknowledgement } from "./kill_plan.ts";
import {
  deletedPartition,
  groupId,
  latestTopic,
  ordersPartitions,
  ordersTopic,
  parseOrder,
  passingPrefix,
  printOrderId,
} from "./kill_plan.ts";

/** What was acknowledged to all programs on a folder. */
export interface Acknowledged {
  /** Ids by offset, a map a partition. */
  readonly orders: readonly Map<number, string>[];
  readonly latest: Map<number, number>;
  readonly committed: Map<number, number>;
  readonly topics: Map<number, boolean>;
  startOffset: number;
  count: number;
}

/** Nothing so far. */
export function nothingAcknowledged(): Acknowledged {
  return {
    orders: Array.from({ length: ordersPartitions }, () => new Map()),
    latest: new Map(),
    committed: new Map(),
    topics: new Map(),
    startOffset: 0,
    count: 0,
  };
}

/** Notes what a program said. */
export function noteAcknowledged(known: Acknowledged, line: Acknowledgement): void {
  known.count++;
  switch (line[0]) {
    case "record": {
      const orders = known.orders[line[1]]!;
      assert.equal(orders.has(line[2]), false, `offset ${line[2]} is given out once`);
      orders.set(line[2], line[3]);
      break;
    }
    case "latest":
      known.latest.set(line[1], Math.max(known.latest.get(line[1]) ?? 0, line[2]));
      break;
    case "commit":
      known.committed.set(line[1], line[2]);
      break;
    case "start":
      known.startOffset = line[1];
      break;
    case "topic":
      known.topics.set(line[1], line[2]);
      break;
    case "failed":
      assert.fail(line[1]);
  }
}

/** Holds a store against what was acknowledged. */
export async function checkAcknowledged(store: Store, known: Acknowledged): Promise<void> {
  const topics = listTopics(store);
  // Killed before it could make them.
  if (!topics.includes(ordersTopic)) {
    assert.equal(known.count, 0);
    return;
  }
  for (const [partition, orders] of known.orders.entries()) {
    await checkOrders(store, partition, orders, known);
  }
  if (topics.includes(latestTopic)) await checkLatest(store, known.latest);
  // What was asked for last may have been done, and its program killed before it could tell.
  const last = Math.max(...known.topics.keys());
  if (known.topics.get(last) === true) known.topics.delete(last);
  for (const [number, isThere] of known.topics) await checkPassing(store, topics, number, isThere);
  await checkCommitted(store, known.committed);
}

async function checkOrders(
  store: Store,
  partition: number,
  orders: ReadonlyMap<number, string>,
  known: Acknowledged,
): Promise<void> {
  const { startOffset, endOffset } = offsetsOf(store, ordersTopic)[partition]!;
  if (partition === deletedPartition) assert.ok(startOffset >= known.startOffset);
  else assert.equal(startOffset, 0);
  const numbers = new Map<string, number>();
  let nextOffset = startOffset;
  let foundCount = 0;
  for await (const { offset, value } of read(store, ordersTopic, { partition, from: "earliest" })) {
    const id = parseOrder(new TextDecoder().decode(value!));
    const text = printOrderId(id);
    assert.equal(offset, nextOffset++, "no offset is missing");
    assert.equal(id.partition, partition);
    const before = numbers.get(id.stream);
    if (before === undefined) assert.ok(startOffset > 0 || id.number === 0, `${text} is first`);
    else assert.equal(id.number, before + 1, `${text} is next of its stream, once`);
    numbers.set(id.stream, id.number);
    const acknowledged = orders.get(offset);
    if (acknowledged === undefined) continue;
    assert.equal(text, acknowledged, `offset ${offset} is what was acknowledged`);
    foundCount++;
  }
  assert.equal(nextOffset, endOffset);
  const wanted = [...orders.keys()].filter((offset) => offset >= startOffset);
  assert.equal(foundCount, wanted.length, `all that was acknowledged of partition ${partition}`);
}

async function checkLatest(store: Store, latest: ReadonlyMap<number, number>): Promise<void> {
  const found = new Map<string, number>();
  for await (const { key, value } of read(store, latestTopic, { from: "earliest" })) {
    const name = new TextDecoder().decode(key!);
    const number = Number(new TextDecoder().decode(value!));
    assert.ok(name === "pause" || number > (found.get(name) ?? -1), `key ${name} is in order`);
    found.set(name, number);
  }
  for (const [key, number] of latest) {
    assert.ok((found.get(`${key}`) ?? -1) >= number, `key ${key} has ${number} or a later one`);
  }
}

async function checkPassing(
  store: Store,
  topics: readonly string[],
  number: number,
  isThere: boolean,
): Promise<void> {
  const name = `${passingPrefix}${number}`;
  assert.equal(topics.includes(name), isThere, `${name} is ${isThere ? "there" : "gone"}`);
  if (!isThere) return;
  const values: string[] = [];
  for await (const { value } of read(store, name, { from: "earliest" })) {
    values.push(new TextDecoder().decode(value!));
  }
  assert.deepEqual(values, [name]);
}

async function checkCommitted(
  store: Store,
  committed: ReadonlyMap<number, number>,
): Promise<void> {
  const found = new Map(
    (await committedOffsets(store, groupId)).map(({ partition, offset }) => [partition, offset]),
  );
  for (const [partition, offset] of committed) {
    const { endOffset } = offsetsOf(store, ordersTopic)[partition]!;
    const now = found.get(partition) ?? -1;
    assert.ok(now >= offset && now <= endOffset, `${now} is committed of ${partition}: ${offset}`);
  }
}
