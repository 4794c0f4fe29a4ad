/** What a topic's configuration says of the batches that are written to it. */

import { OttlaError } from "../errors.ts";
import type { Log } from "../log/log.ts";
import { batchTooLargeError } from "../log/log_errors.ts";
import type { Compression } from "../record/compression.ts";
import type { TopicConfig } from "../store/topic_config.ts";

/**
 * How the batches of a topic are compressed if nobody says otherwise.
 *
 * @param config The topic's configuration.
 * @returns The codec; "none" where the topic leaves it to its producers.
 */
export function compressionOf(config: TopicConfig): Compression {
  const { compression } = config;
  return compression === "producer" || compression === "uncompressed" ? "none" : compression;
}

/**
 * The level at which a codec compresses for a topic.
 *
 * @param config The topic's configuration.
 * @param compression The codec.
 * @returns The level, or undefined for a codec that has none.
 */
export function levelOf(config: TopicConfig, compression: Compression): number | undefined {
  switch (compression) {
    case "gzip":
      return config.compressionGzipLevel;
    case "lz4":
      return config.compressionLz4Level;
    case "zstd":
      return config.compressionZstdLevel;
    default:
      return undefined;
  }
}

/**
 * How large a batch may become before it is compressed.
 *
 * @param config The topic's configuration.
 * @returns The smaller of what a batch and what a segment may have.
 */
export function batchBytesMaxOf(config: TopicConfig): number {
  return Math.min(config.maxMessageBytes, config.segmentBytes);
}

/**
 * Makes sure that a topic takes a finished batch.
 *
 * @param log The log that it is for.
 * @param config The topic's configuration.
 * @param sizeBytes Of the batch as it is written.
 * @throws OttlaError `RECORD_LIST_TOO_LARGE` or `MESSAGE_TOO_LARGE`.
 */
export function checkBatchSize(log: Log, config: TopicConfig, sizeBytes: number): void {
  if (sizeBytes > config.segmentBytes) throw batchTooLargeError(log, sizeBytes);
  if (sizeBytes <= config.maxMessageBytes) return;
  throw new OttlaError(
    "MESSAGE_TOO_LARGE",
    `Cannot append a record to ${log.source.topic}-${log.source.partition}: its batch has ` +
      `${sizeBytes} bytes, at most ${config.maxMessageBytes} are allowed (maxMessageBytes)`,
    { details: { ...log.source, sizeBytes, maxMessageBytes: config.maxMessageBytes } },
  );
}
