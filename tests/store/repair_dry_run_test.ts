/** A dry run of `repairStore` tells what a repair then does, and changes nothing. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { repairStore } from "../../mod.ts";
import type { RepairReport } from "../../mod.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import type { DryRunChange } from "../../src/store/repair_dry_run.ts";
import { dryRunFileSystem } from "../../src/store/repair_dry_run.ts";
import { flipByte, resizeFile, writeBytes } from "../support/log_fixture.ts";
import { contentOf, removeLocks, storeFolder, textOf } from "../support/store_fixture.ts";
import { at, batchesOf, filledStore, firstLog, logNames } from "./check_fixture.ts";

const metadataLog = "__cluster_metadata-0/00000000000000000000.log";

function repair(fs: FileSystem, dryRun: boolean): Promise<RepairReport> {
  const randomBytes = (count: number): Uint8Array => new Uint8Array(count).fill(7);
  return repairStore(storeFolder, { fileSystem: fs, dryRun, randomBytes });
}

function flipMiddle(fs: FileSystem, path: string, batch: number): void {
  const { position, sizeBytes } = batchesOf(fs, path).at(batch)!;
  flipByte(fs, at(path), position + sizeBytes - 3);
}

function removeFolder(fs: FileSystem, folder: string): void {
  for (const { name } of fs.list(at(folder))) fs.remove(at(`${folder}/${name}`));
  fs.removeFolder(at(folder));
}

describe("what a dry run tells is what is done", () => {
  const damages: Record<string, (fs: FileSystem) => void> = {
    "meta.properties is gone": (fs) => fs.remove(at("meta.properties")),
    "the metadata is damaged": (fs) => flipMiddle(fs, metadataLog, 1),
    "the metadata log is gone": (fs) => removeFolder(fs, "__cluster_metadata-0"),
    "a segment is gone": (fs) => fs.remove(at(logNames(fs)[1]!)),
    "a log is cut": (fs) => resizeFile(fs, at(logNames(fs).at(-1)!), 10),
    "all of a partition is gone": (fs) => removeFolder(fs, "orders-0"),
    "a topic id is gone": (fs) => resizeFile(fs, at("orders-0/partition.metadata"), 3),
    "leader epochs are gone": (fs) => resizeFile(fs, at("orders-0/leader-epoch-checkpoint"), 3),
    "a checkpoint is damaged": (fs) => resizeFile(fs, at("recovery-point-offset-checkpoint"), 3),
  };
  for (const [name, damage] of Object.entries(damages)) {
    test(`${name}, and a batch is damaged`, async () => {
      const fs = await filledStore();
      removeLocks(fs);
      flipMiddle(fs, firstLog, 2);
      damage(fs);
      const before = contentOf(fs, "/");
      const planned = await repair(fs, true);
      assert.deepEqual(contentOf(fs, "/"), before);
      const { steps, losses, check } = await repair(fs, false);
      assert.ok(steps.length > 0 && losses.length > 0);
      assert.deepEqual(planned.steps, steps);
      assert.deepEqual(planned.losses, losses);
      assert.equal(check!.isClean, true);
    });
  }
});

test("files are shown as they would be", () => {
  const inner = memoryFileSystem();
  inner.makeFolder("/store/orders-0");
  for (const name of ["a", "b", "c"]) writeBytes(inner, `/store/${name}`, Uint8Array.of(1, 2));
  const changes = new Map<string, DryRunChange>([
    ["/store/b", "gone"],
    ["/store/c", new TextEncoder().encode("changed")],
    ["/store/d", new Uint8Array(0)],
    ["/store/ledger-0", "folder"],
    ["/store/ledger-0/e", Uint8Array.of(5)],
    ["/store/orders-0", "gone"],
  ]);
  const fs = dryRunFileSystem(inner, changes);
  assert.deepEqual(fs.list("/store").sort((a, b) => a.name < b.name ? -1 : 1), [
    { name: "a", isFolder: false },
    { name: "c", isFolder: false },
    { name: "d", isFolder: false },
    { name: "ledger-0", isFolder: true },
  ]);
  assert.deepEqual(fs.list("/store/ledger-0"), [{ name: "e", isFolder: false }]);
  assert.deepEqual(
    ["a", "b", "c", "ledger-0"].map((name) => fs.stat(`/store/${name}`)?.sizeBytes),
    [
      2,
      undefined,
      7,
      0,
    ],
  );
  const [a, c] = [fs.open("/store/a", "read"), fs.open("/store/c", "read")];
  const bytes = new Uint8Array(4);
  assert.deepEqual([fs.sizeOf(a), fs.sizeOf(c), fs.read(c, bytes, 3)], [2, 7, 4]);
  assert.equal(textOf(bytes), "nged");
  assert.equal(fs.read(c, bytes, 6), 1);
  assert.equal(fs.read(a, bytes, 1), 1);
  fs.close(c);
  fs.close(a);
  assert.throws(() => inner.sizeOf(a), { code: "EBADF" });
  assert.throws(() => fs.open("/store/b", "read"), { code: "ENOENT" });
  assert.throws(() => fs.open("/store/ledger-0", "read"), { code: "EISDIR" });
});
