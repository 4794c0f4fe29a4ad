/**
 * What Kafka's DumpLogSegments says of segments, indexes, snapshots and the metadata log.
 *
 * `parseDump` reads the tool's text. It reads everybody's text of the same form, so that another
 * dump of the same file can be compared with Kafka's line by line.
 */
import { relative } from "node:path";
import { kafkaVersion, runTool } from "./kafka_tools.ts";
import type { Kafka } from "./kafka_tools.ts";

/** A command line may hold at most this many paths at once. */
const filesMax = 200;
const dumpTimeoutMs = 180_000;
/** Kafka moved the tool in 4.3. */
const dumpClass = /^4\.[0-2]\./.test(kafkaVersion)
  ? "kafka.tools.DumpLogSegments"
  : "org.apache.kafka.tools.DumpLogSegments";

/** One record as the tool prints it. */
export interface DumpedRecord {
  readonly offset: number;
  readonly timestamp: number;
  /** The size of the key in bytes, -1 for a null key. */
  readonly keySize: number;
  /** The size of the value in bytes, -1 for a null value. */
  readonly valueSize: number;
  readonly sequence: number;
  /** `[first,second]`. */
  readonly headerKeys: string;
  /** The rest of the line: `key: … payload: …`, or what a control record says. */
  readonly content: string;
}

/** One batch as the tool prints it. */
export interface DumpedBatch {
  readonly baseOffset: number;
  readonly lastOffset: number;
  readonly count: number;
  readonly baseSequence: number;
  readonly lastSequence: number;
  readonly producerId: number;
  readonly producerEpoch: number;
  readonly partitionLeaderEpoch: number;
  readonly isTransactional: boolean;
  readonly isControl: boolean;
  readonly deleteHorizonMs: string;
  /** The byte in the file at which the batch starts. */
  readonly position: number;
  readonly timestampType: string;
  /** The largest timestamp of the batch. */
  readonly timestamp: number;
  readonly sizeBytes: number;
  readonly codec: string;
  readonly crc: number;
  readonly isValid: boolean;
  readonly records: readonly DumpedRecord[];
}

/** What the tool prints of one file. */
export interface DumpedFile {
  readonly path: string;
  /** Empty for a file that is not a log. */
  readonly batches: readonly DumpedBatch[];
  /** Of a log every line between its name and its first batch, of any other file every line. */
  readonly lines: readonly string[];
}

/** What one run of the tool brought to light. */
export interface Dump {
  readonly files: readonly DumpedFile[];
  /** Every line that says that something is wrong. */
  readonly complaints: readonly string[];
}

/** What to ask the tool for. */
export interface DumpOptions {
  /** How logs are decoded: as text (the default) or by one of Kafka's own schemas. */
  readonly decoder?: "text" | "metadata" | "offsets" | "transactions";
  /** Only check indexes: as a broker does when it starts, or each entry against its log. */
  readonly check?: "sanity" | "entries";
}

const decoderParameters = {
  text: ["--deep-iteration", "--print-data-log"],
  metadata: ["--cluster-metadata-decoder"],
  offsets: ["--offsets-decoder"],
  transactions: ["--transaction-log-decoder"],
} as const;

const checkParameters = {
  sanity: ["--index-sanity-check"],
  entries: ["--verify-index-only"],
} as const;

/**
 * Runs DumpLogSegments over files.
 *
 * @param kafka Kafka.
 * @param files The paths of `.log`, `.index`, `.timeindex`, `.txnindex`, `.snapshot` or
 * `.checkpoint` files; none may hold a comma.
 * @param options How to decode, or what to check.
 * @returns What it printed, one entry a file in the order asked for, and its complaints.
 * @throws Error If the tool cannot be run at all; a tool that fails is a complaint.
 */
export async function dumpLogSegments(
  kafka: Kafka,
  files: readonly string[],
  options: DumpOptions = {},
): Promise<Dump> {
  const dumped: DumpedFile[] = [];
  const complaints: string[] = [];
  for (let start = 0; start < files.length; start += filesMax) {
    const some = files.slice(start, start + filesMax);
    const parameters = options.check === undefined
      ? decoderParameters[options.decoder ?? "text"]
      : checkParameters[options.check];
    const target = ["--files", some.join(","), ...parameters];
    const result = await runTool(kafka, dumpClass, target, {
      isFailureAllowed: true,
      timeoutMs: dumpTimeoutMs,
    });
    dumped.push(...parseDump(result.stdout));
    complaints.push(...findComplaints(result.stdout, result.stderr));
    if (result.exitCode !== 0) complaints.push(`exit code ${result.exitCode}`);
  }
  const missing = files.filter((path) => dumped.every((file) => file.path !== path));
  complaints.push(...missing.map((path) => `${path} was not dumped`));
  return { files: dumped, complaints };
}

/**
 * Reads the tool's output.
 *
 * @param text What it printed.
 * @returns One entry a file.
 */
export function parseDump(text: string): DumpedFile[] {
  const files: { path: string; batches: DumpedBatch[]; lines: string[] }[] = [];
  let records: DumpedRecord[] = [];
  for (const line of text.split("\n")) {
    const path = /^Dumping (.+)$/.exec(line)?.[1];
    if (path !== undefined) {
      files.push({ path, batches: [], lines: [] });
      continue;
    }
    const file = files.at(-1);
    if (file === undefined || line === "") continue;
    const batch = parseDumpedBatch(line);
    if (batch !== undefined) {
      records = [];
      file.batches.push({ ...batch, records });
      continue;
    }
    const record = parseDumpedRecord(line);
    if (record !== undefined) {
      records.push(record);
    } else if (file.batches.length === 0) {
      file.lines.push(line);
    }
  }
  return files;
}

