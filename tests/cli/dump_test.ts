/**
 * `ottla dump` against what Kafka's own tool printed of the files in `tests/fixtures`, kept in the
 * `.golden.txt` files beside this one. Whoever makes the fixtures anew makes these anew too, with
 * `kafka.tools.DumpLogSegments`, the files named in them, and `--print-data-log`, nothing,
 * `--cluster-metadata-decoder`, or `--offsets-decoder`.
 */

import assert from "node:assert/strict";
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { loadCrc32c } from "../../src/bytes/crc32c.ts";
import type { GroupRecord } from "../../src/coordinator/group_records.ts";
import { encodeGroupRecord } from "../../src/coordinator/group_records.ts";
import { buildBatch, someTime } from "../support/batches.ts";
import { metadataRecord, offsetRecord, tombstone } from "../support/group_batches.ts";
import { bytesOfHex } from "../support/hex.ts";
import { inFolder, linesOf, runCommand } from "./command_run.ts";

const fixtures = "tests/fixtures/kafka_4_1_1/static_4_0";
const segment = `${fixtures}/codec-none-0/00000000000000000000.log`;

/** Runs `ottla dump` over the files that a golden file names. */
async function checkGolden(name: string, ...options: readonly string[]): Promise<void> {
  const golden = readFileSync(`tests/cli/${name}.golden.txt`, "utf8");
  const files = linesOf(golden).flatMap((line) => /^Dumping (.+)$/.exec(line)?.[1] ?? []);
  const { code, output, errors } = await runCommand(["dump", ...options, ...files]);
  assert.equal(errors, "");
  assert.equal(code, 0);
  assert.deepEqual(linesOf(output), linesOf(golden));
}

test("records of every codec, markers, indexes and snapshots are printed as Kafka prints them", async () => {
  await checkGolden("kafka_dump", "--print-data-log");
});

test("batches alone are printed as Kafka prints them", async () => {
  await checkGolden("kafka_batches_dump");
});

test("metadata records are printed as Kafka prints them", async () => {
  await checkGolden("kafka_metadata_dump", "--metadata");
  await checkGolden("kafka_metadata_dump", "--cluster-metadata-decoder");
});

test("records of groups are printed as Kafka prints them", async () => {
  await checkGolden("kafka_groups_dump", "--groups");
  await checkGolden("kafka_groups_dump", "--offsets-decoder");
});

