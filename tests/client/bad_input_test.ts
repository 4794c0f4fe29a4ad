/**
 * Every public function with what it must not be given: the argument is named, and nothing is
 * changed.
 */

import assert from "node:assert/strict";
import { test } from "node:test";

import * as ottla from "../../mod.ts";
import type { Store } from "../../mod.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import {
  contentOf,
  numbered,
  openTestStore,
  storeFolder,
  withStore,
} from "../support/store_fixture.ts";

type Wanted = typeof TypeError | typeof RangeError | ottla.ErrorCode;

/** What is called, what the message must name, and what is thrown. */
type Row = readonly [call: (store: Store) => unknown, named: RegExp, wanted: Wanted];

/** Stands for a value of the wrong type. */
function wrong(value: unknown): never {
  return value as never;
}

const notObjects = [null, "text", 7];
const noStore = { internals: undefined };

const rows: Readonly<Record<string, readonly Row[]>> = {
  openStore: [
    ...[undefined, null, 7, {}].map((
      path,
    ): Row => [() => ottla.openStore(wrong(path)), /path/, TypeError]),
    [() => ottla.openStore(new URL("https://example.com/")), /path/, TypeError],
    [() => ottla.openStore(""), /path/, RangeError],
    [() => ottla.openStore("a\0b"), /path/, RangeError],
    ...notObjects.map((
      options,
    ): Row => [() => ottla.openStore(":memory:", wrong(options)), /options/, TypeError]),
    [() => ottla.openStore(":memory:", { create: wrong("yes") }), /create/, TypeError],
    [() => ottla.openStore(":memory:", { ack: wrong("all") }), /ack/, TypeError],
    [() => ottla.openStore(":memory:", { partitioner: wrong("random") }), /partitioner/, TypeError],
    [
      () => ottla.openStore(":memory:", { retentionCheckMs: wrong("1") }),
      /retentionCheckMs/,
      TypeError,
    ],
    [() => ottla.openStore(":memory:", { retentionCheckMs: 0 }), /retentionCheckMs/, RangeError],
    [() => ottla.openStore(":memory:", { checkpointMs: 2 ** 31 }), /checkpointMs/, RangeError],
    [() => ottla.openStore(":memory:", { openFilesMax: 0.5 }), /openFilesMax/, RangeError],
  ],
  createTopic: [
    ...[undefined, null, 7, {}].map((
      name,
    ): Row => [(s) => ottla.createTopic(s, wrong(name)), /name/, TypeError]),
    [(s) => ottla.createTopic(s, "a/b"), /a\/b/, "INVALID_TOPIC_EXCEPTION"],
    [(s) => ottla.createTopic(s, "orders"), /orders/, "TOPIC_ALREADY_EXISTS"],
    ...notObjects.map((
      options,
    ): Row => [(s) => ottla.createTopic(s, "new", wrong(options)), /options/, TypeError]),
    [(s) => ottla.createTopic(s, "new", { partitions: wrong("1") }), /partitions/, TypeError],
    ...[0, -1, 1.5, NaN, 10_001].map((partitions): Row => [
      (s) => ottla.createTopic(s, "new", { partitions }),
      /partitions/,
      "INVALID_PARTITIONS",
    ]),
    [(s) => ottla.createTopic(s, "new", { ifNotExists: wrong(1) }), /ifNotExists/, TypeError],
    [(s) => ottla.createTopic(s, "new", { partitioner: wrong("best") }), /partitioner/, TypeError],
    [(s) => ottla.createTopic(s, "new", { retentionMs: wrong("1") }), /retentionMs/, TypeError],
    [(s) => ottla.createTopic(s, "new", { retentionMs: -2 }), /retention\.ms/, "INVALID_CONFIG"],
    [(s) => ottla.createTopic(s, "new", { segmentBytes: 1 }), /segment\.bytes/, "INVALID_CONFIG"],
    [
      (s) => ottla.createTopic(s, "new", { compression: wrong("rar") }),
      /compression/,
      "INVALID_CONFIG",
    ],
    [(s) => ottla.createTopic(s, "new", wrong({ retention: 1 })), /retention/, TypeError],
    [
      (s) => ottla.createTopic(s, "new", { retentionMs: 1, retentionHours: 1 }),
      /retentionHours/,
      TypeError,
    ],
  ],
  deleteTopic: [
    [(s) => ottla.deleteTopic(s, wrong(7)), /topic/, TypeError],
    [(s) => ottla.deleteTopic(s, "none"), /none/, "UNKNOWN_TOPIC_OR_PARTITION"],
  ],
  describeTopic: [
    [(s) => ottla.describeTopic(s, wrong(undefined)), /topic/, TypeError],
    [(s) => ottla.describeTopic(s, "none"), /none/, "UNKNOWN_TOPIC_OR_PARTITION"],
  ],
  alterTopic: [
    [(s) => ottla.alterTopic(s, wrong(7), {}), /topic/, TypeError],
    [(s) => ottla.alterTopic(s, "none", {}), /none/, "UNKNOWN_TOPIC_OR_PARTITION"],
    ...[undefined, ...notObjects].map((changes): Row => [
      (s) => ottla.alterTopic(s, "orders", wrong(changes)),
      /changes/,
      TypeError,
    ]),
    [(s) => ottla.alterTopic(s, "orders", wrong({ partitions: 3 })), /partitions/, TypeError],
    [(s) => ottla.alterTopic(s, "orders", { partitioner: wrong(null) }), /partitioner/, TypeError],
    [
      (s) => ottla.alterTopic(s, "orders", { maxMessageBytes: -1 }),
      /max\.message\.bytes/,
      "INVALID_CONFIG",
    ],
  ],
  createPartitions: [
    [(s) => ottla.createPartitions(s, wrong(7), 3), /topic/, TypeError],
    [(s) => ottla.createPartitions(s, "none", 3), /none/, "UNKNOWN_TOPIC_OR_PARTITION"],
    [(s) => ottla.createPartitions(s, "orders", wrong("3")), /partitionCount/, TypeError],
    [(s) => ottla.createPartitions(s, "orders", 2), /orders/, "INVALID_PARTITIONS"],
  ],
  deleteRecords: [
    [(s) => ottla.deleteRecords(s, wrong(7), 0, 0), /topic/, TypeError],
    [(s) => ottla.deleteRecords(s, "none", 0, 0), /none/, "UNKNOWN_TOPIC_OR_PARTITION"],
    [(s) => ottla.deleteRecords(s, "orders", wrong("0"), 0), /partition/, TypeError],
    [(s) => ottla.deleteRecords(s, "orders", 2, 0), /partition 2/, "UNKNOWN_TOPIC_OR_PARTITION"],
    ...[undefined, null, "0", NaN].map((offset): Row => [
      (s) => ottla.deleteRecords(s, "orders", 0, wrong(offset)),
      /beforeOffset/,
      TypeError,
    ]),
    ...[-2, 0.5, Infinity].map((offset): Row => [
      (s) => ottla.deleteRecords(s, "orders", 0, offset),
      /beforeOffset/,
      RangeError,
    ]),
    [(s) => ottla.deleteRecords(s, "orders", 0, 99), /99/, "OFFSET_OUT_OF_RANGE"],
  ],
  topicOf: [
    [() => ottla.topicOf(wrong(7)), /name/, TypeError],
    [() => ottla.topicOf("orders", wrong(null)), /serdes/, TypeError],
    [() => ottla.topicOf("orders", { key: wrong("utf8") }), /key/, TypeError],
    [() => ottla.topicOf("orders", { value: wrong({ serialize: () => {} }) }), /value/, TypeError],
  ],
  append: [
    ...[undefined, null, 7, {}].map((
      topic,
    ): Row => [(s) => ottla.append(s, wrong(topic), {}), /topic/, TypeError]),
    [(s) => ottla.append(s, "none", {}), /none/, "UNKNOWN_TOPIC_OR_PARTITION"],
    ...[undefined, ...notObjects].map((record): Row => [
      (s) => ottla.append(s, "orders", wrong(record)),
      /record/,
      TypeError,
    ]),
    ...notObjects.map((
      options,
    ): Row => [(s) => ottla.append(s, "orders", {}, wrong(options)), /options/, TypeError]),
    [(s) => ottla.append(s, "orders", {}, { ack: wrong(1) }), /ack/, TypeError],
    [(s) => ottla.append(s, "orders", {}, { signal: wrong({}) }), /signal/, TypeError],
  ],
  appendBatch: [
    [(s) => ottla.appendBatch(s, wrong(null), []), /topic/, TypeError],
    [(s) => ottla.appendBatch(s, "none", []), /none/, "UNKNOWN_TOPIC_OR_PARTITION"],
    ...[undefined, null, 7, "text", {}].map((records): Row => [
      (s) => ottla.appendBatch(s, "orders", wrong(records)),
      /records/,
      TypeError,
    ]),
    [(s) => ottla.appendBatch(s, "orders", [], wrong(null)), /options/, TypeError],
    [(s) => ottla.appendBatch(s, "orders", [], { ack: wrong("none") }), /ack/, TypeError],
    [(s) => ottla.appendBatch(s, "orders", [], { signal: wrong("x") }), /signal/, TypeError],
  ],
  offsetsOf: [
    [(s) => ottla.offsetsOf(s, wrong(null)), /topic/, TypeError],
    [(s) => ottla.offsetsOf(s, "none"), /none/, "UNKNOWN_TOPIC_OR_PARTITION"],
  ],
  offsetForTimestamp: [
    [(s) => ottla.offsetForTimestamp(s, wrong(7), 0, 0), /topic/, TypeError],
    [(s) => ottla.offsetForTimestamp(s, "none", 0, 0), /none/, "UNKNOWN_TOPIC_OR_PARTITION"],
    [(s) => ottla.offsetForTimestamp(s, "orders", wrong("0"), 0), /partition/, TypeError],
    [
      (s) => ottla.offsetForTimestamp(s, "orders", -1, 0),
      /partition -1/,
      "UNKNOWN_TOPIC_OR_PARTITION",
    ],
    ...[undefined, null, "0", NaN, new Date("x")].map((time): Row => [
      (s) => ottla.offsetForTimestamp(s, "orders", 0, wrong(time)),
      /timestamp/,
      TypeError,
    ]),
    [(s) => ottla.offsetForTimestamp(s, "orders", 0, -1), /timestamp/, RangeError],
    [(s) => ottla.offsetForTimestamp(s, "orders", 0, 0.5), /timestamp/, RangeError],
  ],
  openRange: [
    [(s) => ottla.openRange(s, wrong(null), 0, { from: 0 }), /topic/, TypeError],
    [(s) => ottla.openRange(s, "none", 0, { from: 0 }), /none/, "UNKNOWN_TOPIC_OR_PARTITION"],
    [(s) => ottla.openRange(s, "orders", wrong(undefined), { from: 0 }), /partition/, TypeError],
    [
      (s) => ottla.openRange(s, "orders", 2, { from: 0 }),
      /partition 2/,
      "UNKNOWN_TOPIC_OR_PARTITION",
    ],
    ...[undefined, ...notObjects].map((options): Row => [
      (s) => ottla.openRange(s, "orders", 0, wrong(options)),
      /options/,
      TypeError,
    ]),
    [(s) => ottla.openRange(s, "orders", 0, wrong({})), /from/, TypeError],
    [(s) => ottla.openRange(s, "orders", 0, { from: -1 }), /from/, RangeError],
    [(s) => ottla.openRange(s, "orders", 0, { from: 0, to: wrong("1") }), /to/, TypeError],
    [(s) => ottla.openRange(s, "orders", 0, { from: 0, to: -1 }), /to/, RangeError],
    [(s) => ottla.openRange(s, "orders", 0, { from: 0, bytesMax: 0 }), /bytesMax/, RangeError],
    [(s) => ottla.openRange(s, "orders", 0, { from: 99 }), /99/, "OFFSET_OUT_OF_RANGE"],
  ],
  sendRange: [
    [() => ottla.sendRange(wrong({}), wrong({})), /range/, TypeError],
    ...[undefined, null, {}, "socket"].map((socket): Row => [
      (s) => withRange(s, (range) => ottla.sendRange(range, socket)),
      /socket/,
      TypeError,
    ]),
    [(s) => withRange(s, (range) => ottla.sendRange(range, {}, wrong(null))), /options/, TypeError],
    [
      (s) => withRange(s, (range) => ottla.sendRange(range, {}, { signal: wrong(7) })),
      /signal/,
      TypeError,
    ],
  ],
  closeRange: [
    [() => ottla.closeRange(wrong(undefined)), /range/, TypeError],
    [() => ottla.closeRange(wrong({})), /range/, TypeError],
  ],
};

