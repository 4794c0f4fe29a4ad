/** One record as a line: its value, or more of it, or all of it as JSON. */

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
 * Prints a record.
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
  if (options.isJson) return recordJson(topic, partition, record);
  const parts: string[] = [];
  if (options.hasTimestamp) parts.push(timeText(record.timestamp));
  if (options.hasOffset) parts.push(`${partition}:${record.offset}`);
  if (options.hasHeaders) {
    parts.push(
      headersOf(record).map(({ key, value }) => `${key}=${contentText(value)}`).join(","),
    );
  }
  if (options.hasKey) parts.push(contentText(keyOf(record)));
  parts.push(contentText(valueOf(record)));
  return parts.join(options.separator);
}

function recordJson(topic: string, partition: number, record: RecordView): string {
  return JSON.stringify({
    topic,
    partition,
    offset: record.offset,
    timestamp: record.timestamp,
    ...contentField("key", keyOf(record)),
    ...contentField("value", valueOf(record)),
    headers: headersOf(record).map(({ key, value }) => ({ key, ...contentField("value", value) })),
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
