/** `ottla check`: verifies every byte of a store and prints what it finds. */

import { checkStore } from "../store/check_store.ts";
import type { CheckProblem, CheckReport } from "../store/check_report.ts";
import { partitionFolderName } from "../store/topic_name.ts";
import type { Command } from "./command.ts";
import { exitCode, parseArguments } from "./command.ts";
import { formatBytes, formatCount, formatNoun } from "./format.ts";
import type { CliIo } from "./io.ts";
import { tableLines } from "./table.ts";

const help = `Usage: ottla check [options] <folder>

Verifies every byte of a store, of ottla's or Kafka's: metadata, checksums, records, offsets, indexes, checkpoints.
It takes no lock and changes nothing. Of a store that is open elsewhere it says so, as its ends are moving then.

Options:
  --json                       print the report as one JSON object
  -h, --help

An error is data that is lost or wrong; a warning is something that the next opening puts right, or that the data does
not need; a note is nothing wrong. Exit code 1 if there are errors or warnings.
`;

/** The command. */
export const checkCommand: Command = {
  name: "check",
  summary: "verify every byte of a store",
  help,
  run: runCheck,
};

async function runCheck(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseArguments(args, { json: { type: "boolean" } }, ["folder"]);
  const report = await checkStore(positionals[0]!);
  const text = values.json ? JSON.stringify(report) : reportLines(report).join("\n");
  await io.stdout.write(`${text}\n`);
  return report.isClean ? exitCode.fine : exitCode.failed;
}

function reportLines(report: CheckReport): string[] {
  const { partitions } = report;
  const problems = [...report.problems, ...partitions.flatMap((partition) => partition.problems)];
  const columns = [
    { title: "partition" },
    { title: "segments", align: "right" },
    { title: "batches", align: "right" },
    { title: "records", align: "right" },
    { title: "size", align: "right" },
    { title: "startOffset", align: "right" },
    { title: "endOffset", align: "right" },
  ] as const;
  const rows = partitions.map((partition) => [
    partitionFolderName(partition.topic, partition.partition),
    formatCount(partition.segments),
    formatCount(partition.batches),
    formatCount(partition.records),
    formatBytes(partition.sizeBytes),
    formatCount(partition.startOffset),
    formatCount(partition.endOffset),
  ]);
  const lines = [...tableLines(columns, rows), ""];
  if (problems.length > 0) lines.push(...problems.map(problemLine), "");
  return [...lines, summaryOf(report, problems)];
}

function problemLine({ severity, path, position, message }: CheckProblem): string {
  const place = position === undefined ? path : `${path} at position ${position}`;
  return `${severity}: ${place === "" ? "" : `${place}: `}${message}`;
}

function summaryOf(
  { partitions, isClean }: CheckReport,
  problems: readonly CheckProblem[],
): string {
  const count = (severity: CheckProblem["severity"]): number =>
    problems.filter((problem) => problem.severity === severity).length;
  const found = isClean
    ? "No damage"
    : `${formatNoun(count("error"), "error")} and ${formatNoun(count("warning"), "warning")}`;
  const records = partitions.reduce((sum, partition) => sum + partition.records, 0);
  const sizeBytes = partitions.reduce((sum, partition) => sum + partition.sizeBytes, 0);
  return `${found} in ${formatNoun(partitions.length, "partition")}, ` +
    `${formatNoun(records, "record")}, ${formatBytes(sizeBytes)}`;
}