/** What both ways of reading refuse. */
for (const name of ["read", "readBatches"] as const) {
  const reading = (s: Store, options: unknown, topic: unknown = "orders"): unknown =>
    ottla[name](s, wrong(topic), wrong(options));
  Object.assign(rows, {
    [name]: [
      ...[null, 7, {}].map((topic): Row => [(s) => reading(s, {}, topic), /topic/, TypeError]),
      [(s) => reading(s, {}, "none"), /none/, "UNKNOWN_TOPIC_OR_PARTITION"],
      ...notObjects.map((options): Row => [(s) => reading(s, options), /options/, TypeError]),
      [(s) => reading(s, { partition: "0" }), /partition/, TypeError],
      [(s) => reading(s, { partition: 2 }), /partition 2/, "UNKNOWN_TOPIC_OR_PARTITION"],
      ...[null, "first", {}, NaN].map((
        from,
      ): Row => [(s) => reading(s, { from }), /from/, TypeError]),
      [(s) => reading(s, { from: -1 }), /from/, RangeError],
      [(s) => reading(s, { from: new Date("x") }), /from/, RangeError],
      [(s) => reading(s, { from: 99 }), /99/, "OFFSET_OUT_OF_RANGE"],
      ...[null, "latest", {}, NaN].map((to): Row => [(s) => reading(s, { to }), /to/, TypeError]),
      [(s) => reading(s, { to: 0.5 }), /to/, RangeError],
      ...[null, "1", NaN].map((limit): Row => [(s) => reading(s, { limit }), /limit/, TypeError]),
      [(s) => reading(s, { limit: -1 }), /limit/, RangeError],
      [(s) => reading(s, { live: "yes" }), /live/, TypeError],
      [(s) => reading(s, { signal: {} }), /signal/, TypeError],
      [(s) => reading(s, { onGap: true }), /onGap/, TypeError],
    ] satisfies readonly Row[],
  });
}

