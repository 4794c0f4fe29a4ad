/**
 * Writes `tests/fixtures/kafka_4_1_1/` and `tests/fixtures/kafka_batches.json` anew with a real
 * broker.
 *
 * Run by hand: `npm run build`, then `node dist/tests/interop/make_fixtures.js`.
 */
import { Buffer } from "node:buffer";
import { chmod, cp, mkdir, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import type { ConsumedRecord } from "./kafka_commands.ts";
import { dumpLogSegments } from "./kafka_dump.ts";
import type { DumpedBatch, DumpedFile, DumpedRecord, DumpOptions } from "./kafka_dump.ts";
import { makeKafkaFolder } from "./kafka_folder.ts";
import type { Expected } from "./kafka_folder.ts";
import { findKafka, findProjectFolder, withScratchFolder } from "./project.ts";
import type { Kafka } from "./kafka_tools.ts";

/** One batch of the JSON file: its bytes, and what Kafka reads in them. */
interface GoldenBatch {
  readonly name: string;
  readonly bytes: string;
  readonly batch: Omit<DumpedBatch, "records" | "position">;
  readonly records: readonly GoldenRecord[];
}

/** A record as the dump tool prints it; `headers` where the console consumer read them too. */
interface GoldenRecord extends Omit<DumpedRecord, "content"> {
  readonly headers?: ConsumedRecord["headers"];
  /** The key as text, null if it is null; absent where the tool prints something else. */
  readonly key?: string | null;
  readonly value?: string | null;
  /** What the tool prints of a control record, or a record of one of Kafka's own schemas. */
  readonly content?: string;
}

/** Which batch of which file becomes golden. */
interface Choice {
  readonly name: string;
  readonly file: string;
  readonly decoder?: NonNullable<DumpOptions["decoder"]>;
  readonly isChosen: (batch: DumpedBatch) => boolean;
}

const firstLog = "00000000000000000000.log";
const isFirst = (batch: DumpedBatch): boolean => batch.position === 0;

const choices: readonly Choice[] = [
  ...["none", "gzip", "snappy", "lz4", "zstd"].map((codec) => ({
    name: `headers, null keys and values, ${codec}`,
    file: `codec-${codec}-0/${firstLog}`,
    isChosen: isFirst,
  })),
  { name: "LogAppendTime", file: `append-time-0/${firstLog}`, isChosen: isFirst },
  {
    name: "LogAppendTime, gzip",
    file: `append-time-0/${firstLog}`,
    isChosen: (batch) => batch.codec === "gzip",
  },
  {
    name: "transactional",
    file: `transactions-0/${firstLog}`,
    isChosen: (batch) => batch.isTransactional && !batch.isControl,
  },
  ...["COMMIT", "ABORT"].map((marker) => ({
    name: `control batch, ${marker}`,
    file: `transactions-0/${firstLog}`,
    isChosen: (batch: DumpedBatch) => batch.records[0]?.content.includes(marker) === true,
  })),
  {
    name: "committed offset, a base sequence without a producer id",
    file: `__consumer_offsets-0/${firstLog}`,
    decoder: "offsets",
    isChosen: isFirst,
  },
  {
    name: "control batch, leader change",
    file: `__cluster_metadata-0/${firstLog}`,
    decoder: "metadata",
    isChosen: isFirst,
  },
  {
    name: "metadata of a new topic",
    file: `__cluster_metadata-0/${firstLog}`,
    decoder: "metadata",
    isChosen: (batch) =>
      batch.count > 2 && batch.records[0]?.content.includes("TOPIC_RECORD") === true,
  },
];

/**
 * Makes a copy fit for a repository: a deleted partition's index files, which Kafka leaves at their
 * full size with zeros in them, become empty, and snapshots, which it makes read-only, can be
 * written.
 */
async function trimFolder(folder: string): Promise<void> {
  for (const name of await readdir(folder, { recursive: true })) {
    const path = join(folder, name);
    if (name.includes("-delete") && /\.(time)?index$/.test(name)) await truncate(path, 0);
    if (name.endsWith(".checkpoint")) await chmod(path, 0o644);
  }
}

async function makeGoldenBatches(
  kafka: Kafka,
  folder: string,
  expected: Expected,
): Promise<GoldenBatch[]> {
  const golden: GoldenBatch[] = [];
  for (const choice of choices) {
    const path = join(folder, choice.file);
    const options = choice.decoder === undefined ? {} : { decoder: choice.decoder };
    const dump = await dumpLogSegments(kafka, [path], options);
    const found = findBatch(dump.files, choice);
    const { records, position, ...batch } = found;
    const file = await readFile(path);
    const bytes = file.subarray(position, position + batch.sizeBytes);
    const consumed = expected.consumed.get(choice.file.replace(/-\d+\/.*$/, "")) ?? [];
    golden.push({
      name: choice.name,
      bytes: Buffer.from(bytes).toString("hex"),
      batch,
      records: records.map((record) => toGoldenRecord(record, choice, consumed)),
    });
  }
  return golden;
}

function findBatch(files: readonly DumpedFile[], choice: Choice): DumpedBatch {
  const found = files.flatMap((file) => file.batches).find(choice.isChosen);
  if (found === undefined) throw new Error(`Cannot find a batch for "${choice.name}"`);
  return found;
}

function toGoldenRecord(
  record: DumpedRecord,
  choice: Choice,
  consumed: readonly ConsumedRecord[],
): GoldenRecord {
  const { content, ...fields } = record;
  const headers = consumed.find(({ offset }) => offset === record.offset)?.headers;
  const golden: GoldenRecord = headers === undefined ? fields : { ...fields, headers };
  if (choice.decoder !== undefined || choice.name.startsWith("control")) {
    return { ...golden, content };
  }
  const parts = /^(?:key: (.*?))?(?:(?:^| )payload: (.*))?$/.exec(content);
  return {
    ...golden,
    key: record.keySize < 0 ? null : parts?.[1] ?? "",
    value: record.valueSize < 0 ? null : parts?.[2] ?? "",
  };
}

/** What a reader must find in the folder, as far as a small file can hold it. */
function summaryOf(expected: Expected): object {
  const topics = expected.topics.map((topic) => ({
    ...topic,
    partitions: topic.partitions.map(({ batches, ...partition }) => ({
      ...partition,
      batchCount: batches.length,
      recordCount: batches.reduce((count, batch) => count + batch.count, 0),
    })),
  }));
  return { clusterId: expected.clusterId, topics, deletedTopics: expected.deletedTopics };
}

async function main(): Promise<void> {
  const kafka = await findKafka();
  if (typeof kafka === "string") throw new Error(`Cannot make fixtures: ${kafka}`);
  const fixtures = join(findProjectFolder(), "tests", "fixtures");
  await withScratchFolder(async (scratch) => {
    const kinds = {
      "static_4_0": { isSmall: true, releaseVersion: "4.0" },
      "standalone_4_1": { isSmall: true, isStandalone: true },
    };
    for (const [name, options] of Object.entries(kinds)) {
      const source = join(scratch, name);
      const target = join(fixtures, "kafka_4_1_1", name);
      const expected = await makeKafkaFolder(kafka, source, options);
      await rm(target, { recursive: true, force: true });
      await mkdir(target, { recursive: true });
      await cp(source, target, { recursive: true });
      await trimFolder(target);
      const contents = `${JSON.stringify(summaryOf(expected), null, 2)}\n`;
      await writeFile(join(fixtures, "kafka_4_1_1", `${name}.json`), contents);
      if (name !== "static_4_0") continue;
      const golden = await makeGoldenBatches(kafka, source, expected);
      const path = join(fixtures, "kafka_batches.json");
      await writeFile(path, `${JSON.stringify(golden, null, 2)}\n`);
    }
  });
}

await main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
