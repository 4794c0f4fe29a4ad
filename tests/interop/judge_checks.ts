/**
 * Checks of the judge itself: it accepts what Kafka wrote, and it does not accept everything.
 */
import { cp, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { check } from "./check.ts";
import type { Checks } from "./check.ts";
import { judgeFolder } from "./judge.ts";
import { findProjectFolder } from "./project.ts";
import type { Kafka } from "./kafka_tools.ts";

/** What is done to a copy of Kafka's files, and what the judge must then say. */
const damages = [
  {
    name: "a flipped bit in a batch",
    file: "codec-none-0/00000000000000000000.log",
    damage: (bytes: Uint8Array): Uint8Array =>
      bytes.map((byte, at) => at === 100 ? byte ^ 1 : byte),
    complaint: /isvalid: false|Exception/,
  },
  {
    name: "bytes behind the last batch",
    file: "codec-gzip-0/00000000000000000000.log",
    damage: (bytes: Uint8Array): Uint8Array => Uint8Array.of(...bytes, 0, 0, 0, 0, 0, 0, 0),
    complaint: /invalid bytes/,
  },
  {
    name: "a time index that disagrees with its log",
    file: "segments-0/00000000000000000000.timeindex",
    damage: (bytes: Uint8Array): Uint8Array => bytes.map((byte, at) => at === 7 ? byte ^ 1 : byte),
    complaint: /timestamp mismatch/,
  },
  {
    name: "an offset index that disagrees with its log",
    file: "codec-lz4-0/00000000000000000000.index",
    damage: (): Uint8Array => Uint8Array.of(0, 0, 0, 7, 0, 0, 0, 0),
    complaint: /Mismatches in/,
  },
];

/**
 * Judges the folders that Kafka wrote and that are kept as fixtures, whole and damaged.
 *
 * @param checks Where the outcome is counted.
 * @param kafka Kafka.
 * @param scratch A folder for copies.
 */
export async function checkJudge(checks: Checks, kafka: Kafka, scratch: string): Promise<void> {
  const fixtures = join(findProjectFolder(), "tests", "fixtures", "kafka_4_1_1");
  for (const name of ["static_4_0", "standalone_4_1"]) {
    await check(
      checks,
      `the judge accepts ${name}, which Kafka wrote`,
      () => judgeFolder(kafka, join(fixtures, name)),
    );
  }
  for (const { name, file, damage, complaint } of damages) {
    await check(checks, `the judge complains about ${name}`, async () => {
      const folder = join(scratch, `damaged ${name}`);
      await cp(join(fixtures, "static_4_0"), folder, { recursive: true });
      const path = join(folder, file);
      await writeFile(path, damage(await readFile(path)));
      const complaints = await judgeFolder(kafka, folder);
      return complaints.some((line) => complaint.test(line))
        ? []
        : [`${file}: found ${JSON.stringify(complaints)}, expected ${complaint}`];
    });
  }
}