async function withRange<T>(store: Store, run: (range: ottla.FileRange) => Promise<T>): Promise<T> {
  const range = ottla.openRange(store, "orders", 0, { from: 0 });
  try {
    return await run(range);
  } finally {
    ottla.closeRange(range);
  }
}

/** What is thrown, at once or later. */
async function thrownBy(call: () => unknown): Promise<unknown> {
  try {
    await call();
  } catch (error) {
    return error;
  }
  return undefined;
}

for (const [name, calls] of Object.entries(rows)) {
  test(`bad input is named, and changes nothing: ${name}`, async () => {
    const fs = memoryFileSystem();
    const store = await openTestStore(fs);
    await ottla.createTopic(store, "orders", { partitions: 2 });
    await ottla.appendBatch(
      store,
      "orders",
      numbered(0, 4).map((one) => ({ ...one, partition: 0 })),
    );
    // Folders of partitions are made when they are first used.
    ottla.offsetsOf(store, "orders");
    const before = contentOf(fs, storeFolder);
    for (const [call, named, wanted] of calls) {
      const error = await thrownBy(() => call(store));
      const what = `${call}: ${error}`;
      assert.ok(error instanceof Error, what);
      if (typeof wanted === "string") assert.ok(ottla.isOttlaError(error, wanted), what);
      else assert.equal(error.constructor, wanted, what);
      assert.match(error.message, named, what);
      assert.ok(!error.message.endsWith(".") && !error.message.includes("\n"), what);
    }
    assert.deepEqual(contentOf(fs, storeFolder), before);
    const placed = await ottla.append(store, "orders", { value: "v4", partition: 0 });
    assert.equal(placed.offset, 4);
    await ottla.closeStore(store);
  });
}

