/** What of a record is looked at before it is appended. */

import { OttlaError } from "../errors.ts";
import type { HeaderInput } from "../record/record.ts";
import type { TopicState } from "../store/store.ts";
import type { TopicConfig } from "../store/topic_config.ts";

/**
 * Checks the headers of a record.
 *
 * @param headers What was given.
 * @returns The same.
 * @throws TypeError if they are none.
 */
export function checkHeaders(headers: readonly HeaderInput[]): readonly HeaderInput[] {
  if (!Array.isArray(headers)) throw new TypeError("headers must be an array");
  for (const header of headers as readonly (HeaderInput | null | undefined)[]) {
    if (typeof header?.key !== "string") {
      throw new TypeError("a header must have a key that is a string");
    }
    const { value } = header;
    if (value !== null && typeof value !== "string" && !(value instanceof Uint8Array)) {
      throw new TypeError(
        `the value of header ${
          JSON.stringify(header.key)
        } must be a Uint8Array, a string or null, ` +
          `got ${typeof value}`,
      );
    }
  }
  return headers;
}

/**
 * Checks the timestamp of a record.
 *
 * @param timestamp What was given.
 * @param config The topic's configuration.
 * @param now In milliseconds since the epoch.
 * @returns It in milliseconds since the epoch.
 * @throws TypeError or RangeError if it is no time, OttlaError `INVALID_TIMESTAMP` if the topic
 * does not take it.
 */
export function checkTimestamp(timestamp: number | Date, config: TopicConfig, now: number): number {
  const time = timestamp instanceof Date ? timestamp.getTime() : timestamp;
  if (typeof time !== "number") {
    throw new TypeError(`timestamp must be a number or a Date, got ${typeof timestamp}`);
  }
  if (!Number.isSafeInteger(time) || time < -1) {
    throw new RangeError(
      `timestamp must be a whole number of milliseconds from -1 on, got ${time}`,
    );
  }
  const { messageTimestampBeforeMaxMs, messageTimestampAfterMaxMs } = config;
  if (config.timestampType === "LogAppendTime" || time === -1) return time;
  if (now - time <= messageTimestampBeforeMaxMs && time - now <= messageTimestampAfterMaxMs) {
    return time;
  }
  throw new OttlaError(
    "INVALID_TIMESTAMP",
    `Cannot append a record of time ${time}: the topic takes times from ` +
      `${messageTimestampBeforeMaxMs} ms before to ${messageTimestampAfterMaxMs} ms after now, ${now}`,
    { details: { timestamp: time, now } },
  );
}

/**
 * For a record without a key where a key is needed.
 *
 * @param topic The topic, which is compacted.
 * @returns `INVALID_RECORD`.
 */
export function keyMissingError(topic: TopicState): OttlaError {
  return new OttlaError(
    "INVALID_RECORD",
    `Cannot append a record without a key to ${topic.name}: the topic is compacted`,
    { details: { topic: topic.name } },
  );
}
