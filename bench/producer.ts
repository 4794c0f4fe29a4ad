/** `send` against `appendBatch` of the same records, and how much memory a producer takes. */

import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import {
  appendBatch,
  closeProducer,
  closeStore,
  createTopic,
  flushProducer,
  offsetsOf,
  openProducer,
  openStore,
  send,
} from "../mod.ts";
import type { Producer, RecordMetadata, Store } from "../mod.ts";
import { benchFolder, benchRecords, removeFolder } from "./fixture.ts";
import type { BenchScale, Outcome } from "./harness.ts";
import { compare } from "./harness.ts";
import type { Measurement } from "./memory.ts";
import { usedBytes } from "./memory.ts";

const partitions = 4;
const valueBytes = 100;
/** How many are sent before they are awaited: as many as `appendBatch` gets in its own benchmark. */
const recordsAtOnce = 1000;

/**
 * Records with keys over four partitions, sent one by one without awaiting each, against the same
 * records given to `appendBatch` at once.
 *
 * @param scale How large and how often.
 * @param ratioMin What the ratio must be at least.
 * @returns The medians.
 */
export async function benchSend(
  scale: BenchScale,
  ratioMin: number,
): Promise<Outcome> {
  const folder = benchFolder("producer");
  const records = benchRecords(recordsAtOnce, valueBytes);
  let store: Store | undefined;
  let producer: Producer | undefined;
  let round = 0;
  const before = async (): Promise<void> => {
    store = await openStore(join(folder, `store-${round++}`));
    await createTopic(store, "bench", { partitions });
    await appendBatch(store, "bench", records.slice(0, 100), { ack: "os" });
  };
  const after = async (): Promise<void> => {
    await closeStore(store!);
    removeFolder(store!.path);
  };
  try {
    return await compare({
      title:
        `send, ack "os", ${recordsAtOnce} at once, ${valueBytes} B values, ${partitions} partitions`,
      unit: "records",
      unitsPerRun: recordsAtOnce,
      runs: scale.isSmoke ? 3 : 1_500_000 / recordsAtOnce,
      ratioMin,
      baseline: {
        name: "appendBatch",
        before,
        async run() {
          const placed = await appendBatch(store!, "bench", records, { ack: "os" });
          return placed.at(-1)!.lastOffset;
        },
        after,
      },
      ottla: {
        name: "send",
        async before() {
          await before();
          producer = openProducer(store!, { ack: "os" });
          await send(producer, "bench", records[0]!);
        },
        async run() {
          let last: Promise<RecordMetadata> | undefined;
          for (const record of records) last = send(producer!, "bench", record);
          await flushProducer(producer!);
          return (await last!).offset;
        },
        after,
      },
    }, scale);
  } finally {
    removeFolder(folder);
  }
}

/**
 * Sends more than a producer's buffer takes, at "disk" and as fast as may be, and watches the memory
 * that is in use.
 *
 * @param scale How large.
 * @returns By how many bytes it grew at most beyond `bufferBytes`.
 */
export async function benchProducerMemory(scale: BenchScale): Promise<Measurement> {
  const folder = benchFolder("producer-memory");
  const bufferBytes = scale.isSmoke ? 1024 ** 2 : 32 * 1024 ** 2;
  const rounds = scale.isSmoke ? 2 : 40;
  const sendsPerRound = scale.isSmoke ? 5_000 : 100_000;
  const [record] = benchRecords(1, valueBytes);
  const store = await openStore(join(folder, "store"));
  try {
    await createTopic(store, "bench", { partitions });
    const producer = openProducer(store, { bufferBytes });
    let refused = 0;
    const refuse = (): void => void refused++;
    const start = usedBytes();
    let peak = start;
    for (let round = 0; round < rounds; round++) {
      for (let n = 0; n < sendsPerRound; n++) send(producer, "bench", record!).catch(refuse);
      // Before anything is written, and in the middle of the writing.
      peak = Math.max(peak, usedBytes());
      await setImmediate();
      peak = Math.max(peak, usedBytes());
    }
    await closeProducer(producer);
    const stored = offsetsOf(store, "bench").reduce((sum, { endOffset }) => sum + endOffset, 0);
    if (stored + refused !== rounds * sendsPerRound) throw new Error("Sends were lost");
    return {
      title: `a producer with a buffer of ${bufferBytes / 1024 ** 2} MiB, overloaded`,
      value: (peak - start - bufferBytes) / 1024 ** 2,
      valueMax: 32,
      unit: "MiB beyond its buffer",
      checksum: stored,
    };
  } finally {
    await closeStore(store);
    removeFolder(folder);
  }
}
