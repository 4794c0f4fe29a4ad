/**
 * ottla: an embeddable, in-process event log whose files are Apache Kafka's own.
 *
 * @example
 * ```ts
 * import { append, closeStore, createTopic, openStore, read } from "ottla";
 *
 * const store = await openStore(":memory:");
 * await createTopic(store, "greetings", { partitions: 1 });
 * await append(store, "greetings", { key: "ann", value: "hello" });
 * for await (const record of read(store, "greetings")) console.log(record.offset);
 * await closeStore(store);
 * ```
 *
 * @module
 */

export { isOttlaError, OttlaError } from "./src/errors.ts";
export type { ErrorCode, ErrorDetails } from "./src/errors.ts";

export { checkStore } from "./src/store/check_store.ts";
export type { CheckOptions } from "./src/store/check_store.ts";
export type {
  CheckProblem,
  CheckReport,
  CheckSeverity,
  PartitionCheck,
} from "./src/store/check_report.ts";
export { closeStore, flush, openStore } from "./src/store/open_store.ts";
export type { RecoveryReport, Store, StoreOptions } from "./src/store/store.ts";

export {
  alterTopic,
  createPartitions,
  createTopic,
  deleteRecords,
  deleteTopic,
  describeTopic,
  listTopics,
} from "./src/store/topics.ts";
export type {
  PartitionDescription,
  TopicChanges,
  TopicDescription,
  TopicOptions,
} from "./src/store/topics.ts";
export type { TopicConfig } from "./src/store/topic_config.ts";
export type { Partitioner, PartitionFunction } from "./src/store/partitioner.ts";

export { bytes, json, msgpack, utf8 } from "./src/client/serde.ts";
export type { Serde } from "./src/client/serde.ts";
export { topicOf } from "./src/client/topic.ts";
export type { Topic, TopicArgument } from "./src/client/topic.ts";

export { append, appendBatch } from "./src/client/append.ts";
export type {
  AppendOptions,
  AppendRecord,
  BatchMetadata,
  RecordMetadata,
} from "./src/client/append.ts";
export type { Ack } from "./src/log/log.ts";
export type { Content, Header, HeaderInput, LogRecord } from "./src/record/record.ts";

export { read, readBatches } from "./src/client/read.ts";
export type { ReadGap, ReadOptions } from "./src/client/read_options.ts";
export type { BatchView } from "./src/record/batch_view.ts";
export { forEachRecord, headersOf, keyOf, recordsOf, valueOf } from "./src/record/record_reader.ts";
export type { RecordView } from "./src/record/record_reader.ts";
export { offsetForTimestamp, offsetsOf } from "./src/client/offsets.ts";
export type { PartitionOffsets } from "./src/client/offsets.ts";

export { closeRange, openRange, sendRange } from "./src/client/range.ts";
export type { FileRange, RangeOptions } from "./src/client/range.ts";

export { enforceRetention } from "./src/store/maintenance.ts";
export type { RetentionReport } from "./src/store/maintenance.ts";
