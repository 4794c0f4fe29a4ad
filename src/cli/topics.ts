/**
 * `ottla topics`: lists, describes, creates, changes and deletes topics. Looking takes no lock;
 * changing does.
 */

import { deleteTopic } from "../client/delete_topic.ts";
import { findEndOffset, viewPartition } from "../store/folder_view.ts";
import { brokerConfigEntries, getTopic, topicConfigEntries } from "../store/metadata_image.ts";
import { partitionerNames } from "../store/partitioner.ts";
import { describeConfig } from "../store/topic_config.ts";
import { alterTopic, createPartitions, createTopic } from "../store/topics.ts";
import type { TopicDescription } from "../store/topic_description.ts";
import type { TopicChanges } from "../store/topics.ts";
import type { Command } from "./command.ts";
import {
  exitCode,
  parseArguments,
  parseInteger,
  parseWord,
  runVerb,
  usageError,
} from "./command.ts";
import { formatBytes, formatCount, formatNoun } from "./format.ts";
import type { CliIo } from "./io.ts";
import { changeStore, viewStore } from "./store_access.ts";
import type { StoreView } from "./store_access.ts";
import { tableLines } from "./table.ts";
import { findConfigName, parseConfigs } from "./topic_options.ts";

const help = `Usage: ottla topics list <folder> [--json]
       ottla topics describe <folder> [topic...] [--all] [--json]
       ottla topics create <folder> <topic> [--partitions <count>] [--config <name>=<value>...]
                    [--partitioner <name>] [--if-not-exists] [--json]
       ottla topics alter <folder> <topic> [--partitions <count>] [--config <name>=<value>...]
                    [--delete-config <name>...] [--partitioner <name>] [--json]
       ottla topics delete <folder> <topic...>

Lists, describes, creates, changes and deletes topics. list and describe only read and take no lock, so they
work while another process has the store open; the others need the store for themselves. create makes the
folder a store if it does not exist or is empty.

Options:
  --partitions <count>         how many partitions: 1 unless given; alter can only make them more
  --config <name>=<value>      a setting, by Kafka's name (retention.ms) or ours (retentionMs, retentionHours)
  --delete-config <name>       set it back to its default
  --partitioner <name>         ${partitionerNames.join(", ")}
  --if-not-exists              an existing topic is fine
  --all                        describe the settings at their defaults too
  --json                       one JSON object a topic and line
  -h, --help
`;

/** The command. */
export const topicsCommand: Command = {
  name: "topics",
  summary: "list, describe, create, change and delete topics",
  help,
  run: (args, io) =>
    runVerb(
      "topics",
      {
        list: runList,
        describe: runDescribe,
        create: runCreate,
        alter: runAlter,
        delete: runDelete,
      },
      args,
      io,
    ),
};

const changeOptions = {
  "partitions": { type: "string" },
  "config": { type: "string", multiple: true },
  "delete-config": { type: "string", multiple: true },
  "partitioner": { type: "string" },
  "if-not-exists": { type: "boolean" },
  "json": { type: "boolean" },
} as const;
const partitionsMax = 2 ** 31 - 1;

async function runList(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseArguments(args, { json: { type: "boolean" } }, ["folder"]);
  const { image } = await viewStore(positionals[0]!);
  const topics = [...image.topicsByName.values()].sort((a, b) => a.name < b.name ? -1 : 1);
  const lines = topics.map(({ name, topicId, partitions }) =>
    values.json ? JSON.stringify({ name, topicId, partitionCount: partitions.size }) : name
  );
  await io.stdout.write(lines.map((line) => `${line}\n`).join(""));
  return exitCode.fine;
}

async function runDescribe(args: readonly string[], io: CliIo): Promise<number> {
  const options = { json: { type: "boolean" }, all: { type: "boolean" } } as const;
  const { values, positionals } = parseArguments(args, options, ["folder", "topic?..."]);
  const [folder = "", ...wanted] = positionals;
  const view = await viewStore(folder);
  const names = wanted.length > 0 ? wanted : [...view.image.topicsByName.keys()].sort();
  for (const name of names) {
    const topic = topicView(view, name);
    const text = values.json ? JSON.stringify(topic) : topicText(topic, values.all ?? false);
    await io.stdout.write(`${text}\n`);
  }
  return exitCode.fine;
}

