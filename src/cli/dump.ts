/**
 * `ottla dump`: prints files of a log directory as Kafka's dump tool does. It only reads, takes no
 * lock, and needs no store around a file, so it works on a copy, and on a store that another
 * process has open.
 */

import { isOttlaError, OttlaError } from "../errors.ts";
import { diskFileSystem } from "../platform/disk_file_system.ts";
import type { FileSystem } from "../platform/file_system.ts";
import { parseSegmentFileName } from "../segment/segment_file_name.ts";
import type { Command } from "./command.ts";
import { exitCode, messageOf, parseArguments, parseInteger, usageError } from "./command.ts";
import { dumpLog } from "./dump_log.ts";
import type { DumpLogOptions, RecordDecoder } from "./dump_log.ts";
import { readSmallFile } from "./dump_small_file.ts";
import type { SmallFileKind } from "./dump_small_file.ts";
import { formatNoun } from "./format.ts";
import type { CliIo } from "./io.ts";
import { addLine, flushLines, lineOutput } from "./output.ts";
import type { LineOutput } from "./output.ts";
import { loadDecoders } from "./store_access.ts";

const help = `Usage: ottla dump [options] <file...>

Prints files of a log directory as Kafka's dump tool does. Files are told apart by their names: .log, .index,
.timeindex, .txnindex, .snapshot, .checkpoint, leader-epoch-checkpoint, *-offset-checkpoint.

Options:
  --deep, --deep-iteration     a line for every record too
  --print-data-log             keys and values too
  --metadata                   the values are metadata records (--cluster-metadata-decoder is the same)
  --groups                     the records are those of __consumer_offsets (--offsets-decoder is the same)
  --max-bytes <bytes>          look at so many bytes of each log only
  --files <file,file...>       more files
  --json                       one JSON object a line
  -h, --help

Exit code 1 if a file is damaged.
`;

const optionTable = {
  "deep": { type: "boolean" },
  "deep-iteration": { type: "boolean" },
  "print-data-log": { type: "boolean" },
  "metadata": { type: "boolean" },
  "cluster-metadata-decoder": { type: "boolean" },
  "groups": { type: "boolean" },
  "offsets-decoder": { type: "boolean" },
  "max-bytes": { type: "string" },
  "files": { type: "string", multiple: true },
  "json": { type: "boolean" },
} as const;

/** The command. */
export const dumpCommand: Command = {
  name: "dump",
  summary: "print the files of a log directory",
  help,
  run: runDump,
};

/** What a file is. */
interface DumpedFileKind {
  readonly kind: "log" | SmallFileKind;
  /** Of its segment; 0 where the name gives none. */
  readonly baseOffset: number;
  /** What is printed before the first batch. */
  readonly title: string | undefined;
}

async function runDump(args: readonly string[], io: CliIo): Promise<number> {
  const { values, positionals } = parseArguments(args, optionTable, ["file?..."]);
  const listed = (values.files ?? []).flatMap((list) => list.split(","));
  const paths = [...positionals, ...listed].filter((path) => path !== "");
  if (paths.length === 0) throw usageError("<file> is missing");
  const decoder = decoderOf(
    values.metadata ?? values["cluster-metadata-decoder"] ?? false,
    values.groups ?? values["offsets-decoder"] ?? false,
  );
  const hasContent = decoder !== "plain" || (values["print-data-log"] ?? false);
  const options: DumpLogOptions = {
    isDeep: hasContent || (values.deep ?? values["deep-iteration"] ?? false),
    hasContent,
    decoder,
    isJson: values.json ?? false,
    bytesMax: parseInteger("--max-bytes", values["max-bytes"], 0) ?? Number.MAX_SAFE_INTEGER,
  };
  await loadDecoders();
  const output = lineOutput(io);
  const fs = diskFileSystem();
  let failedCount = 0;
  for (const path of paths) {
    if (io.signal.aborted) break;
    try {
      const damageCount = await dumpFile(fs, path, options, output);
      if (damageCount === 0) continue;
      await io.stderr.write(`ottla: Found ${formatNoun(damageCount, "fault")} in ${path}\n`);
    } catch (error) {
      await flushLines(output);
      if (!isFileError(error)) throw error;
      const message = messageOf(error);
      const line = message.startsWith("Cannot") ? message : `Cannot dump ${path}: ${message}`;
      await io.stderr.write(`ottla: ${line}\n`);
    }
    failedCount++;
  }
  return failedCount > 0 ? exitCode.failed : exitCode.fine;
}

