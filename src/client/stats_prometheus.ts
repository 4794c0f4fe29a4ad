/**
 * Statistics as Prometheus reads them. Counters are per topic and end with it: were what a deleted
 * topic did added to another counter, a sum of rates would show it once more, all in one moment.
 * Where not all topics are told of, the topic `""` stands for the others, deleted ones included.
 * Histograms are those of the store, in seconds and bytes.
 */

import type { MetricLabels, MetricSample } from "../store/prometheus_text.ts";
import { printHistogram, printMetric } from "../store/prometheus_text.ts";
import type { AppendStats, HistogramStats, LogCounters, TopicStats } from "../store/store_stats.ts";
import type { StoreStats } from "./stats.ts";

/** A counter of a topic: its name without `_total`, what it is, and where it is found. */
type TopicCounter = readonly [name: string, help: string, of: (counters: LogCounters) => number];

const acks = ["disk", "os", "memory"] as const;

const topicCounters: readonly TopicCounter[] = [
  ["failed_appends", "Appends that the disk did not take.", ({ appends }) => appends.failed],
  ["syncs", "Times that a log was brought to disk.", ({ syncMs }) => syncMs.count],
  ["failed_syncs", "Syncs that failed.", ({ failedSyncs }) => failedSyncs],
  ["reads", "Reads of log files.", ({ reads }) => reads.count],
  ["read_bytes", "Bytes read of log files.", ({ reads }) => reads.bytes],
  ["sent_bytes", "Bytes sent as ranges of log files.", ({ reads }) => reads.sentBytes],
  ["retired_segments", "Segments that retention removed.", ({ retention }) => retention.segments],
  ["retired_bytes", "Bytes that retention removed.", ({ retention }) => retention.bytes],
  ["compactions", "Compactions of a log.", ({ compaction }) => compaction.count],
  // What they removed is no counter: the first compaction of a deletion adds to its size.
  [
    "compaction_read_bytes",
    "Bytes that compactions read.",
    ({ compaction }) => compaction.readBytes,
  ],
  [
    "compaction_kept_bytes",
    "Bytes that compactions kept.",
    ({ compaction }) => compaction.keptBytes,
  ],
  [
    "compaction_read_records",
    "Records that compactions read.",
    ({ compaction }) => compaction.readRecords,
  ],
  [
    "compaction_kept_records",
    "Records that compactions kept.",
    ({ compaction }) => compaction.keptRecords,
  ],
];

/**
 * Prints statistics in Prometheus' text format, for an HTTP server of your own to answer with.
 *
 * @param stats What `statsOf` returned, for all topics or for some.
 * @returns The text, of the type `text/plain; version=0.0.4`.
 * @example
 * ```ts
 * import { createServer } from "node:http";
 * import { openStore, prometheusOf, statsOf } from "ottla";
 * const store = await openStore("./data");
 * createServer((_, response) => {
 *   response.setHeader("content-type", "text/plain; version=0.0.4");
 *   response.end(prometheusOf(statsOf(store)));
 * }).listen(9464);
 * ```
 */
export function prometheusOf(stats: StoreStats): string {
  return countersText(stats) + histogramsText(stats) + gaugesText(stats) + storeText(stats);
}

function countersText({ topics, totals }: StoreStats): string {
  const appended = (of: (appends: AppendStats) => number): MetricSample[] =>
    acks.flatMap((ack) =>
      samplesOf(topics, totals, { ack }, (counters) => of(counters.appends[ack]))
    );
  const counter = (name: string, help: string, samples: readonly MetricSample[]): string =>
    printMetric("counter", `ottla_${name}_total`, help, samples);
  return [
    counter("appended_records", "Records appended.", appended(({ records }) => records)),
    counter("appended_batches", "Batches appended.", appended(({ batches }) => batches)),
    counter("appended_bytes", "Bytes of appended batches.", appended(({ bytes }) => bytes)),
    ...topicCounters.map(([name, help, of]) =>
      counter(name, help, samplesOf(topics, totals, {}, of))
    ),
  ].join("");
}

