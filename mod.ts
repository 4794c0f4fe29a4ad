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

export { backupStore } from "./src/store/backup.ts";
export type { BackupOptions, BackupProgress, BackupReport } from "./src/store/backup.ts";
export { checkStore } from "./src/store/check_store.ts";
export type { CheckOptions } from "./src/store/check_store.ts";
export type {
  CheckProblem,
  CheckReport,
  CheckSeverity,
  PartitionCheck,
} from "./src/store/check_report.ts";
export { repairStore } from "./src/store/repair_store.ts";
export type { RepairOptions } from "./src/store/repair_store.ts";
export type { RepairLoss, RepairReport, RepairStep } from "./src/store/repair_report.ts";
export { closeStore, flush, openStore } from "./src/store/open_store.ts";
export type { RecoveryReport, Store, StoreOptions } from "./src/store/store.ts";

export {
  alterTopic,
  createPartitions,
  createTopic,
  deleteRecords,
  describeTopic,
  listTopics,
} from "./src/store/topics.ts";
export { deleteTopic } from "./src/client/delete_topic.ts";
export type { TopicChanges, TopicOptions } from "./src/store/topics.ts";
export type { PartitionDescription, TopicDescription } from "./src/store/topic_description.ts";
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

export { closeProducer, flushProducer, openProducer, send } from "./src/client/producer.ts";
export type {
  CloseProducerOptions,
  ProducerOptions,
  ProducerPartitioner,
  SendOptions,
} from "./src/client/producer_options.ts";
export type { Producer } from "./src/client/producer_state.ts";
export type {
  InterceptedRecord,
  InterceptorErrorListener,
  ProducerInterceptor,
} from "./src/client/interceptors.ts";

export { read, readBatches } from "./src/client/read.ts";
export type { ReadGap, ReadOptions } from "./src/client/read_options.ts";
export type { IsolationLevel } from "./src/log/committed_reader.ts";
export type { BatchView } from "./src/record/batch_view.ts";
export { forEachRecord, headersOf, keyOf, recordsOf, valueOf } from "./src/record/record_reader.ts";
export type { RecordView } from "./src/record/record_reader.ts";
export { offsetForTimestamp, offsetsOf } from "./src/client/offsets.ts";
export type { PartitionOffsets } from "./src/client/offsets.ts";

export { closeRange, openRange, sendRange } from "./src/client/range.ts";
export type { FileRange, RangeOptions } from "./src/client/range.ts";

export { closeConsumer, commit, openConsumer, poll } from "./src/client/consumer.ts";
export {
  assign,
  assignmentOf,
  pause,
  positionOf,
  resume,
  seek,
} from "./src/client/consumer_positions.ts";
export { consumeEach } from "./src/client/consume_each.ts";
export type { Consumer } from "./src/client/consumer_state.ts";
export type {
  AutoOffsetReset,
  ConsumedOffset,
  ConsumerOptions,
  OffsetStore,
  PartitionsListener,
  PollOptions,
} from "./src/client/consumer_options.ts";
export type {
  ConsumeEachOptions,
  HandlerContext,
  RecordHandler,
} from "./src/client/consume_each.ts";
export type { Assignor, AssignorFunction, AssignorMember } from "./src/coordinator/assignor.ts";
export type { TopicPartition } from "./src/coordinator/topic_partition.ts";

export {
  commitOffsets,
  committedOffsets,
  deleteGroup,
  describeGroup,
  groupLag,
  listGroups,
} from "./src/client/groups.ts";
export { resetOffsets } from "./src/client/group_reset.ts";
export type {
  CommitOptions,
  GroupDescription,
  GroupListing,
  GroupOffset,
  MemberDescription,
  PartitionLag,
} from "./src/client/groups.ts";
export type { OffsetReset, ResetOffset, ResetTarget } from "./src/client/group_reset.ts";

export { compactTopic } from "./src/client/compact_topic.ts";
export type {
  CompactionProgress,
  CompactionReport,
  CompactTopicOptions,
} from "./src/client/compact_topic.ts";
export { enforceRetention } from "./src/store/maintenance.ts";
export type { RetentionReport } from "./src/store/maintenance.ts";

export { statsOf } from "./src/client/stats.ts";
export type { GroupsStats, StatsOptions, StoreStats } from "./src/client/stats.ts";
export { prometheusOf } from "./src/client/stats_prometheus.ts";
export type {
  AppendStats,
  HistogramStats,
  LogCounters,
  LogGauges,
  PartitionStats,
  TopicStats,
} from "./src/store/store_stats.ts";
export type {
  AppendMessage,
  CompactionMessage,
  RecoveryMessage,
  RetentionMessage,
  SyncMessage,
} from "./src/platform/diagnostics.ts";
