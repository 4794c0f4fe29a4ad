/** `checkStore` and damage: what must be found of each kind, and that nothing is changed. */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { CheckProblem } from "../../mod.ts";
import { readFile } from "../../src/platform/files.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { batchHeaderBytes, field } from "../../src/record/batch_layout.ts";
import type { BatchView } from "../../src/record/batch_view.ts";
import { writeChecksum } from "../support/batches.ts";
import { flipByte, resizeFile, writeBytes } from "../support/log_fixture.ts";
import { contentOf } from "../support/store_fixture.ts";
import {
  allProblems,
  at,
  batchesOf,
  check,
  filledStore,
  firstIndex,
  firstLog,
  logNames,
  recordCount,
  replace,
} from "./check_fixture.ts";

/** A damage, and what must be found. */
interface DamageCase {
  readonly name: string;
  readonly ending?: "closed" | "crashed";
  readonly damage: (fs: FileSystem) => void;
  readonly severity: CheckProblem["severity"];
  readonly path: RegExp;
  readonly message: RegExp;
  readonly offsets?: readonly [number, number | undefined];
}

const firstTimeIndex = firstLog.replace(".log", ".timeindex");
const text = (value: string): Uint8Array => new TextEncoder().encode(value);

/** Changes a batch and makes its checksum right again. */
function editBatch(
  fs: FileSystem,
  path: string,
  number: number,
  edit: (view: DataView) => void,
): void {
  const { position, sizeBytes } = batchesOf(fs, path)[number]!;
  const bytes = readFile(fs, at(path))!.slice(position, position + sizeBytes);
  edit(new DataView(bytes.buffer));
  writeBytes(fs, at(path), writeChecksum(bytes), position);
}

