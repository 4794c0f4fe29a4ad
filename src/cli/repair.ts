/** `ottla repair`: takes damaged bytes out of a store, and prints what it did and what is lost. */

import type { CheckReport } from "../store/check_report.ts";
import type { RepairReport } from "../store/repair_report.ts";
import { repairStore } from "../store/repair_store.ts";
import { partitionFolderName } from "../store/topic_name.ts";
import type { Command } from "./command.ts";
import { exitCode, parseArguments } from "./command.ts";
import { formatCount, formatNoun } from "./format.ts";
import type { CliIo } from "./io.ts";

const help = `Usage: ottla repair [options] <folder>

Makes a damaged store usable, of ottla's or Kafka's. Nobody may have it open. Damaged bytes are taken out and kept in a
folder beside the store; what is left is read as before, and brokers and Kafka's tools read over what is lost.
An interrupted repair can be begun again. See first what ottla check finds.

Options:
  --dry-run                    tell what would be done, and change nothing
  --aside <folder>             where the damaged bytes go (default: <folder>.repair)
  --cluster-id <id>            the store's cluster.id, should its meta.properties be lost
  --json                       print the report as one JSON object
  -h, --help

Exit code 1 if anything is lost, or is still wrong afterwards.
`;

/** The command. */
export const repairCommand: Command = {
  name: "repair",
  summary: "take damaged bytes out of a store and keep them aside",
  help,
  run: runRepair,
};

async function runRepair(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseArguments(
    args,
    {
      "dry-run": { type: "boolean" },
      aside: { type: "string" },
      "cluster-id": { type: "string" },
      json: { type: "boolean" },
    },
    ["folder"],
  );
  const { aside, "cluster-id": clusterId } = values;
  const report = await repairStore(positionals[0]!, {
    dryRun: values["dry-run"] ?? false,
    ...(aside === undefined ? {} : { asideFolder: aside }),
    ...(clusterId === undefined ? {} : { clusterId }),
  });
  const text = values.json ? JSON.stringify(report) : reportLines(report).join("\n");
  await io.stdout.write(`${text}\n`);
  const isFine = report.losses.length === 0 && (report.isDryRun || report.check?.isClean === true);
  return isFine ? exitCode.fine : exitCode.failed;
}

function reportLines(report: RepairReport): string[] {
  const { steps, losses, omittedCount, keptIn, check, isDryRun } = report;
  if (steps.length === 0 && (check?.isClean ?? false)) return ["There is nothing to repair"];
  const lines = steps.map(({ path, message }) => `${path}: ${message}`);
  for (const { topic, partition, startOffset, endOffset } of losses) {
    const name = partitionFolderName(topic, partition);
    lines.push(`lost: offsets ${startOffset} to ${endOffset - 1} of ${name}`);
  }
  if (omittedCount > 0) lines.push(`and ${formatCount(omittedCount)} more lines that are left out`);
  if (lines.length > 0) lines.push("");
  if (keptIn !== undefined) lines.push(`What was taken out is in ${keptIn}`);
  lines.push(isDryRun ? "Nothing was changed" : outcomeOf(check));
  return lines;
}

function outcomeOf(check: CheckReport | undefined): string {
  if (check === undefined || check.isClean) return "A check finds no damage";
  const problems = [...check.problems, ...check.partitions.flatMap((one) => one.problems)];
  const count = problems.filter(({ severity }) => severity !== "note").length;
  return `A check still finds ${formatNoun(count, "problem")}; ottla check shows them`;
}