/** One sample a topic, and if there are others what is in the totals besides. */
function samplesOf(
  topics: readonly TopicStats[],
  totals: StoreStats["totals"],
  labels: MetricLabels,
  of: (counters: LogCounters) => number,
): MetricSample[] {
  let rest = of(totals);
  let otherPartitions = totals.partitions;
  const samples = topics.map((topic) => {
    const value = of(topic);
    rest -= value;
    otherPartitions -= topic.partitions;
    return { labels: { topic: topic.topic, ...labels }, value };
  });
  if (otherPartitions === 0) return samples;
  return [...samples, { labels: { topic: "", ...labels }, value: rest }];
}

function histogramsText({ totals }: StoreStats): string {
  const { syncMs, acknowledgeMs, batchBytes } = totals;
  return printHistogram(
    "ottla_sync_seconds",
    "How long bringing a log to disk took.",
    inSeconds(syncMs),
  ) + printHistogram(
    "ottla_acknowledge_seconds",
    'How long appends at "disk" waited for it.',
    inSeconds(acknowledgeMs),
  ) + printHistogram("ottla_batch_size_bytes", "Sizes of appended batches.", batchBytes);
}

function inSeconds({ buckets, sum }: HistogramStats): Pick<HistogramStats, "buckets" | "sum"> {
  return {
    // Dividing keeps 0.005 what it is; multiplying by 0.001 does not.
    buckets: buckets.map(({ le, count }) => ({ le: le === null ? null : le / 1000, count })),
    sum: sum / 1000,
  };
}

function gaugesText({ topics }: StoreStats): string {
  const gauge = (name: string, help: string, of: (topic: TopicStats) => number): string =>
    printMetric(
      "gauge",
      `ottla_${name}`,
      help,
      topics.map((topic) => ({ labels: { topic: topic.topic }, value: of(topic) })),
    );
  return gauge("partitions", "Partitions of a topic.", ({ partitions }) => partitions) +
    gauge("segments", "Segments of a topic.", ({ segments }) => segments) +
    gauge("log_bytes", "Size of a topic's log files.", ({ logBytes }) => logBytes) +
    gauge("producer_ids", "Producers that are known.", ({ producerIds }) => producerIds) +
    offsetsText(topics);
}

/** For the partitions of which the offsets were asked for. */
function offsetsText(topics: readonly TopicStats[]): string {
  const offset = (name: "startOffset" | "highWatermark" | "endOffset"): MetricSample[] =>
    topics.flatMap(({ topic, partitionStats }) =>
      (partitionStats ?? []).flatMap(({ partition, offsets }) =>
        offsets === undefined
          ? []
          : [{ labels: { topic, partition: String(partition) }, value: offsets[name] }]
      )
    );
  return printMetric("gauge", "ottla_start_offset", "The first offset.", offset("startOffset")) +
    printMetric(
      "gauge",
      "ottla_high_watermark",
      "The offset that readers see up to.",
      offset("highWatermark"),
    ) +
    printMetric("gauge", "ottla_end_offset", "The next offset.", offset("endOffset"));
}

function storeText(stats: StoreStats): string {
  const { files, freeBytes, groups, totals: { recovery } } = stats;
  const gauge = (name: string, help: string, value: number | undefined): string =>
    printMetric("gauge", `ottla_${name}`, help, value === undefined ? [] : [{ value }]);
  return [
    gauge("open_files", "Log files that are open.", files.open),
    gauge("open_files_max", "Log files that may be open.", files.openMax),
    printMetric("counter", "ottla_file_openings_total", "Times that a log file was opened.", [
      { value: files.openings },
    ]),
    gauge("free_bytes", "Bytes that can still be written where the store lies.", freeBytes),
    gauge("groups", "Groups.", groups?.groups),
    gauge("group_members", "Consumers in groups.", groups?.members),
    gauge("opened_seconds", "When the store was opened, since the epoch.", stats.openedMs / 1000),
    gauge("open_took_seconds", "How long opening the store took.", stats.openTookMs / 1000),
    gauge("recovered_segments", "Segments scanned because of a crash.", recovery.segments),
    gauge("recovered_bytes", "Bytes scanned because of a crash.", recovery.bytes),
    gauge("torn_bytes", "Bytes cut from torn ends of logs.", recovery.tornBytes),
  ].join("");
}
