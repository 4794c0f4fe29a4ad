/**
 * `ottla stats`: what a store holds, from its files: topics, segments, sizes, offsets, groups and how
 * far they are behind. It takes no lock and changes nothing, so it can be asked while an application
 * has the store open. What has been done since the store was opened only that application knows.
 */

import { offsetsTopic } from "../coordinator/group_records.ts";
import type { FileSystem } from "../platform/file_system.ts";
import { findFreeBytes } from "../store/disk_space.ts";
import type { PartitionView } from "../store/folder_view.ts";
import { findEndOffset, viewPartition } from "../store/folder_view.ts";
import { getTopic } from "../store/metadata_image.ts";
import type { MetricSample } from "../store/prometheus_text.ts";
import { printMetric } from "../store/prometheus_text.ts";
import type { Command } from "./command.ts";
import { exitCode, parseArguments, usageError } from "./command.ts";
import { formatBytes, formatCount, formatNoun } from "./format.ts";
import type { GroupsView } from "./groups_view.ts";
import { viewGroups } from "./groups_view.ts";
import type { CliIo } from "./io.ts";
import type { StoreView } from "./store_access.ts";
import { tableLines } from "./table.ts";

const help = `Usage: ottla stats [options] <folder>

Tells what a store holds: topics with their segments, sizes and records, groups and how far they are behind, free space.
It takes no lock and changes nothing. What an application has done since it opened the store it tells by itself, with
statsOf() and prometheusOf().

Options:
  --topic <name>               only this topic, and the groups that read it; may be repeated
  --json                       print one JSON object
  --prometheus                 print the text format of Prometheus, with the names that prometheusOf() uses
  -h, --help
`;

/** The command. */
export const statsCommand: Command = {
  name: "stats",
  summary: "tell what a store holds, also for Prometheus",
  help,
  run: runStats,
};

/** What a store holds. */
interface FolderStats {
  readonly path: string;
  /** Undefined if nobody can tell. */
  readonly freeBytes: number | undefined;
  readonly topics: readonly FolderTopicStats[];
  readonly groups: readonly FolderLag[];
}

interface FolderTopicStats {
  readonly topic: string;
  readonly segments: number;
  readonly logBytes: number;
  readonly partitions: readonly FolderPartitionStats[];
}

interface FolderPartitionStats {
  readonly partition: number;
  readonly segments: number;
  readonly logBytes: number;
  readonly startOffset: number;
  readonly endOffset: number;
}

/** How far a group is behind in a partition. */
interface FolderLag {
  readonly groupId: string;
  readonly topic: string;
  readonly partition: number;
  readonly committedOffset: number;
  readonly lag: number;
}

async function runStats(args: readonly string[], io: CliIo): Promise<number> {
  const options = {
    topic: { type: "string", multiple: true },
    json: { type: "boolean" },
    prometheus: { type: "boolean" },
  } as const;
  const { values, positionals } = parseArguments(args, options, ["folder"]);
  const { json, prometheus } = values;
  if (json && prometheus) throw usageError("--json and --prometheus exclude each other");
  const view = await viewGroups(positionals[0]!);
  const stats = folderStats(view, values.topic);
  for (const fault of view.faults) await io.stderr.write(`${fault}\n`);
  if (prometheus) await io.stdout.write(prometheusText(stats));
  else if (json) await io.stdout.write(`${JSON.stringify(stats)}\n`);
  else await io.stdout.write(statsText(stats));
  return exitCode.fine;
}

function folderStats(
  { store, groups }: GroupsView,
  wanted: readonly string[] | undefined,
): FolderStats {
  const { fs, folder, image } = store;
  const names = wanted ?? [...image.topicsByName.keys()];
  const topics = [...new Set(names)].sort().map((name) => topicStats(store, name));
  const ends = new Map(
    topics.flatMap(({ topic, partitions }) =>
      partitions.map(({ partition, endOffset }) => [`${topic}-${partition}`, endOffset])
    ),
  );
  return {
    path: folder,
    freeBytes: findFreeBytes(fs, folder),
    topics,
    groups: groups.flatMap(({ groupId, partitions }) =>
      partitions.flatMap(({ topic, partition, committed }) => {
        const endOffset = ends.get(`${topic}-${partition}`);
        if (endOffset === undefined) return [];
        const committedOffset = committed.offset;
        const lag = Math.max(0, endOffset - committedOffset);
        return [{ groupId, topic, partition, committedOffset, lag }];
      })
    ),
  };
}