test("a handle that is none is named by every function that takes one", async () => {
  const calls: ((store: Store) => unknown)[] = [
    (s) => ottla.closeStore(s),
    (s) => ottla.flush(s),
    (s) => ottla.createTopic(s, "a"),
    (s) => ottla.deleteTopic(s, "a"),
    (s) => ottla.listTopics(s),
    (s) => ottla.describeTopic(s, "a"),
    (s) => ottla.alterTopic(s, "a", {}),
    (s) => ottla.createPartitions(s, "a", 2),
    (s) => ottla.deleteRecords(s, "a", 0, 0),
    (s) => ottla.append(s, "a", {}),
    (s) => ottla.appendBatch(s, "a", []),
    (s) => ottla.read(s, "a"),
    (s) => ottla.readBatches(s, "a"),
    (s) => ottla.offsetsOf(s, "a"),
    (s) => ottla.offsetForTimestamp(s, "a", 0, 0),
    (s) => ottla.openRange(s, "a", 0, { from: 0 }),
    (s) => ottla.enforceRetention(s),
  ];
  for (const handle of [undefined, null, {}, "store", noStore]) {
    for (const call of calls) {
      const error = await thrownBy(() => call(wrong(handle)));
      assert.ok(
        error instanceof TypeError && /store must be/.test(error.message),
        `${call}: ${error}`,
      );
    }
  }
});

test("every error has Kafka's number and says whether trying again helps", async () => {
  await withStore(async (store) => {
    const error = await thrownBy(() => ottla.append(store, "none", {}));
    assert.ok(ottla.isOttlaError(error));
    assert.deepEqual([error.code, error.kafkaCode, error.retriable, error.name], [
      "UNKNOWN_TOPIC_OR_PARTITION",
      3,
      true,
      "OttlaError",
    ]);
    assert.equal(error.details.topic, "none");
    const illegal = await thrownBy(() => ottla.createTopic(store, "a b"));
    assert.ok(ottla.isOttlaError(illegal, "INVALID_TOPIC_EXCEPTION") && illegal.kafkaCode === 17);
  });
});
