/**
 * Compares records as ottla reads them with what was appended and with what Kafka's tools print.
 */
import { read } from "../../mod.ts";
import type { AppendRecord, Content, LogRecord, Store } from "../../mod.ts";
import type { ConsumedRecord } from "./kafka_commands.ts";
import type { DumpedBatch, DumpedRecord } from "./kafka_dump.ts";

const utf8 = new TextDecoder();
/** Differences in one partition beyond these say nothing new. */
const differencesMax = 5;

/** Reads a partition, or all of a topic's, to its end. */
export async function readAll(
  store: Store,
  topic: string,
  partition?: number,
): Promise<LogRecord[]> {
  const records: LogRecord[] = [];
  const options = partition === undefined ? {} : { partition };
  for await (const record of read(store, topic, { ...options, from: "earliest" })) {
    records.push(record);
  }
  return records;
}

/**
 * Compares what ottla reads of one partition with Kafka's dump of it.
 *
 * @param where What messages start with.
 * @param records What ottla read.
 * @param batches What Kafka's tool printed.
 * @param startOffset Where the partition starts; the dump may go further back.
 * @returns One line a difference.
 */
export function compareWithDump(
  where: string,
  records: readonly LogRecord[],
  batches: readonly DumpedBatch[],
  startOffset: number,
): string[] {
  const wanted = batches.filter((batch) => !batch.isControl)
    .flatMap((batch) => batch.records)
    .filter((record) => record.offset >= startOffset);
  return compareLists(where, records.map(describeAsDump), wanted.map(describeDumped));
}

/**
 * Compares what ottla reads with what Kafka's console consumer printed.
 *
 * @param where What messages start with.
 * @param records What ottla read.
 * @param consumed What the console printed, both sorted by partition and offset.
 * @returns One line a difference.
 */
export function compareWithConsumed(
  where: string,
  records: readonly LogRecord[],
  consumed: readonly ConsumedRecord[],
): string[] {
  return compareLists(
    where,
    records.map((record) => JSON.stringify(toConsumed(record))),
    consumed.map((record) => JSON.stringify(toOrdered(record))),
  );
}

/**
 * Compares what ottla reads of a topic's only partition with what was appended to it.
 *
 * @param where What messages start with.
 * @param records What ottla read.
 * @param appended What was appended, of text only.
 * @param isBrokerTime Timestamps are not the appended ones.
 * @returns One line a difference.
 */
export function compareWithAppended(
  where: string,
  records: readonly LogRecord[],
  appended: readonly AppendRecord[],
  isBrokerTime = false,
): string[] {
  const describe = (record: ConsumedRecord): string =>
    JSON.stringify(isBrokerTime ? { ...record, timestamp: 0 } : record);
  const wanted = appended.map((record, offset) => ({
    partition: 0,
    offset,
    timestamp: Number(record.timestamp),
    key: textOf(record.key),
    value: textOf(record.value),
    headers: (record.headers ?? []).map(({ key, value }) => ({ key, value: textOf(value) })),
  }));
  return compareLists(where, records.map(toConsumed).map(describe), wanted.map(describe));
}

function compareLists(where: string, actual: string[], expected: string[]): string[] {
  const differences: string[] = [];
  if (actual.length !== expected.length) {
    differences.push(`${where}: ${actual.length} records, expected ${expected.length}`);
  }
  for (const [index, text] of expected.entries()) {
    if (differences.length >= differencesMax) break;
    if (actual[index] === text) continue;
    differences.push(`${where} record ${index}: ${actual[index]}, expected ${text}`);
  }
  return differences;
}

/** A record of Kafka's dump, without what only its batch knows. */
function describeDumped(record: DumpedRecord): string {
  const { offset, timestamp, keySize, valueSize, headerKeys, content } = record;
  return JSON.stringify({ offset, timestamp, keySize, valueSize, headerKeys, content });
}

/** A record as Kafka's dump would print it. */
function describeAsDump(record: LogRecord): string {
  const { offset, timestamp, key, value, headers } = record;
  return JSON.stringify({
    offset,
    timestamp,
    keySize: key?.length ?? -1,
    valueSize: value?.length ?? -1,
    headerKeys: `[${headers.map((header) => header.key).join(",")}]`,
    content: [
      ...(key === null ? [] : [`key: ${utf8.decode(key)}`]),
      ...(value === null ? [] : [`payload: ${utf8.decode(value)}`]),
    ].join(" "),
  });
}

/** A record as Kafka's console consumer prints it. */
function toConsumed(record: LogRecord): ConsumedRecord {
  return {
    partition: record.partition,
    offset: record.offset,
    timestamp: record.timestamp,
    key: textOf(record.key),
    value: textOf(record.value),
    headers: record.headers.map(({ key, value }) => ({ key, value: textOf(value) })),
  };
}

function textOf(content: Content | undefined): string | null {
  if (content === undefined || content === null) return null;
  return typeof content === "string" ? content : utf8.decode(content);
}

/** The same record with its fields in one order. */
function toOrdered(record: ConsumedRecord): ConsumedRecord {
  const { partition, offset, timestamp, key, value, headers } = record;
  return { partition, offset, timestamp, key, value, headers };
}