function topicStats({ fs, folder, image }: StoreView, topic: string): FolderTopicStats {
  const numbers = [...getTopic(image, topic).partitions.keys()].sort((a, b) => a - b);
  const partitions = numbers.map((partition) =>
    partitionStats(fs, viewPartition(fs, folder, topic, partition))
  );
  return {
    topic,
    segments: partitions.reduce((sum, { segments }) => sum + segments, 0),
    logBytes: partitions.reduce((sum, { logBytes }) => sum + logBytes, 0),
    partitions,
  };
}

function partitionStats(fs: FileSystem, view: PartitionView): FolderPartitionStats {
  const { partition, segments, startOffset } = view;
  return {
    partition,
    segments: segments.length,
    logBytes: segments.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    startOffset,
    endOffset: findEndOffset(fs, view),
  };
}

function statsText({ topics, groups, freeBytes }: FolderStats): string {
  // Its 50 partitions say nothing that the groups below do not.
  const shown = topics.filter(({ topic, logBytes }) => topic !== offsetsTopic || logBytes > 0);
  const topicColumns = [
    { title: "topic" },
    ...["partitions", "segments", "size", "offsets"].map((title) => ({
      title,
      align: "right" as const,
    })),
  ];
  const topicRows = shown.map(({ topic, partitions, segments, logBytes }) => [
    topic,
    formatCount(partitions.length),
    formatCount(segments),
    formatBytes(logBytes),
    formatCount(partitions.reduce((sum, one) => sum + one.endOffset - one.startOffset, 0)),
  ]);
  const groupColumns = [
    { title: "group" },
    { title: "topic" },
    { title: "partitions", align: "right" },
    { title: "lag", align: "right" },
  ] as const;
  const lines = [
    ...tableLines(topicColumns, topicRows),
    "",
    ...(groups.length === 0 ? [] : [...tableLines(groupColumns, lagRows(groups)), ""]),
    summaryOf(topics, freeBytes),
  ];
  return lines.map((line) => `${line}\n`).join("");
}

/** One row a group and topic. */
function lagRows(lags: readonly FolderLag[]): string[][] {
  const rows = new Map<string, { groupId: string; topic: string; count: number; lag: number }>();
  for (const { groupId, topic, lag } of lags) {
    const key = JSON.stringify([groupId, topic]);
    const row = rows.get(key) ?? { groupId, topic, count: 0, lag: 0 };
    row.count++;
    row.lag += lag;
    rows.set(key, row);
  }
  return Array.from(rows.values(), ({ groupId, topic, count, lag }) => [
    groupId,
    topic,
    formatCount(count),
    formatCount(lag),
  ]);
}

function summaryOf(topics: readonly FolderTopicStats[], freeBytes: number | undefined): string {
  const partitions = topics.reduce((sum, topic) => sum + topic.partitions.length, 0);
  const logBytes = topics.reduce((sum, topic) => sum + topic.logBytes, 0);
  const free = freeBytes === undefined ? "" : `, ${formatBytes(freeBytes)} free`;
  return `${formatNoun(topics.length, "topic")}, ${formatNoun(partitions, "partition")}, ` +
    `${formatBytes(logBytes)}${free}`;
}

function prometheusText({ topics, groups, freeBytes }: FolderStats): string {
  const ofTopics = (of: (topic: FolderTopicStats) => number): MetricSample[] =>
    topics.map((topic) => ({ labels: { topic: topic.topic }, value: of(topic) }));
  const ofPartitions = (name: "startOffset" | "endOffset"): MetricSample[] =>
    topics.flatMap(({ topic, partitions }) =>
      partitions.map((one) => ({
        labels: { topic, partition: String(one.partition) },
        value: one[name],
      }))
    );
  const ofGroups = (name: "committedOffset" | "lag"): MetricSample[] =>
    groups.map((one) => ({
      labels: { group: one.groupId, topic: one.topic, partition: String(one.partition) },
      value: one[name],
    }));
  const gauge = (name: string, help: string, samples: readonly MetricSample[]): string =>
    printMetric("gauge", `ottla_${name}`, help, samples);
  const free = freeBytes === undefined ? [] : [{ value: freeBytes }];
  return [
    gauge(
      "partitions",
      "Partitions of a topic.",
      ofTopics(({ partitions }) => partitions.length),
    ),
    gauge("segments", "Segments of a topic.", ofTopics(({ segments }) => segments)),
    gauge("log_bytes", "Size of a topic's log files.", ofTopics(({ logBytes }) => logBytes)),
    gauge("start_offset", "The first offset.", ofPartitions("startOffset")),
    gauge("end_offset", "The next offset.", ofPartitions("endOffset")),
    gauge("group_committed_offset", "The next offset of a group.", ofGroups("committedOffset")),
    gauge("group_lag", "How many offsets a group is behind.", ofGroups("lag")),
    gauge("free_bytes", "Bytes that can still be written where the store lies.", free),
  ].join("");
}
