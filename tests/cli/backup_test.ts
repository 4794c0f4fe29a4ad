/** `ottla backup`. */

import assert from "node:assert/strict";
import { existsSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { append, closeStore, createTopic, openStore } from "../../mod.ts";
import { diskFileSystem } from "../../src/platform/disk_file_system.ts";
import { openedContent } from "../support/backup_fixture.ts";
import { numbered, numberedText } from "../support/store_fixture.ts";
import { inFolder, linesOf, runCommand } from "./command_run.ts";

async function filledStore(folder: string): Promise<void> {
  const store = await openStore(folder, { ack: "os", topicOverrides: { segmentBytes: 1000 } });
  await createTopic(store, "orders");
  for (const record of numbered(0, 50)) await append(store, "orders", record);
  await closeStore(store);
}

test("a copy is made, and told of", () =>
  inFolder(async (root) => {
    const [folder, target] = [join(root, "data"), join(root, "copy")];
    await filledStore(folder);
    const { code, output, errors } = await runCommand(["backup", folder, target]);
    assert.equal(code, 0, errors);
    assert.match(output, /^Copied 1 partition to \S+copy: \S+ kB copied, \S+ kB shared\n$/);
    assert.deepEqual(linesOf(errors).at(-1)?.includes("100 %"), true);
    const { partitions } = await openedContent(diskFileSystem(), target);
    assert.deepEqual(partitions["orders-0"]?.values, numberedText(0, 50));
    assert.equal((await runCommand(["check", folder])).code, 0);
  }));

test("with --copy no file is shared, and --json tells in numbers", () =>
  inFolder(async (root) => {
    const [folder, target] = [join(root, "data"), join(root, "copy")];
    await filledStore(folder);
    const { output } = await runCommand(["backup", "--copy", "--json", folder, target]);
    const report = JSON.parse(output) as Record<string, unknown>;
    assert.deepEqual([report["path"], report["partitions"], report["linkedBytes"]], [target, 1, 0]);
    for (const name of readdirSync(join(target, "orders-0"))) {
      assert.equal(statSync(join(target, "orders-0", name)).nlink, 1, name);
    }
  }));

test("what cannot be copied, and where to, is said in one line", () =>
  inFolder(async (root) => {
    const [folder, target] = [join(root, "data"), join(root, "copy")];
    await filledStore(folder);
    writeFileSync(join(root, "file"), "");
    const failing: [string[], number, RegExp][] = [
      [[folder], 2, /<target> is missing/],
      [[folder, folder], 2, /target must be the path of another folder/],
      [[folder, root], 1, /Cannot back up to \S+: it holds "\w+", wanted a folder that is empty/],
      [[folder, join(root, "file")], 1, /it is a file/],
      [[join(root, "none"), target], 1, /Cannot open \S+none as a store: there is no such folder/],
    ];
    for (const [args, wanted, pattern] of failing) {
      const { code, errors, output } = await runCommand(["backup", ...args]);
      assert.deepEqual([code, output, linesOf(errors).length], [wanted, "", 1], errors);
      assert.match(errors, pattern);
    }
    const store = await openStore(folder);
    const { code, errors } = await runCommand(["backup", folder, target]);
    await closeStore(store);
    assert.equal(code, 1);
    assert.match(errors, /Cannot open/);
    assert.equal(existsSync(target), false);
  }));

test("interrupted, it leaves nothing", () =>
  inFolder(async (root) => {
    const [folder, target] = [join(root, "data"), join(root, "copy")];
    await filledStore(folder);
    const controller = new AbortController();
    const { code } = await runCommand(["backup", folder, target], {
      signal: controller.signal,
      isTerminal: true,
      onErrors: () => controller.abort(),
    });
    assert.equal(code, 1);
    assert.equal(existsSync(target), false);
    assert.equal((await runCommand(["check", folder])).code, 0);
  }));
