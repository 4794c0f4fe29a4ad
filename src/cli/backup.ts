/** `ottla backup`: copies a store that nobody has open to another folder. */

import { pathOf } from "../platform/path.ts";
import type { BackupReport } from "../store/backup.ts";
import { backupStore } from "../store/backup.ts";
import type { Command } from "./command.ts";
import { exitCode, parseArguments } from "./command.ts";
import { formatBytes, formatNoun } from "./format.ts";
import type { CliIo } from "./io.ts";
import { endProgress, progressBar, updateProgress } from "./progress_bar.ts";
import { changeStore } from "./store_access.ts";

const help = `Usage: ottla backup [options] <folder> <target>

Makes a consistent copy of a store in another folder, which must be empty or not there: topics, records, groups. It opens
as a store that was closed properly. What is never written to again is shared by hard links where the file system has them.
The store is opened for it, so nobody else may have it open; an application backs its store up with backupStore().

Options:
  --copy                       copy all bytes instead of sharing files by hard links
  --json                       print what was done as one JSON object
  -h, --help

If it fails or is interrupted nothing is left of the copy.
`;

/** The command. */
export const backupCommand: Command = {
  name: "backup",
  summary: "copy a store to another folder",
  help,
  run: runBackup,
};

async function runBackup(args: readonly string[], io: CliIo): Promise<number> {
  const options = { copy: { type: "boolean" }, json: { type: "boolean" } } as const;
  const { values, positionals } = parseArguments(args, options, ["folder", "target"]);
  const [folder = "", target = ""] = positionals;
  const bar = progressBar(io);
  const report = await changeStore(folder, false, async (store) => {
    try {
      return await backupStore(store, pathOf(target), {
        links: !values.copy,
        signal: io.signal,
        onProgress({ bytesDone, bytesTotal }) {
          const detail = `${formatBytes(bytesDone)} of ${formatBytes(bytesTotal)}`;
          void updateProgress(bar, bytesTotal === 0 ? 1 : bytesDone / bytesTotal, detail);
        },
      });
    } finally {
      await endProgress(bar, false);
    }
  });
  const text = values.json ? JSON.stringify(report) : summaryOf(report);
  await io.stdout.write(`${text}\n`);
  return exitCode.fine;
}

function summaryOf({ path, partitions, linkedBytes, copiedBytes }: BackupReport): string {
  return `Copied ${formatNoun(partitions, "partition")} to ${path}: ` +
    `${formatBytes(copiedBytes)} copied, ${formatBytes(linkedBytes)} shared`;
}
