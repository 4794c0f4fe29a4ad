/**
 * A folder with compacted topics, held to Kafka's dump tool: batches with records taken out, empty
 * batches, delete horizons, and the indexes of segments that were made of several.
 */
import {
  appendBatch,
  closeProducer,
  closeStore,
  compactTopic,
  createTopic,
  openProducer,
  openStore,
  read,
  send,
} from "../../mod.ts";
import type { Store } from "../../mod.ts";
import { appendProduced } from "../../src/log/producer_append.ts";
import { appendRecord, batchBuilder, finishBatch } from "../../src/record/batch_builder.ts";
import { buildEndTransactionMarker } from "../../src/record/control_record.ts";
import { logOf } from "../../src/store/partitions.ts";
import { internalsOf } from "../../src/store/store.ts";
import { check } from "./check.ts";
import type { Checks } from "./check.ts";
import type { Kafka } from "./kafka_tools.ts";
import { checkFolder } from "./ottla_checks.ts";

const roundsCount = 5;
const keysCount = 400;

/**
 * Makes a folder with compacted topics and lets Kafka's dump tool read it.
 *
 * @param checks Where the outcome is counted.
 * @param kafka Kafka.
 * @param folder Where to make it.
 */
export async function checkCompaction(
  checks: Checks,
  kafka: Kafka,
  folder: string,
): Promise<void> {
  await check(checks, "ottla compacts topics", async () => {
    const store = await openStore(folder, { topicOverrides: { segmentBytes: 100_000 } });
    const differences: string[] = [];
    for (const compression of ["uncompressed", "gzip"] as const) {
      const topic = `compacted-${compression}`;
      await createTopic(store, topic, { cleanupPolicy: "compact", compression });
      for (let round = 0; round < roundsCount; round++) {
        await appendRound(store, topic, round);
        appendTransaction(store, topic, round % 2 === 0 ? "abort" : "commit");
        await compactTopic(store, topic);
      }
      differences.push(...await compareTopic(store, topic));
    }
    await closeStore(store);
    return differences;
  });
  await checkFolder(checks, kafka, folder, "a folder after compaction");
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
async function compareTopic(store: Store, topic: string): Promise<string[]> {
  const differences: string[] = [];
  const decoder = new TextDecoder();
  const offsets = new Map<string, number>();
  for await (const { key, value, offset } of read(store, topic)) {
    const text = key === null ? "no key" : decoder.decode(key);
    const before = offsets.get(text);
    if (before !== undefined) differences.push(`${topic}: ${text} at ${before} and ${offset}`);
    offsets.set(text, offset);
    const isAborted = value !== null && decoder.decode(value).startsWith("abort");
    if (isAborted) differences.push(`${topic}: ${text} at ${offset} was aborted`);
  }
  if (offsets.size !== keysCount + 1) {
    differences.push(`${topic}: ${offsets.size} keys, expected ${keysCount + 1}`);
  }
  return differences;
}
