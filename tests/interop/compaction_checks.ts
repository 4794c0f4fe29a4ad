/**
 * A folder with compacted topics, held to Kafka's dump tool: batches with records taken out, empty
 * batches, delete horizons, and the indexes of segments that were made of several. And a copy that
 * was made of it while it was open, on which a broker goes on.
 */
import type { LogRecord, Store } from "../../mod.ts";
import {
  appendBatch,
  backupStore,
  closeProducer,
  closeStore,
  compactTopic,
  createTopic,
  openProducer,
  openStore,
  read,
  send,
} from "../../mod.ts";
import { appendProduced } from "../../src/log/producer_append.ts";
import { appendRecord, batchBuilder, finishBatch } from "../../src/record/batch_builder.ts";
import { buildEndTransactionMarker } from "../../src/record/control_record.ts";
import { logOf } from "../../src/store/partitions.ts";
import { internalsOf } from "../../src/store/store.ts";
import { findUnexpectedWarnings, withBroker } from "./boot_checks.ts";
import { check } from "./check.ts";
import type { Checks } from "./check.ts";
import { compareWithConsumed, readAll } from "./compare_records.ts";
import type { Broker } from "./kafka_broker.ts";
import { consoleConsume, consoleProduce } from "./kafka_commands.ts";
import type { Kafka } from "./kafka_tools.ts";
import { checkFolder } from "./ottla_checks.ts";

const decoder = new TextDecoder();
const compressions = ["uncompressed", "gzip"] as const;
const roundsCount = 5;
const keysCount = 400;
/** How many keys there are in the end: those of the rounds, and the one that is sent. */
const keptCount = keysCount + 1;
/** What the broker's producer adds to each topic of the copy: two values a key. */
const producedKeys = 4;
const produced = Array.from({ length: 2 * producedKeys }, (_, nth) => ({
  key: `kafka-${nth % producedKeys}`,
  value: `value ${nth}`,
  headers: [],
}));

/**
 * Makes a folder with compacted topics, lets Kafka's dump tool read it, and a broker go on with a
 * copy of it.
 *
 * @param checks Where the outcome is counted.
 * @param kafka Kafka.
 * @param folder Where to make it; the copy lies beside it.
 */
export async function checkCompaction(
  checks: Checks,
  kafka: Kafka,
  folder: string,
): Promise<void> {
  const copy = `${folder}-copy`;
  const kept = new Map<string, LogRecord[]>();
  await check(checks, "ottla compacts topics", async () => {
    const store = await openStore(folder, { topicOverrides: { segmentBytes: 100_000 } });
    const differences: string[] = [];
    for (const compression of compressions) {
      const topic = topicOf(compression);
      await createTopic(store, topic, { cleanupPolicy: "compact", compression });
      for (let round = 0; round < roundsCount; round++) {
        await appendRound(store, topic, round);
        appendTransaction(store, topic, round % 2 === 0 ? "abort" : "commit");
        await compactTopic(store, topic);
      }
      differences.push(...await compareTopic(store, topic, keptCount));
      kept.set(topic, await readAll(store, topic));
    }
    await backupStore(store, copy);
    await closeStore(store);
    return differences;
  });
  await checkFolder(checks, kafka, folder, "a folder after compaction");
  await check(
    checks,
    "Kafka starts on the copy of a live, compacted store and reads every record",
    () => withBroker(kafka, copy, (broker) => goOn(broker, kept)),
  );
  await check(checks, "ottla compacts what Kafka went on with", () => compactAgain(copy));
  await checkFolder(checks, kafka, copy, "a copy that Kafka and ottla took turns in");
}

function topicOf(compression: (typeof compressions)[number]): string {
  return `compacted-${compression}`;
}

/** Reads what was kept with Kafka's consumer and appends to it with Kafka's producer. */
async function goOn(broker: Broker, kept: ReadonlyMap<string, LogRecord[]>): Promise<string[]> {
  const differences: string[] = [];
  for (const [topic, records] of kept) {
    const consumed = await consoleConsume(broker, topic, records.length);
    differences.push(...compareWithConsumed(topic, records, consumed));
    await consoleProduce(broker, topic, produced);
  }
  return [...differences, ...findUnexpectedWarnings(broker)];
}

/** Of what its producer has added there must be the second value of each key, and all else. */
async function compactAgain(copy: string): Promise<string[]> {
  const store = await openStore(copy);
  const differences: string[] = [];
  for (const compression of compressions) {
    const topic = topicOf(compression);
    await compactTopic(store, topic);
    differences.push(...await compareTopic(store, topic, keptCount + producedKeys));
    const values = (await readAll(store, topic)).slice(-producedKeys).map(({ value }) =>
      value === null ? "null" : decoder.decode(value)
    );
    const wanted = produced.slice(-producedKeys).map(({ value }) => value);
    if (values.join() !== wanted.join()) differences.push(`${topic} ends with ${values.join()}`);
  }
  await closeStore(store);
  return differences;
}

/** Some keys get a new value, some a tombstone; and there is a producer that sends only once. */
async function appendRound(store: Store, topic: string, round: number): Promise<void> {
  const records = Array.from({ length: keysCount * 2 }, (_, nth) => ({
    key: `k${(nth * 7 + round) % keysCount}`,
    value: nth % 10 === round ? null : `${round}-${nth}-${"v".repeat(nth % 100)}`,
  }));
  for (let start = 0; start < records.length; start += 50) {
    await appendBatch(store, topic, records.slice(start, start + 50));
  }
  const producer = openProducer(store, { idempotent: true });
  await send(producer, topic, { key: "sent", value: `${round}` });
  await closeProducer(producer);
}

/** A transaction as a broker would have written it. */
function appendTransaction(store: Store, topic: string, type: "abort" | "commit"): void {
  const internals = internalsOf(store);
  const state = internals.topics.get(topic)!;
  const log = logOf(internals, state, state.partitions[0]!);
  const producer = { producerId: 900_000 + log.endOffset, producerEpoch: 0 };
  const timestamp = Date.now();
  const builder = batchBuilder();
  for (let nth = 0; nth < 20; nth++) appendRecord(builder, timestamp, `k${nth}`, `${type} ${nth}`);
  const header = { partitionLeaderEpoch: log.leaderEpoch, baseSequence: 0, transactional: true };
  finishBatch(builder, { ...producer, ...header, baseOffset: log.endOffset });
  appendProduced(log, builder, log.endOffset + 20, "os");
  const marker = batchBuilder();
  buildEndTransactionMarker(marker, {
    ...producer,
    type,
    baseOffset: log.endOffset,
    partitionLeaderEpoch: log.leaderEpoch,
    coordinatorEpoch: 0,
    timestamp,
  });
  appendProduced(log, marker, log.endOffset + 1, "os", "coordinator");
}

/** Each key must be there once, and so must nothing that was aborted. */
async function compareTopic(store: Store, topic: string, keysWanted: number): Promise<string[]> {
  const differences: string[] = [];
  const offsets = new Map<string, number>();
  for await (const { key, value, offset } of read(store, topic)) {
    const text = key === null ? "no key" : decoder.decode(key);
    const before = offsets.get(text);
    if (before !== undefined) differences.push(`${topic}: ${text} at ${before} and ${offset}`);
    offsets.set(text, offset);
    const isAborted = value !== null && decoder.decode(value).startsWith("abort");
    if (isAborted) differences.push(`${topic}: ${text} at ${offset} was aborted`);
  }
  if (offsets.size !== keysWanted) {
    differences.push(`${topic}: ${offsets.size} keys, expected ${keysWanted}`);
  }
  return differences;
}