async function runCreate(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseArguments(args, changeOptions, ["folder", "topic"]);
  if (values["delete-config"] !== undefined) throw usageError("create takes no --delete-config");
  const partitions = parseInteger("--partitions", values.partitions, 1, partitionsMax);
  const partitioner = parseWord("--partitioner", values.partitioner, partitionerNames);
  const options = {
    ...parseConfigs(values.config ?? []),
    ...(partitions === undefined ? {} : { partitions }),
    ...(partitioner === undefined ? {} : { partitioner }),
    ifNotExists: values["if-not-exists"] ?? false,
  };
  const [folder = "", name = ""] = positionals;
  await changeStore(folder, true, async (store) => {
    const topic = await createTopic(store, name, options);
    await printChanged(io, topic, values.json ?? false);
  });
  return exitCode.fine;
}

async function runAlter(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseArguments(args, changeOptions, ["folder", "topic"]);
  if (values["if-not-exists"] !== undefined) throw usageError("alter takes no --if-not-exists");
  const partitions = parseInteger("--partitions", values.partitions, 1, partitionsMax);
  const partitioner = parseWord("--partitioner", values.partitioner, partitionerNames);
  const defaults = (values["delete-config"] ?? []).map((name) => [findConfigName(name), null]);
  const changes: TopicChanges = {
    ...parseConfigs(values.config ?? []),
    ...Object.fromEntries(defaults),
    ...(partitioner === undefined ? {} : { partitioner }),
  };
  const hasChanges = Object.keys(changes).length > 0;
  if (!hasChanges && partitions === undefined) throw usageError("There is nothing to alter");
  const [folder = "", name = ""] = positionals;
  await changeStore(folder, false, async (store) => {
    let topic: TopicDescription | undefined;
    if (partitions !== undefined) topic = await createPartitions(store, name, partitions);
    if (hasChanges) topic = await alterTopic(store, name, changes);
    await printChanged(io, topic!, values.json ?? false);
  });
  return exitCode.fine;
}

async function runDelete(args: readonly string[], io: CliIo): Promise<number> {
  const { positionals } = parseArguments(args, {}, ["folder", "topic..."]);
  const [folder = "", ...names] = positionals;
  await changeStore(folder, false, async (store) => {
    for (const name of names) {
      await deleteTopic(store, name);
      await io.stderr.write(`Deleted ${name}\n`);
    }
  });
  return exitCode.fine;
}

async function printChanged(
  io: CliIo,
  { name, topicId, partitions }: TopicDescription,
  isJson: boolean,
): Promise<void> {
  const partitionCount = partitions.length;
  if (isJson) {
    await io.stdout.write(`${JSON.stringify({ name, topicId, partitionCount })}\n`);
  } else {
    await io.stderr.write(`${name}: ${formatNoun(partitionCount, "partition")}, id ${topicId}\n`);
  }
}

type TopicView = ReturnType<typeof topicView>;

function topicView({ fs, folder, nodeId, image }: StoreView, name: string) {
  const { topicId, partitions } = getTopic(image, name);
  const numbers = [...partitions.keys()].sort((a, b) => a - b);
  return {
    name,
    topicId,
    partitions: numbers.map((partition) => {
      const view = viewPartition(fs, folder, name, partition);
      return {
        partition,
        startOffset: view.startOffset,
        endOffset: findEndOffset(fs, view),
        segmentCount: view.segments.length,
        sizeBytes: view.segments.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
      };
    }),
    config: describeConfig(topicConfigEntries(image, name), brokerConfigEntries(image, nodeId)),
  };
}

function topicText({ name, topicId, partitions, config }: TopicView, hasDefaults: boolean): string {
  const settings = config.filter(({ source }) => hasDefaults || source !== "default");
  const sources = { topic: "", broker: "of the broker", default: "default" };
  const columns = [
    { title: "partition", align: "right" },
    { title: "startOffset", align: "right" },
    { title: "endOffset", align: "right" },
    { title: "segments", align: "right" },
    { title: "size", align: "right" },
  ] as const;
  const rows = partitions.map((partition) => [
    String(partition.partition),
    formatCount(partition.startOffset),
    formatCount(partition.endOffset),
    formatCount(partition.segmentCount),
    formatBytes(partition.sizeBytes),
  ]);
  const configRows = settings.map(({ name, value, source }) => [name, value, sources[source]]);
  return [
    `${name}  ${formatNoun(partitions.length, "partition")}, id ${topicId}`,
    ...tableLines(columns, rows).map((line) => `  ${line}`),
    ...tableLines([{ title: "setting" }, { title: "value" }], configRows).map((line) =>
      `  ${line}`
    ),
    "",
  ].join("\n");
}
