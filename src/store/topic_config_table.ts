/**
 * Every setting of a topic and, in one table, what Kafka calls it, its range and its default
 * (src/FORMAT.md, section 7.2).
 */

/** Every setting of a topic. Times are in milliseconds, sizes in bytes. */
export interface TopicConfig {
  /** What becomes of old records; "" keeps them all. */
  readonly cleanupPolicy: "delete" | "compact" | "compact,delete" | "";
  /** How long a record is kept at least; negative: for ever. */
  readonly retentionMs: number;
  /** How large a partition may grow before its oldest segments go; negative: without limit. */
  readonly retentionBytes: number;
  /** How large a segment may grow. */
  readonly segmentBytes: number;
  /** How old a segment may grow before the next one is begun. */
  readonly segmentMs: number;
  /** The most that is taken off `segmentMs` at random, so that not all segments roll at once. */
  readonly segmentJitterMs: number;
  /** How large a segment's offset index may grow; its time index has one and a half times that. */
  readonly segmentIndexBytes: number;
  /** How many bytes of log lie between two index entries, about. */
  readonly indexIntervalBytes: number;
  /** Whether a segment's file gets its full length at once. */
  readonly preallocate: boolean;
  /** How long a deleted file stays on disk, for those who still read it. */
  readonly fileDeleteDelayMs: number;
  /** The largest batch, compressed, with its 12 bytes of offset and length. */
  readonly maxMessageBytes: number;
  /** The codec on disk; "producer" keeps that of the batch. */
  readonly compression: "producer" | "uncompressed" | "gzip" | "snappy" | "lz4" | "zstd";
  /** 1 to 9, or -1 for the codec's own default. */
  readonly compressionGzipLevel: number;
  /** 1 to 17. */
  readonly compressionLz4Level: number;
  /** -131072 to 22. */
  readonly compressionZstdLevel: number;
  /** Whether a record bears the time its writer gave it, or the time it was appended. */
  readonly timestampType: "CreateTime" | "LogAppendTime";
  /** How far in the past a record's timestamp may lie. */
  readonly messageTimestampBeforeMaxMs: number;
  /** How far in the future a record's timestamp may lie. */
  readonly messageTimestampAfterMaxMs: number;
  /** After how many records the log is flushed, whoever waits for it. */
  readonly flushMessages: number;
  /** After what time the log is flushed, whoever waits for it. */
  readonly flushMs: number;
  /** Which part of a log must be uncompacted before it is worth compacting, 0 to 1. */
  readonly minCleanableDirtyRatio: number;
  /** How long a tombstone outlives the compaction that reached it. */
  readonly deleteRetentionMs: number;
  /** How long a record stays out of compaction. */
  readonly minCompactionLagMs: number;
  /** After what time a record must be compacted. */
  readonly maxCompactionLagMs: number;
  /** Kafka's, for clusters; ottla keeps it for them. */
  readonly minInsyncReplicas: number;
}

/** One row of the table. */
export interface ConfigRow {
  /** Kafka's name for a topic's entry. */
  readonly config: string;
  /** Kafka's name for the broker-wide entry behind it. */
  readonly broker: string;
  /** What Kafka parses the value as. */
  readonly kind: "int" | "long" | "double" | "boolean" | "choice" | "policy";
  /** Kafka's text for the default. */
  readonly default: string;
  /** Inclusive, of numbers. */
  readonly min?: number;
  /** Inclusive, of numbers; by default what the kind can hold. */
  readonly max?: number;
  /** The least that is accepted from a folder, where older versions of Kafka allowed less. */
  readonly minRead?: number;
  /** A number outside of the range that is accepted too. */
  readonly also?: number;
  /** The words of a choice. */
  readonly choices?: readonly string[];
}

const intMax = 0x7fff_ffff;

/** What Kafka writes for "never" and "no limit". */
export const longMax = "9223372036854775807";

const weekMs = "604800000";
const codecs = ["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"];

function int(config: string, broker: string, text: string, min: number): ConfigRow {
  return { config, broker, kind: "int", default: text, min, max: intMax };
}

function long(config: string, broker: string, text: string, min: number): ConfigRow {
  return { config, broker, kind: "long", default: text, min };
}

/** The table. */
export const configTable: { readonly [Name in keyof TopicConfig]: ConfigRow } = {
  cleanupPolicy: {
    config: "cleanup.policy",
    broker: "log.cleanup.policy",
    kind: "policy",
    default: "delete",
  },
  retentionMs: long("retention.ms", "log.retention.ms", weekMs, -1),
  retentionBytes: {
    ...long("retention.bytes", "log.retention.bytes", "-1", -1),
    minRead: -Infinity,
  },
  segmentBytes: {
    ...int("segment.bytes", "log.segment.bytes", "1073741824", 1024 * 1024),
    minRead: 14,
  },
  segmentMs: long("segment.ms", "log.roll.ms", weekMs, 1),
  segmentJitterMs: long("segment.jitter.ms", "log.roll.jitter.ms", "0", 0),
  segmentIndexBytes: int("segment.index.bytes", "log.index.size.max.bytes", "10485760", 4),
  indexIntervalBytes: int("index.interval.bytes", "log.index.interval.bytes", "4096", 0),
  preallocate: {
    config: "preallocate",
    broker: "log.preallocate",
    kind: "boolean",
    default: "false",
  },
  fileDeleteDelayMs: long("file.delete.delay.ms", "log.segment.delete.delay.ms", "60000", 0),
  maxMessageBytes: int("max.message.bytes", "message.max.bytes", "1048588", 0),
  compression: {
    config: "compression.type",
    broker: "compression.type",
    kind: "choice",
    default: "producer",
    choices: codecs,
  },
  compressionGzipLevel: {
    ...int("compression.gzip.level", "compression.gzip.level", "-1", 1),
    max: 9,
    also: -1,
  },
  compressionLz4Level: {
    ...int("compression.lz4.level", "compression.lz4.level", "9", 1),
    max: 17,
  },
  compressionZstdLevel: {
    ...int("compression.zstd.level", "compression.zstd.level", "3", -131072),
    max: 22,
  },
  timestampType: {
    config: "message.timestamp.type",
    broker: "log.message.timestamp.type",
    kind: "choice",
    default: "CreateTime",
    choices: ["CreateTime", "LogAppendTime"],
  },
  messageTimestampBeforeMaxMs: long(
    "message.timestamp.before.max.ms",
    "log.message.timestamp.before.max.ms",
    longMax,
    0,
  ),
  messageTimestampAfterMaxMs: long(
    "message.timestamp.after.max.ms",
    "log.message.timestamp.after.max.ms",
    "3600000",
    0,
  ),
  flushMessages: long("flush.messages", "log.flush.interval.messages", longMax, 1),
  flushMs: long("flush.ms", "log.flush.interval.ms", longMax, 0),
  minCleanableDirtyRatio: {
    config: "min.cleanable.dirty.ratio",
    broker: "log.cleaner.min.cleanable.ratio",
    kind: "double",
    default: "0.5",
    min: 0,
    max: 1,
  },
  deleteRetentionMs: long("delete.retention.ms", "log.cleaner.delete.retention.ms", "86400000", 0),
  minCompactionLagMs: long("min.compaction.lag.ms", "log.cleaner.min.compaction.lag.ms", "0", 0),
  maxCompactionLagMs: long(
    "max.compaction.lag.ms",
    "log.cleaner.max.compaction.lag.ms",
    longMax,
    1,
  ),
  minInsyncReplicas: int("min.insync.replicas", "min.insync.replicas", "1", 1),
};