test("every kind of a group's records is printed, and what is none is told of", async () => {
  await inFolder(async (folder) => {
    await loadCrc32c();
    const path = join(folder, "00000000000000000000.log");
    const { key, value } = encodeGroupRecord(offsetRecord(2, 42, { version: 1 }));
    const connect = metadataRecord("c", 3);
    const member = { type: "ConsumerGroupMemberMetadata", group: "g", memberId: "m" } as const;
    const records = [
      { key, value },
      { key, value: null },
      encodeGroupRecord({
        ...connect,
        value: {
          ...connect.value,
          protocolType: "connect",
          members: [memberOf("0000 00000000 ffffffff")],
        },
      } as GroupRecord),
      encodeGroupRecord({
        ...connect,
        value: { ...connect.value, members: [memberOf("0007 00000000 ffffffff")] },
      } as GroupRecord),
      { ...encodeGroupRecord(tombstone(member)) },
      { key: bytesOfHex("0011 0001 67"), value: bytesOfHex("0000") },
      { key: key.slice(0, 5), value },
      { key: null, value },
    ];
    writeFileSync(path, buildBatch(records));
    const { code, output, errors } = await runCommand(["dump", "--groups", path]);
    const keyText = '{"type":"1","data":{"group":"g","topic":"t","partition":2}}';
    const contents = linesOf(output).flatMap((line) =>
      /headerKeys: \[\](.*)$/.exec(line)?.[1] ?? []
    );
    assert.equal(
      contents[0],
      ` key: ${keyText} payload: {"version":"1","data":{"offset":42,"metadata":"",` +
        `"commitTimestamp":${someTime},"expireTimestamp":-1}}`,
    );
    assert.equal(contents[1], ` key: ${keyText} payload: <DELETE>`);
    assert.match(
      contents[2]!,
      /"protocolType":"connect".*"subscription":"AAAAAAAA[^"]+","assignment":""/,
    );
    assert.match(contents[3]!, /"protocolType":"consumer".*"subscription":"AAcAAAAA[^"]+",/);
    const memberText = '{"type":"5","data":{"groupId":"g","memberId":"m"}}';
    assert.equal(contents[4], ` key: ${memberText} payload: <DELETE>`);
    assert.equal(contents[5], " key: Unknown record type 17 at offset 5, skipping.");
    assert.match(contents[6]!, /^ \(Cannot read the key of a group's record of 5 bytes: .*\)$/);
    assert.match(contents[7]!, /^ \(Cannot read the key of a group's record of 0 bytes: .*\)$/);
    assert.equal(errors, `ottla: Found 2 faults in ${path}\n`);
    assert.equal(code, 1);
    const json = linesOf((await runCommand(["dump", "--groups", "--json", path])).output);
    const lines = json.map((line) => JSON.parse(line) as Record<string, unknown>).slice(1);
    assert.deepEqual(lines[0]!["key"], JSON.parse(keyText));
    assert.deepEqual((lines[0]!["value"] as Record<string, unknown>)["version"], "1");
    assert.equal(lines[1]!["value"], null);
  });
});

/** A member of a classic group, with what it subscribes to. */
function memberOf(subscription: string): object {
  return {
    memberId: "m",
    groupInstanceId: null,
    clientId: "c",
    clientHost: "h",
    rebalanceTimeout: 1,
    sessionTimeout: 1,
    subscription: bytesOfHex(subscription),
    assignment: new Uint8Array(0),
  };
}

test("--deep prints records without their content", async () => {
  const { output } = await runCommand(["dump", "--deep", segment]);
  const records = linesOf(output).filter((line) => line.startsWith("| "));
  assert.equal(records.length, 30);
  assert.ok(records.every((line) => line.endsWith("]")));
});

test("--json prints one object a line with the same facts", async () => {
  const text = linesOf((await runCommand(["dump", "--print-data-log", segment])).output);
  const json = linesOf((await runCommand(["dump", "--print-data-log", "--json", segment])).output)
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  const batches = text.filter((line) => line.startsWith("baseOffset: "));
  assert.deepEqual(
    json.filter(({ type }) => type === "batch").map(({ baseOffset, crc, isValid }) =>
      `${baseOffset} ${crc} ${isValid}`
    ),
    batches.map((line) =>
      line.replace(/^baseOffset: (\d+) .* crc: (\d+) isvalid: (\w+)$/, "$1 $2 $3")
    ),
  );
  const records = json.filter(({ type }) => type === "record");
  assert.equal(records.length, 30);
  assert.deepEqual(
    records.map(({ offset, value }) => [offset, value]),
    text.filter((line) => line.startsWith("| ")).map((line) => [
      Number(/offset: (\d+)/.exec(line)?.[1]),
      / payload: (.*)$/.exec(line)?.[1] ?? null,
    ]),
  );
  assert.ok(json.every(({ path }) => path === segment));
});

test("a checkpoint is printed entry by entry", async () => {
  const path = `${fixtures}/log-start-offset-checkpoint`;
  const { output } = await runCommand(["dump", path]);
  assert.equal(output, `Dumping ${path}\ntopic: shortened partition: 0 offset: 4\n`);
  const json = await runCommand(["dump", "--json", path]);
  const entry = { type: "offset-checkpoint", path, topic: "shortened", partition: 0, offset: 4 };
  assert.deepEqual(JSON.parse(json.output), entry);
});

test("damage is told of, what follows is printed, and the exit code is 1", async () => {
  await inFolder(async (folder) => {
    const bytes = readFileSync(segment);
    const damaged = join(folder, "00000000000000000000.log");
    const other = join(folder, "other.log");
    copyFileSync(segment, other);
    // The length of the first batch becomes senseless, a bit of the second one's records flips.
    bytes.writeInt32BE(-5, 8);
    writeFileSync(damaged, bytes);
    const { code, output, errors } = await runCommand(["dump", damaged, other]);
    assert.equal(code, 1);
    assert.match(output, /^Found 421 invalid bytes at position 0 of 0{20}\.log$/m);
    assert.match(output, /^baseOffset: 10 .* isvalid: true$/m);
    assert.match(output, new RegExp(`^Dumping ${other.replaceAll("\\", "\\\\")}$`, "m"));
    assert.equal(errors, `ottla: Found 1 fault in ${damaged}\n`);
  });
});

test("a flipped bit shows as an invalid batch", async () => {
  await inFolder(async (folder) => {
    const bytes = readFileSync(segment);
    bytes[100]! ^= 1;
    const damaged = join(folder, "00000000000000000000.log");
    writeFileSync(damaged, bytes);
    const { code, output } = await runCommand(["dump", damaged]);
    assert.equal(code, 1);
    assert.match(output, /^baseOffset: 0 .* isvalid: false\nbaseOffset: 10 .* isvalid: true$/m);
  });
});

test("bytes behind the last batch are counted", async () => {
  await inFolder(async (folder) => {
    const torn = join(folder, "00000000000000000000.log");
    writeFileSync(torn, readFileSync(segment).subarray(0, -7));
    const { code, output } = await runCommand(["dump", torn]);
    assert.equal(code, 1);
    assert.match(output, /\nFound 2234 invalid bytes at the end of 0{20}\.log\n$/);
  });
});

test("--max-bytes looks at the beginning only, and a batch that it cuts is no damage", async () => {
  const { code, output } = await runCommand(["dump", "--max-bytes", "500", segment]);
  assert.equal(code, 0);
  assert.equal(linesOf(output).filter((line) => line.startsWith("baseOffset")).length, 1);
});

test("a file that cannot be dumped does not keep the others from being", async () => {
  const { code, output, errors } = await runCommand(["dump", "no_such.log", "README.md", segment]);
  assert.equal(code, 1);
  assert.match(output, /^Dumping .*codec-none-0/);
  assert.equal(linesOf(errors).length, 2);
  assert.match(
    errors,
    /^ottla: Cannot dump no_such\.log: .*\nottla: Cannot dump README\.md: .*\n$/,
  );
});

test("no file, an unknown option and a senseless number are wrong usage", async () => {
  const wrong = [
    [],
    ["--deeper", "a.log"],
    ["--max-bytes", "many", "a.log"],
    ["--metadata", "--groups", "a.log"],
  ];
  for (const args of wrong) {
    const { code, output, errors } = await runCommand(["dump", ...args]);
    assert.equal(code, 2);
    assert.equal(output, "");
    assert.match(errors, /^ottla: [^\n]+; try ottla dump --help\n$/);
  }
});