/**
 * Compares two dumps of one log.
 *
 * @param path The file's name, for the messages.
 * @param actual The one to judge.
 * @param expected The one to believe.
 * @returns One line a difference: file, offset, field and both values; at most ten.
 */
export function compareDumpedLogs(
  path: string,
  actual: DumpedFile | undefined,
  expected: DumpedFile | undefined,
): string[] {
  if (actual === undefined || expected === undefined) return [`${path}: not dumped by both`];
  const differences: string[] = [];
  const [actualCount, expectedCount] = [actual.batches.length, expected.batches.length];
  if (actualCount !== expectedCount) {
    differences.push(`${path}: ${actualCount} batches, expected ${expectedCount}`);
  }
  for (const [index, batch] of expected.batches.entries()) {
    if (differences.length >= 10) break;
    const other = actual.batches[index];
    if (other === undefined) break;
    const where = `${path} offset ${batch.baseOffset}`;
    differences.push(...compareFields(where, { ...other, records: 0 }, { ...batch, records: 0 }));
    if (other.records.length !== batch.records.length) {
      const counts = `${other.records.length}, expected ${batch.records.length}`;
      differences.push(`${where} records: ${counts}`);
      continue;
    }
    for (const [place, record] of batch.records.entries()) {
      const otherRecord = other.records[place];
      if (otherRecord === undefined) break;
      differences.push(...compareFields(`${path} offset ${record.offset}`, otherRecord, record));
    }
  }
  return differences.slice(0, 10);
}

/**
 * The metadata records of a dump made with the metadata decoder, in order.
 *
 * @param file What was dumped.
 * @returns The type and the fields of every record; control records are left out.
 */
export function metadataRecordsOf(
  file: DumpedFile,
): { readonly type: string; readonly data: Record<string, unknown> }[] {
  return file.batches.filter((batch) => !batch.isControl).flatMap((batch) =>
    batch.records.map((record) => {
      const json = record.content.slice(record.content.indexOf("{"));
      return JSON.parse(json) as { type: string; data: Record<string, unknown> };
    })
  );
}

/**
 * The path of a file as messages show it.
 *
 * @param folder The log folder.
 * @param path A file in it.
 * @returns The path from the folder on.
 */
export function shortPath(folder: string, path: string): string {
  return relative(folder, path);
}

/**
 * The tool says on its error stream what does not fit together, and the rest among its lines. Kafka
 * 4.3 complains of every segment that does not begin at offset 0, its own included: that is passed
 * over.
 */
function findComplaints(stdout: string, stderr: string): string[] {
  const real = stderr
    .replace(/^Non-consecutive offsets in .*\n +-1 is followed by \d+\n(?! )/gm, "")
    // Where a compaction took records out the tool says so, and is right.
    .replace(
      /^Non-consecutive offsets in .*\/compacted-\w+-\d+\/.*\n(?: +\d+ is followed by \d+\n)+/gm,
      "",
    );
  const wrong = /^Found \d+ invalid bytes|isvalid: false|Exception|^Could not|^Error/;
  return [
    ...real.split("\n").filter((line) => line.trim() !== ""),
    ...stdout.split("\n").filter((line) => !line.startsWith("| ") && wrong.test(line)),
  ];
}

function parseDumpedBatch(line: string): Omit<DumpedBatch, "records"> | undefined {
  if (!line.startsWith("baseOffset: ")) return undefined;
  const fields = new Map<string, string>();
  for (const [, name, value] of line.matchAll(/(\w+): (\S+)/g)) fields.set(name ?? "", value ?? "");
  const numberOf = (name: string): number => Number(fields.get(name));
  const timestampType = ["CreateTime", "LogAppendTime"].find((name) => fields.has(name)) ?? "";
  return {
    baseOffset: numberOf("baseOffset"),
    lastOffset: numberOf("lastOffset"),
    count: numberOf("count"),
    baseSequence: numberOf("baseSequence"),
    lastSequence: numberOf("lastSequence"),
    producerId: numberOf("producerId"),
    producerEpoch: numberOf("producerEpoch"),
    partitionLeaderEpoch: numberOf("partitionLeaderEpoch"),
    isTransactional: fields.get("isTransactional") === "true",
    isControl: fields.get("isControl") === "true",
    deleteHorizonMs: fields.get("deleteHorizonMs") ?? "",
    position: numberOf("position"),
    timestampType,
    timestamp: numberOf(timestampType),
    sizeBytes: numberOf("size"),
    codec: fields.get("compresscodec") ?? "",
    crc: numberOf("crc"),
    isValid: fields.get("isvalid") === "true",
  };
}

const recordPattern = new RegExp(
  "^\\| offset: (-?\\d+) (?:CreateTime|LogAppendTime): (-?\\d+) keySize: (-?\\d+) " +
    "valueSize: (-?\\d+) sequence: (-?\\d+) headerKeys: (\\[.*?\\])(?: (.*))?$",
);

function parseDumpedRecord(line: string): DumpedRecord | undefined {
  const parts = recordPattern.exec(line);
  if (parts === null) return undefined;
  return {
    offset: Number(parts[1]),
    timestamp: Number(parts[2]),
    keySize: Number(parts[3]),
    valueSize: Number(parts[4]),
    sequence: Number(parts[5]),
    headerKeys: parts[6] ?? "",
    content: parts[7] ?? "",
  };
}

function compareFields(where: string, actual: object, expected: object): string[] {
  const values = new Map<string, unknown>(Object.entries(actual));
  return Object.entries(expected).flatMap(([name, value]) =>
    Object.is(values.get(name), value)
      ? []
      : [`${where} ${name}: ${String(values.get(name))}, expected ${String(value)}`]
  );
}