const cases: readonly DamageCase[] = [
  {
    name: "a flipped bit in a batch",
    damage: (fs) => flipByte(fs, at(firstLog), batchesOf(fs, firstLog)[3]!.position + 80, 1),
    severity: "error",
    path: /000\.log$/,
    message: /^Offsets 3 to 3 cannot be read: the batch there has a wrong checksum$/,
    offsets: [3, 4],
  },
  {
    name: "a senseless length",
    damage: (fs) => flipByte(fs, at(firstLog), batchesOf(fs, firstLog)[5]!.position + 8, 0x80),
    severity: "error",
    path: /000\.log$/,
    message: /^Offsets 5 to 5 cannot be read: there is no batch$/,
    offsets: [5, 6],
  },
  {
    name: "damage at the end of a sealed segment",
    damage: (fs) => flipByte(fs, at(firstLog), fs.stat(at(firstLog))!.sizeBytes - 1),
    severity: "error",
    path: /000\.log$/,
    message: /cannot be read/,
  },
  {
    name: "a segment that is gone",
    damage: (fs) => fs.remove(at(logNames(fs)[1]!)),
    severity: "error",
    path: /\.log$/,
    message: /^Offsets \d+ to \d+ are in no segment$/,
  },
  {
    name: "a batch that is gone",
    damage: (fs) => {
      const bytes = readFile(fs, at(firstLog))!;
      const [, { position, sizeBytes }] = batchesOf(fs, firstLog) as [BatchView, BatchView];
      const rest = [...bytes.slice(0, position), ...bytes.slice(position + sizeBytes)];
      replace(fs, firstLog, Uint8Array.from(rest));
    },
    severity: "error",
    path: /000\.log$/,
    message: /^Offsets 1 to 1 are missing before the batch$/,
    offsets: [1, 2],
  },
  {
    name: "an offset that goes back",
    damage: (fs) => {
      const { position } = batchesOf(fs, firstLog)[4]!;
      const batch = new Uint8Array(8);
      new DataView(batch.buffer).setBigInt64(0, 2n);
      writeBytes(fs, at(firstLog), batch, position);
    },
    severity: "error",
    path: /000\.log$/,
    message: /^Offset 2 comes behind offset 3$/,
  },
  {
    name: "records that are none under a right checksum",
    damage: (fs) => editBatch(fs, firstLog, 2, (view) => view.setUint8(batchHeaderBytes, 0xfe)),
    severity: "error",
    path: /000\.log$/,
    message: /^Cannot read the records of offsets 2 to 2/,
    offsets: [2, 3],
  },
  {
    name: "a wrong largest timestamp",
    damage: (fs) => editBatch(fs, firstLog, 2, (view) => view.setBigInt64(field.maxTimestamp, 5n)),
    severity: "warning",
    path: /000\.log$/,
    message: /^The batch claims the timestamp 5, its largest is 17\d+$/,
  },
  {
    name: "a torn end after a clean shutdown",
    damage: (fs) =>
      resizeFile(fs, at(logNames(fs).at(-1)!), fs.stat(at(logNames(fs).at(-1)!))!.sizeBytes - 3),
    severity: "error",
    path: /\.log$/,
    message: new RegExp(
      `^Offsets from ${recordCount - 1} on cannot be read: the batch there ends behind`,
    ),
    offsets: [recordCount - 1, undefined],
  },
  {
    name: "a torn end after a crash",
    ending: "crashed",
    damage: (fs) => writeBytes(fs, at(logNames(fs).at(-1)!), Uint8Array.of(0, 0, 0, 0, 0, 0, 9)),
    severity: "warning",
    path: /\.log$/,
    message: /^7 bytes behind the last good batch are a torn end/,
  },
  {
    name: "zeros behind the last batch",
    damage: (fs) => resizeFile(fs, at(logNames(fs).at(-1)!), 100_000),
    severity: "note",
    path: /\.log$/,
    message: /^\d+ bytes at its end are preallocated and not used$/,
  },
  {
    name: "an offset index entry that leads nowhere",
    damage: (fs) => flipByte(fs, at(firstIndex), 7, 1),
    severity: "warning",
    path: /000\.index$/,
    message: /^Entry 0 is wrong: no good batch begins at position \d+$/,
  },
  {
    name: "an offset index entry with an offset before its batch",
    damage: (fs) => writeBytes(fs, at(firstIndex), new Uint8Array(4), 0),
    severity: "warning",
    path: /000\.index$/,
    message: /^Entry 0 is wrong: offset 0 is not the last one, \d+, of the batch$/,
  },
  {
    name: "an offset index that does not rise",
    damage: (fs) => writeBytes(fs, at(firstIndex), readFile(fs, at(firstIndex))!.slice(0, 8), 8),
    severity: "warning",
    path: /000\.index$/,
    message: /^Entry 1 does not rise/,
  },
  {
    name: "an offset index that is gone",
    damage: (fs) => fs.remove(at(firstIndex)),
    severity: "warning",
    path: /000\.index$/,
    message: /^The file is missing/,
  },
  {
    name: "an offset index that is no whole number of entries",
    damage: (fs) => writeBytes(fs, at(firstIndex), Uint8Array.of(1)),
    severity: "warning",
    path: /000\.index$/,
    message: /bytes are not whole entries of 8$/,
  },
  {
    name: "an offset index that was cut",
    damage: (fs) => resizeFile(fs, at(firstIndex), 8),
    severity: "note",
    path: /000\.index$/,
    message: /^Entries are up to \d+ bytes of the log apart, index\.interval\.bytes is 200$/,
  },
  {
    name: "a time index entry with another time",
    damage: (fs) => flipByte(fs, at(firstTimeIndex), 7, 1),
    severity: "warning",
    path: /000\.timeindex$/,
    message: /^Entry 0 is wrong: timestamp \d+ at offset \d+ is not the largest so far/,
  },
  {
    name: "a time index without its last entry",
    damage: (fs) => resizeFile(fs, at(firstTimeIndex), 0),
    severity: "warning",
    path: /000\.timeindex$/,
    message: /^It is empty, the largest of segment 0 is \d+$/,
  },
  {
    name: "an index without a log",
    damage: (fs) => writeBytes(fs, at("orders-0/00000000000000000999.index"), new Uint8Array(0)),
    severity: "warning",
    path: /999\.index$/,
    message: /^The index has no log/,
  },
  {
    name: "a folder of another topic id",
    damage: (fs) =>
      replace(
        fs,
        "orders-0/partition.metadata",
        text("version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAABQ"),
      ),
    severity: "error",
    path: /partition\.metadata$/,
    message: /^The folder belongs to topic id AAAAAAAAAAAAAAAAAAAABQ, the metadata says \S{22}$/,
  },
  {
    name: "a folder without a topic id",
    damage: (fs) => fs.remove(at("orders-0/partition.metadata")),
    severity: "warning",
    path: /partition\.metadata$/,
    message: /^The file is missing/,
  },
  {
    name: "a leader epoch checkpoint that is none",
    damage: (fs) => replace(fs, "orders-0/leader-epoch-checkpoint", text("0\n9\n")),
    severity: "warning",
    path: /leader-epoch-checkpoint$/,
    message: /^Cannot read checkpoint/,
  },
  {
    name: "a producer snapshot that is none",
    damage: (fs) =>
      writeBytes(fs, at("orders-0/00000000000000000010.snapshot"), new Uint8Array(20)),
    severity: "warning",
    path: /\.snapshot$/,
    message: /^Cannot read the producer snapshot .*: version 0, wanted 1$/,
  },
  {
    name: "what a compaction left",
    damage: (fs) => writeBytes(fs, at("orders-0/00000000000000000000.log.swap"), new Uint8Array(1)),
    severity: "warning",
    path: /\.swap$/,
    message: /^A compaction was broken off/,
  },
  {
    name: "a file that was being written",
    damage: (fs) => writeBytes(fs, at("recovery-point-offset-checkpoint.tmp"), new Uint8Array(1)),
    severity: "note",
    path: /\.tmp$/,
    message: /^A file that was being written/,
  },
  {
    name: "a file of somebody else",
    damage: (fs) => writeBytes(fs, at("orders-0/notes.txt"), new Uint8Array(1)),
    severity: "note",
    path: /notes\.txt$/,
    message: /^The file is none of a partition$/,
  },
  {
    name: "a folder of somebody else",
    damage: (fs) => fs.makeFolder(at("pictures")),
    severity: "error",
    path: /^pictures$/,
    message: /^Cannot read folder "pictures"/,
  },
  {
    name: "a partition of no topic",
    damage: (fs) => fs.makeFolder(at("nobody-0")),
    severity: "warning",
    path: /^nobody-0$/,
    message: /^The partition belongs to no topic/,
  },
  {
    name: "a partition whose folder is gone",
    damage: (fs) => {
      for (const { name } of fs.list(at("orders-0"))) fs.remove(at(`orders-0/${name}`));
      fs.removeFolder(at("orders-0"));
    },
    severity: "error",
    path: /^orders-0$/,
    message: /^The folder is missing; its log had reached offset \d+$/,
    offsets: [0, recordCount],
  },
  {
    name: "a checkpoint that is none",
    damage: (fs) => replace(fs, "log-start-offset-checkpoint", text("none")),
    severity: "warning",
    path: /^log-start-offset-checkpoint$/,
    message: /^Cannot read checkpoint/,
  },
  {
    name: "a recovery point behind the end",
    damage: (fs) => replace(fs, "recovery-point-offset-checkpoint", text("0\n1\norders 0 61\n")),
    severity: "error",
    path: /^recovery-point-offset-checkpoint$/,
    message: /^It says offset 61 of orders-0, which ends at 60$/,
  },
  {
    name: "a meta.properties that is none",
    damage: (fs) => replace(fs, "meta.properties", text("version=1\n")),
    severity: "error",
    path: /^meta\.properties$/,
    message: /meta\.properties: it has no cluster\.id$/,
  },
  {
    name: "a damaged metadata log",
    damage: (fs) => flipByte(fs, at("__cluster_metadata-0/00000000000000000000.log"), 70, 1),
    severity: "error",
    path: /^__cluster_metadata-0\/0+\.log$/,
    message: /cannot be read: the batch there has a wrong checksum$/,
  },
];

for (const { name, ending, damage, severity, path, message, offsets } of cases) {
  test(`found: ${name}`, async () => {
    const fs = await filledStore(ending);
    damage(fs);
    const before = contentOf(fs);
    const report = await check(fs);
    const found = allProblems(report);
    const problem = found.find((one) => path.test(one.path) && message.test(one.message));
    assert.ok(problem !== undefined, JSON.stringify(found, null, 2));
    assert.equal(problem.severity, severity);
    assert.equal(report.isClean, severity === "note", JSON.stringify(found));
    if (offsets !== undefined) {
      assert.deepEqual([problem.startOffset, problem.endOffset], offsets);
    }
    assert.deepEqual(contentOf(fs), before, "nothing was changed");
  });
}

test("a leftover of an earlier topic of the name is told of once, and is no error", async () => {
  const fs = await filledStore();
  fs.makeFolder(at("orders-7"));
  replace(fs, "orders-7/partition.metadata", text("version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAABQ"));
  const found = allProblems(await check(fs));
  assert.deepEqual(found.map(({ severity, path }) => [severity, path]), [["warning", "orders-7"]]);
});
