/** `repairStore` and `checkStore` where something else has the place of a file, or the disk fails. */

import assert from "node:assert/strict";
import {
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";

import {
  append,
  closeStore,
  createTopic,
  isOttlaError,
  openStore,
  repairStore,
} from "../../mod.ts";
import type { RepairOptions, RepairReport } from "../../mod.ts";
import { diskFileSystem } from "../../src/platform/disk_file_system.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { readFile } from "../../src/platform/files.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { attribute, field } from "../../src/record/batch_layout.ts";
import { writeChecksum } from "../support/batches.ts";
import { resizeFile, writeBytes } from "../support/log_fixture.ts";
import {
  contentOf,
  isNoLock,
  openTestStore,
  recordsIn,
  removeLocks,
  storeFolder,
  withFolder,
} from "../support/store_fixture.ts";
import {
  allProblems,
  at,
  batchesOf,
  check,
  filledStore,
  firstIndex,
  firstLog,
  recordCount,
} from "./check_fixture.ts";

function repair(fs: FileSystem, options: RepairOptions = {}): Promise<RepairReport> {
  return repairStore(storeFolder, { fileSystem: fs, ...options });
}

async function recordCountOf(fs: FileSystem): Promise<number> {
  const store = await openTestStore(fs);
  const records = await recordsIn(store, "orders");
  await closeStore(store);
  return records.length;
}

describe("a folder in the place of a file is found, and moved out of the store", () => {
  const files = [
    "meta.properties",
    "ottla.cleanshutdown",
    "ottla.lock.1",
    "recovery-point-offset-checkpoint",
    "__cluster_metadata-0/quorum-state",
    "__cluster_metadata-0/00000000000000000000.log",
    "orders-0/partition.metadata",
    "orders-0/leader-epoch-checkpoint",
    firstIndex,
  ];
  for (const file of files) {
    test(file, async () => {
      const fs = await filledStore();
      removeLocks(fs);
      if (fs.stat(at(file)) !== undefined) fs.remove(at(file));
      fs.makeFolder(at(file));
      writeBytes(fs, at(`${file}/inside`), Uint8Array.of(1, 2, 3));
      const found = allProblems(await check(fs)).filter(({ severity }) => severity !== "note");
      assert.ok(found.some(({ path, message }) => path === file || message.includes(file)));
      const planned = await repair(fs, { dryRun: true });
      assert.equal(planned.steps[0]!.path, file);
      const report = await repair(fs);
      assert.deepEqual(report.losses, planned.losses);
      assert.equal(report.check!.isClean, true, JSON.stringify(allProblems(report.check!)));
      assert.deepEqual(readFile(fs, `${report.keptIn}/${file}/inside`), Uint8Array.of(1, 2, 3));
      assert.deepEqual((await repair(fs)).steps, []);
      assert.equal(await recordCountOf(fs), recordCount);
    });
  }
});

describe("a file that is far too large is found, and taken out of the store", () => {
  const files = [
    "meta.properties",
    "ottla.cleanshutdown",
    "recovery-point-offset-checkpoint",
    "__cluster_metadata-0/quorum-state",
    "orders-0/partition.metadata",
  ];
  for (const file of files) {
    test(file, async () => {
      const fs = await filledStore();
      resizeFile(fs, at(file), 2 ** 27);
      await openTestStore(fs).then(closeStore, (error) => assert.ok(isOttlaError(error)));
      await check(fs);
      resizeFile(fs, at(file), 2 ** 27);
      const report = await repair(fs);
      assert.equal(report.check!.isClean, true, JSON.stringify(allProblems(report.check!)));
      assert.equal(await recordCountOf(fs), recordCount);
      assert.deepEqual((await repair(fs)).steps, []);
    });
  }
});

test("what is taken out may go to another disk", async () => {
  const fs = await filledStore();
  fs.makeFolder(at("letters/old"));
  writeBytes(fs, at("letters/old/a.txt"), Uint8Array.of(7));
  const rename: FileSystem["rename"] = (source, target) => {
    if (target.startsWith("/other")) throw Object.assign(new Error("EXDEV"), { code: "EXDEV" });
    fs.rename(source, target);
  };
  const report = await repair({ ...fs, rename }, { asideFolder: "/other" });
  assert.equal(report.check!.isClean, true, JSON.stringify(allProblems(report.check!)));
  assert.deepEqual(readFile(fs, "/other/1/letters/old/a.txt"), Uint8Array.of(7));
  assert.equal(fs.stat(at("letters")), undefined);
});

test("of a link to a folder only the link is taken out", () =>
  withFolder(async (root) => {
    const [folder, letters] = [join(root, "store"), join(root, "letters")];
    await closeStore(await openStore(folder));
    mkdirSync(letters);
    writeFileSync(join(letters, "a.txt"), "mine");
    mkdirSync(join(folder, "papers", "old"), { recursive: true });
    for (const path of ["letters", "papers/letters"]) symlinkSync(letters, join(folder, path));
    const rename: FileSystem["rename"] = (source, target) => {
      const isAside = target.startsWith(`${folder}.repair`);
      if (isAside) throw Object.assign(new Error("EXDEV"), { code: "EXDEV" });
      renameSync(source, target);
    };
    const report = await repairStore(folder, { fileSystem: { ...diskFileSystem(), rename } });
    assert.equal(report.check!.isClean, true, JSON.stringify(allProblems(report.check!)));
    for (const path of ["letters", "papers"]) assert.equal(existsSync(join(folder, path)), false);
    for (const path of ["letters", "papers/letters"]) {
      assert.equal(readFileSync(join(report.keptIn!, path, "a.txt"), "utf8"), "mine");
    }
    assert.equal(readFileSync(join(letters, "a.txt"), "utf8"), "mine");
  }));

test("a folder of no topic is set aside, as by an opening that recovers", async () => {
  const fs = await filledStore();
  fs.makeFolder(at("orders-7"));
  writeBytes(fs, at("orders-7/a.txt"), Uint8Array.of(7));
  const { steps, check: after } = await repair(fs);
  assert.deepEqual(steps.map(({ path }) => path), ["orders-7"]);
  assert.equal(after!.isClean, true);
  const aside = fs.list(storeFolder).find(({ name }) => /^orders-7\..*-stray$/.test(name))!.name;
  assert.deepEqual(readFile(fs, at(`${aside}/a.txt`)), Uint8Array.of(7));
  assert.deepEqual((await repair(fs)).steps, []);
});

test("what was written so cannot be mended, and a repair leaves no trace", async () => {
  const fs = await filledStore();
  editFirstBatch(fs, (view) => view.setInt16(field.attributes, 0x400));
  await repair(fs);
  const before = contentOf(fs, storeFolder, isNoLock);
  const { steps, losses, keptIn, check: after } = await repair(fs);
  assert.deepEqual([steps, losses, keptIn], [[], [], undefined]);
  assert.deepEqual(allProblems(after!).map(({ severity, message }) => [severity, message]), [
    ["warning", "The batch has unknown attributes 1024"],
  ]);
  assert.deepEqual(contentOf(fs, storeFolder, isNoLock), before);
});

test("records that are marked as markers are told of as lost", async () => {
  const fs = await filledStore();
  editFirstBatch(fs, (view) => view.setInt16(field.attributes, attribute.control));
  const [problem] = allProblems(await check(fs));
  assert.deepEqual([problem!.severity, problem!.startOffset, problem!.endOffset], ["error", 0, 1]);
  assert.match(problem!.message, /control record at offset 0/);
  const { losses, check: after } = await repair(fs);
  assert.deepEqual(losses, [{ topic: "orders", partition: 0, startOffset: 0, endOffset: 1 }]);
  assert.equal(after!.isClean, true);
});

test("a disk that fails is a storage error, of a check and of a repair", async () => {
  const inner = await filledStore();
  const fail = (): never => {
    throw Object.assign(new Error("EIO: i/o error"), { code: "EIO" });
  };
  const isStorageError = (error: unknown): boolean => isOttlaError(error, "KAFKA_STORAGE_ERROR");
  for (const fs of [{ ...inner, list: fail }, { ...inner, stat: fail }]) {
    await assert.rejects(check(fs), isStorageError);
    await assert.rejects(repair(fs), isStorageError);
  }
  const { problems } = await check({ ...inner, open: fail });
  assert.ok(problems.some(({ path }) => path === "recovery-point-offset-checkpoint"));
  await assert.rejects(repair({ ...inner, open: fail }), isStorageError);
});

test("a dry run says nothing of a store that is open", async () => {
  const fs = memoryFileSystem();
  const store = await openTestStore(fs);
  await createTopic(store, "orders");
  await append(store, "orders", { value: "v" });
  await assert.rejects(
    repair(fs, { dryRun: true }),
    (error) => isOttlaError(error, "STORE_LOCKED"),
  );
  await closeStore(store);
  assert.deepEqual((await repair(fs, { dryRun: true })).steps, []);
});

function editFirstBatch(fs: FileSystem, edit: (view: DataView) => void): void {
  const bytes = readFile(fs, at(firstLog))!.slice(0, batchesOf(fs, firstLog)[0]!.sizeBytes);
  edit(new DataView(bytes.buffer));
  writeBytes(fs, at(firstLog), writeChecksum(bytes), 0);
}
