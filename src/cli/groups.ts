/**
 * `ottla groups`: lists and describes groups, moves them to another place, deletes them. Looking takes
 * no lock; changing does.
 */

import type { ResetOffset, ResetTarget } from "../client/group_reset.ts";
import { resetOffsets } from "../client/group_reset.ts";
import { deleteGroup } from "../client/groups.ts";
import { OttlaError } from "../errors.ts";
import type { Command } from "./command.ts";
import {
  exitCode,
  findTime,
  parseArguments,
  parseInteger,
  runVerb,
  usageError,
} from "./command.ts";
import { formatCount, formatNoun } from "./format.ts";
import type { GroupsView, GroupView } from "./groups_view.ts";
import { viewEndOffset, viewGroups } from "./groups_view.ts";
import type { CliIo } from "./io.ts";
import { changeStore } from "./store_access.ts";
import type { TableColumn } from "./table.ts";
import { tableLines } from "./table.ts";

const help = `Usage: ottla groups list <folder> [--json]
       ottla groups describe <folder> [group...] [--json]
       ottla groups reset <folder> <group> --topic <name> [--partition <number>...] <place> [--execute] [--json]
       ottla groups delete <folder> <group...>

Lists, describes, moves and deletes groups of consumers. list and describe only read and take no lock, so they work
while another process has the store open; who the members are only that process knows. reset and delete need the
store for themselves.

reset moves a group in a topic. It prints where the group would go on; with --execute the group is moved. The place
is one of
  --to-earliest                the beginning of each partition
  --to-latest                  the end of each partition
  --to-offset <offset>         this offset
  --to-datetime <time>         the first record of a time such as 2026-01-31T12:00:00Z or later
  --shift-by <count>           so many offsets on from where it is, or back: -5
What lies outside a partition becomes its beginning or its end.

Options:
  --topic <name>               the topic to move in
  --partition <number>         in this partition only; may be repeated
  --execute                    do it
  --json                       one JSON object a group, or a partition, and line
  -h, --help

Damage is told of and passed over; then the exit code is 1.
`;

/** The command. */
export const groupsCommand: Command = {
  name: "groups",
  summary: "list, describe, move and delete groups",
  help,
  run: (args, io) =>
    runVerb(
      "groups",
      { list: runList, describe: runDescribe, reset: runReset, delete: runDelete },
      args,
      io,
    ),
};

const placeNames = ["to-earliest", "to-latest", "to-offset", "to-datetime", "shift-by"] as const;
const resetOptions = {
  "topic": { type: "string" },
  "partition": { type: "string", multiple: true },
  "to-earliest": { type: "boolean" },
  "to-latest": { type: "boolean" },
  "to-offset": { type: "string" },
  "to-datetime": { type: "string" },
  "shift-by": { type: "string" },
  "execute": { type: "boolean" },
  "json": { type: "boolean" },
} as const;
type PlaceValues = {
  readonly [Name in typeof placeNames[number]]?: string | boolean | undefined;
};

/** What stands where there is nothing, as in Kafka's tools. */
const missing = "-";
const listColumns: readonly TableColumn[] = [
  { title: "GROUP" },
  { title: "STATE" },
  { title: "TOPICS", align: "right" },
  { title: "PARTITIONS", align: "right" },
];
const describeColumns: readonly TableColumn[] = [
  { title: "GROUP" },
  { title: "TOPIC" },
  { title: "PARTITION", align: "right" },
  { title: "CURRENT-OFFSET", align: "right" },
  { title: "LOG-END-OFFSET", align: "right" },
  { title: "LAG", align: "right" },
  { title: "CONSUMER-ID" },
  { title: "HOST" },
  { title: "CLIENT-ID" },
];
const resetColumns: readonly TableColumn[] = [
  { title: "GROUP" },
  { title: "TOPIC" },
  { title: "PARTITION", align: "right" },
  { title: "NEW-OFFSET", align: "right" },
];

async function runList(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseArguments(args, { json: { type: "boolean" } }, ["folder"]);
  const view = await viewGroups(positionals[0]!);
  const groups = view.groups.map(({ groupId, state, protocolType, partitions }) => ({
    groupId,
    state,
    protocolType,
    topicCount: new Set(partitions.map(({ topic }) => topic)).size,
    partitionCount: partitions.length,
  }));
  const rows = groups.map(({ groupId, state, topicCount, partitionCount }) => [
    groupId,
    state,
    String(topicCount),
    String(partitionCount),
  ]);
  if (values.json) await writeLines(io, groups.map((group) => JSON.stringify(group)));
  else if (groups.length > 0) await writeLines(io, tableLines(listColumns, rows));
  return await tellFaults(io, view);
}

async function runDescribe(args: readonly string[], io: CliIo): Promise<number> {
  const options = { json: { type: "boolean" } } as const;
  const { values, positionals } = parseArguments(args, options, ["folder", "group?..."]);
  const [folder = "", ...wanted] = positionals;
  const view = await viewGroups(folder);
  const ids = wanted.length > 0 ? wanted : view.groups.map(({ groupId }) => groupId);
  const groups = ids.map((groupId) => lagView(view, getGroupView(view, groupId)));
  for (const group of groups) {
    await io.stdout.write(`${values.json ? JSON.stringify(group) : groupText(group)}\n`);
  }
  return await tellFaults(io, view);
}

