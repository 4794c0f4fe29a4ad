/** One record as a line: its value, or more of it, or all of it as JSON. */

import type { LogRecord } from "../record/record.ts";
import { headersOf, keyOf, valueOf } from "../record/record_reader.ts";
import type { RecordView } from "../record/record_reader.ts";
import { contentField, textOf } from "./content_json.ts";

/** What a line holds; a value is always there, and last. */
export interface RecordLineOptions {
  readonly isJson: boolean;
  readonly hasTimestamp: boolean;
  readonly hasOffset: boolean;
  readonly hasHeaders: boolean;
  readonly hasKey: boolean;
  readonly separator: string;
}

/**
 * Prints a record of a batch; what is not printed is not decoded.
 *
 * @param topic Its topic.
 * @param partition Its partition.
 * @param record The record.
 * @param options What to print of it.
 * @returns The line without its end.
 */
export function recordLine(
  topic: string,
  partition: number,
  record: RecordView,
  options: RecordLineOptions,
): string {
  const { isJson, hasKey, hasHeaders } = options;
  return logRecordLine({
    topic,
    partition,
    offset: record.offset,
    timestamp: record.timestamp,
    key: isJson || hasKey ? keyOf(record) : null,
    value: valueOf(record),
    headers: isJson || hasHeaders ? headersOf(record) : [],
  }, options);
}

/**
 * Prints a record that was read.
 *
 * @param record The record.
 * @param options What to print of it.
 * @returns The line without its end.
 */
export function logRecordLine(record: LogRecord, options: RecordLineOptions): string {
  if (options.isJson) return recordJson(record);
  const { partition, offset, timestamp, key, value, headers } = record;
  const parts: string[] = [];
  if (options.hasTimestamp) parts.push(timeText(timestamp));
  if (options.hasOffset) parts.push(`${partition}:${offset}`);
  if (options.hasHeaders) {
    parts.push(headers.map(({ key, value }) => `${key}=${contentText(value)}`).join(","));
  }
  if (options.hasKey) parts.push(contentText(key));
  parts.push(contentText(value));
  return parts.join(options.separator);
}

function recordJson({ topic, partition, offset, timestamp, ...record }: LogRecord): string {
  return JSON.stringify({
    topic,
    partition,
    offset,
    timestamp,
    ...contentField("key", record.key),
    ...contentField("value", record.value),
    headers: record.headers.map(({ key, value }) => ({ key, ...contentField("value", value) })),
  });
}

function contentText(content: Uint8Array | null): string {
  return content === null ? "null" : textOf(content);
}

/** A time that a `Date` cannot hold stays a number. */
function timeText(timestamp: number): string {
  const isTime = timestamp >= 0 && timestamp <= 8.64e15;
  return isTime ? new Date(timestamp).toISOString() : String(timestamp);
}