function decoderOf(isMetadata: boolean, isGroups: boolean): RecordDecoder {
  if (isMetadata && isGroups) throw usageError("--metadata and --groups exclude each other");
  if (isMetadata) return "metadata";
  return isGroups ? "groups" : "plain";
}

async function dumpFile(
  fs: FileSystem,
  path: string,
  options: DumpLogOptions,
  output: LineOutput,
): Promise<number> {
  const { kind, baseOffset, title } = kindOf(path);
  const file = fs.open(path, "read");
  try {
    if (!options.isJson) {
      addLine(output, `Dumping ${path}`);
      if (title !== undefined) addLine(output, title);
    }
    if (kind === "log") return await dumpLog(fs, file, path, options, output);
    const bytes = new Uint8Array(dumpFileSize(path, fs.sizeOf(file)));
    const entries = readSmallFile(
      kind,
      bytes.subarray(0, fs.read(file, bytes, 0)),
      baseOffset,
      path,
    );
    for (const { text, fields } of entries) {
      const line = options.isJson ? JSON.stringify({ type: kind, path, ...fields }) : text;
      addLine(output, line);
    }
    // Kafka's tool says so of this kind alone.
    const isEmptyIndex = kind === "index" && bytes.length === 0;
    if (isEmptyIndex && !options.isJson) addLine(output, `${path} is empty.`);
    await flushLines(output);
    return 0;
  } finally {
    fs.close(file);
  }
}

const smallFileBytesMax = 256 * 1024 * 1024;

function dumpFileSize(path: string, sizeBytes: number): number {
  if (sizeBytes <= smallFileBytesMax) return sizeBytes;
  throw new OttlaError(
    "STORE_INVALID",
    `Cannot dump ${path}: it has ${sizeBytes} bytes, at most ${smallFileBytesMax} were expected`,
  );
}

const snapshotPattern = /^(\d{20})-(\d{10})\.checkpoint(?:\.part|\.deleted)?$/;

/** What a file is, by its name alone. */
function kindOf(path: string): DumpedFileKind {
  const name = path.replace(/^.*[/\\]/, "");
  const segmentFile = parseSegmentFileName(name);
  if (segmentFile !== undefined) {
    const { kind, baseOffset } = segmentFile;
    const title = kind === "log" ? `Log starting offset: ${baseOffset}` : undefined;
    return { kind, baseOffset, title };
  }
  const snapshot = snapshotPattern.exec(name);
  if (snapshot !== null) {
    const [endOffset, epoch] = [Number(snapshot[1]), Number(snapshot[2])];
    const title = `Snapshot end offset: ${endOffset}, epoch: ${epoch}`;
    return { kind: "log", baseOffset: 0, title };
  }
  if (name === "bootstrap.checkpoint") {
    return { kind: "log", baseOffset: 0, title: "KRaft bootstrap snapshot" };
  }
  if (name.endsWith(".log")) return { kind: "log", baseOffset: 0, title: undefined };
  if (name === "leader-epoch-checkpoint") return { kind: name, baseOffset: 0, title: undefined };
  if (name.endsWith("-offset-checkpoint")) {
    return { kind: "offset-checkpoint", baseOffset: 0, title: undefined };
  }
  throw new OttlaError("STORE_INVALID", `Cannot dump ${path}: its name tells no kind of file`);
}

/** A failure that is about one file, so that the others can still be printed. */
function isFileError(error: unknown): boolean {
  if (isOttlaError(error)) return true;
  return error instanceof Error && "syscall" in error && error.syscall !== "write";
}