async function runReset(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseArguments(args, resetOptions, ["folder", "group"]);
  const [folder = "", groupId = ""] = positionals;
  const { topic, execute: isExecuted = false } = values;
  if (topic === undefined) throw usageError("--topic is missing");
  const partitions = values.partition?.map((text) =>
    parseInteger("--partition", text, 0, 2 ** 31 - 1)!
  );
  const to = parseTarget(values);
  await changeStore(folder, false, async (store) => {
    const reset = { topic, partitions, to, dryRun: !isExecuted };
    await printReset(io, groupId, await resetOffsets(store, groupId, reset), values.json ?? false);
  });
  if (!isExecuted) await io.stderr.write("Nothing was changed: that takes --execute\n");
  return exitCode.fine;
}

async function runDelete(args: readonly string[], io: CliIo): Promise<number> {
  const { positionals } = parseArguments(args, {}, ["folder", "group..."]);
  const [folder = "", ...groupIds] = positionals;
  await changeStore(folder, false, async (store) => {
    for (const groupId of groupIds) {
      await deleteGroup(store, groupId);
      await io.stderr.write(`Deleted ${groupId}\n`);
    }
  });
  return exitCode.fine;
}

function parseTarget(values: PlaceValues): ResetTarget {
  const given = placeNames.filter((name) => values[name] !== undefined);
  const [name] = given;
  if (name === undefined || given.length > 1) {
    const names = placeNames.map((one) => `--${one}`);
    throw usageError(`reset takes exactly one of ${names.join(", ")}`);
  }
  const value = String(values[name]);
  switch (name) {
    case "to-earliest":
      return "earliest";
    case "to-latest":
      return "latest";
    case "to-offset":
      return parseInteger("--to-offset", value, 0)!;
    case "shift-by":
      return { shiftBy: parseInteger("--shift-by", value, Number.MIN_SAFE_INTEGER)! };
    case "to-datetime": {
      const timeMs = findTime(value);
      if (timeMs !== undefined) return new Date(timeMs);
      throw usageError(`--to-datetime takes an ISO time, got ${JSON.stringify(value)}`);
    }
  }
}

async function printReset(
  io: CliIo,
  groupId: string,
  offsets: readonly ResetOffset[],
  isJson: boolean,
): Promise<void> {
  const rows = offsets.map(({ topic, partition, offset }) => [
    groupId,
    topic,
    String(partition),
    String(offset),
  ]);
  const lines = isJson
    ? offsets.map(({ topic, partition, offset }) =>
      JSON.stringify({ groupId, topic, partition, offset })
    )
    : tableLines(resetColumns, rows);
  await writeLines(io, lines);
}

function getGroupView({ groups }: GroupsView, wanted: string): GroupView {
  const found = groups.find(({ groupId }) => groupId === wanted);
  if (found !== undefined) return found;
  throw new OttlaError(
    "GROUP_ID_NOT_FOUND",
    `Cannot describe group ${wanted}: there is no such group`,
    { details: { groupId: wanted } },
  );
}

type LagView = ReturnType<typeof lagView>;

function lagView(view: GroupsView, group: GroupView) {
  return {
    ...group,
    partitions: group.partitions.map(({ topic, partition, committed }) => {
      const { offset, metadata, commitTimestamp } = committed;
      const endOffset = viewEndOffset(view.store, topic, partition);
      const lag = Math.max(0, endOffset - offset);
      return {
        topic,
        partition,
        committedOffset: offset,
        endOffset,
        lag,
        metadata,
        commitTimestamp,
      };
    }),
  };
}

function groupText({ groupId, state, generation, partitions }: LagView): string {
  const lag = partitions.reduce((sum, entry) => sum + entry.lag, 0);
  const rows = partitions.map(({ topic, partition, committedOffset, endOffset, lag }) => [
    groupId,
    topic,
    String(partition),
    String(committedOffset),
    String(endOffset),
    String(lag),
    missing,
    missing,
    missing,
  ]);
  const extent = partitions.length === 0
    ? "nothing committed"
    : `${formatNoun(partitions.length, "partition")}, lag ${formatCount(lag)}`;
  return [
    `${groupId}  ${state}, generation ${generation}, ${extent}`,
    ...(rows.length === 0 ? [] : tableLines(describeColumns, rows).map((line) => `  ${line}`)),
    "",
  ].join("\n");
}

async function writeLines(io: CliIo, lines: readonly string[]): Promise<void> {
  await io.stdout.write(lines.map((line) => `${line}\n`).join(""));
}

async function tellFaults(io: CliIo, { faults }: GroupsView): Promise<number> {
  for (const fault of faults) await io.stderr.write(`ottla: ${fault}\n`);
  return faults.length > 0 ? exitCode.failed : exitCode.fine;
}
