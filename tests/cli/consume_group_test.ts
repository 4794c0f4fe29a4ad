/** `ottla consume --group`: it goes on where the group has stopped, and commits what was written. */

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { append, closeStore, createTopic, openStore } from "../../mod.ts";
import { committedOffsets } from "../../src/client/groups.ts";
import { inFolder, linesOf, runCommand } from "./command_run.ts";

const group = ["--group", "readers"];

/** Appends values, one a batch, to the topic `t`. */
async function produce(path: string, values: readonly string[], partitions = 1): Promise<void> {
  const store = await openStore(path);
  await createTopic(store, "t", { partitions, ifNotExists: true });
  for (const [index, value] of values.entries()) {
    await append(store, "t", { value, partition: index % partitions }, { ack: "os" });
  }
  await closeStore(store);
}

function numbered(start: number, end: number): string[] {
  return Array.from({ length: end - start }, (_, index) => `v${start + index}`);
}

async function consume(path: string, ...options: string[]): Promise<string[]> {
  const { code, output, errors } = await runCommand(["consume", path, "t", ...group, ...options]);
  assert.deepEqual([code, errors], [0, ""]);
  return linesOf(output);
}

/** What the group has committed, by partition. */
async function committed(path: string): Promise<number[]> {
  const store = await openStore(path);
  const offsets = await committedOffsets(store, "readers");
  await closeStore(store);
  return offsets.map(({ offset }) => offset);
}

test("a group goes on where it stopped, to the record", async () => {
  await inFolder(async (path) => {
    await produce(path, numbered(0, 10));
    assert.deepEqual(await consume(path, "--limit", "0"), []);
    assert.deepEqual(await consume(path, "--limit", "3"), ["v0", "v1", "v2"]);
    assert.deepEqual(await committed(path), [3]);
    assert.deepEqual(await consume(path, "--limit", "1", "--follow"), ["v3"]);
    assert.deepEqual(await consume(path), numbered(4, 10));
    assert.deepEqual(await consume(path), []);
    await produce(path, ["v10"]);
    assert.deepEqual(await consume(path, "--from", "latest", "--offset"), ["0:10\tv10"]);
    assert.deepEqual(await committed(path), [11]);
    const other = await runCommand(["consume", path, "t", "--group", "others"]);
    assert.deepEqual(linesOf(other.output), numbered(0, 11));
  });
});

test("all partitions are the group's, and --from is for those without an offset", async () => {
  await inFolder(async (path) => {
    await produce(path, numbered(0, 2500), 3);
    assert.deepEqual((await consume(path)).sort(), numbered(0, 2500).sort());
    assert.deepEqual(await committed(path), [834, 833, 833]);
    const latest = ["consume", path, "t", "--group", "late", "--from", "latest"];
    assert.equal((await runCommand(latest)).output, "");
    await produce(path, ["new"]);
    const second = await runCommand(latest);
    assert.deepEqual(linesOf(second.output), ["new"]);
  });
});

test("records are printed as without a group", async () => {
  await inFolder(async (path) => {
    const store = await openStore(path);
    await createTopic(store, "t");
    const headers = [{ key: "h", value: "1" }, { key: "n", value: null }];
    await append(store, "t", { key: "k", value: "v", headers, timestamp: 5 });
    await append(store, "t", { value: Uint8Array.of(0xff, 0), timestamp: 6 });
    await closeStore(store);
    const kinds = [["--json"], ["--key", "--headers", "--timestamp", "--separator", "|"]];
    for (const [index, options] of kinds.entries()) {
      const outside = await runCommand(["consume", path, "t", ...options]);
      const args = ["consume", path, "t", "--group", `g${index}`, ...options];
      assert.deepEqual(await runCommand(args), outside);
      assert.equal(linesOf(outside.output).length, 2);
    }
  });
});

test("--follow waits for records until it is told to stop, and commits what was printed", async () => {
  await inFolder(async (path) => {
    await produce(path, numbered(0, 3));
    const controller = new AbortController();
    const { code, output, errors } = await runCommand(
      ["consume", path, "t", ...group, "--follow"],
      {
        signal: controller.signal,
        // In the next turn it waits.
        onOutput: () => void setImmediate(() => controller.abort()),
      },
    );
    assert.deepEqual([code, errors], [0, ""]);
    assert.deepEqual(linesOf(output), numbered(0, 3));
    assert.deepEqual(await committed(path), [3]);
  });
});

test("what nobody has read is not committed", async () => {
  await inFolder(async (path) => {
    await produce(path, numbered(0, 3));
    const { code, errors } = await runCommand(["consume", path, "t", ...group], {
      onOutput: () => Promise.reject(Object.assign(new Error("write EPIPE"), { code: "EPIPE" })),
    });
    assert.deepEqual([code, errors], [0, ""]);
    assert.deepEqual(await committed(path), []);
    assert.deepEqual(await consume(path), numbered(0, 3));
  });
});

test("damage is told of and passed over, once", async () => {
  await inFolder(async (path) => {
    await produce(path, numbered(0, 4));
    const log = join(path, "t-0", "00000000000000000000.log");
    const bytes = readFileSync(log);
    const sizeBytes = bytes.readInt32BE(8) + 12;
    bytes[2 * sizeBytes - 1]! ^= 1;
    writeFileSync(log, bytes);
    const { code, output, errors } = await runCommand(["consume", path, "t", ...group]);
    assert.equal(code, 1);
    assert.deepEqual(linesOf(output), ["v0", "v2", "v3"]);
    assert.match(errors, /^ottla: Cannot read offsets? 1[^\n]+\n$/);
    assert.deepEqual(await consume(path), []);
  });
});

test("a store that is open, and a topic that is not there, are errors in one line", async () => {
  await inFolder(async (path) => {
    await produce(path, ["v0"]);
    const missing = await runCommand(["consume", path, "other", ...group]);
    assert.equal(missing.code, 1);
    assert.match(missing.errors, /^ottla: Cannot find topic "other"[^\n]*\n$/);
    const store = await openStore(path);
    const locked = await runCommand(["consume", path, "t", ...group]);
    assert.equal(locked.code, 1);
    assert.match(locked.errors, /^ottla: Cannot open [^\n]+ process \d+[^\n]+\n$/);
    await closeStore(store);
    const nameless = await runCommand(["consume", path, "t", "--group", ""]);
    assert.match(nameless.errors, /^ottla: Cannot use group [^\n]+\n$/);
    assert.equal(nameless.code, 1);
  });
});

test("options that make no sense with a group are wrong usage", async () => {
  await inFolder(async (path) => {
    await produce(path, ["v0"]);
    const wrong = [
      ["--partition", "0"],
      ["--to", "3"],
      ["--to", "2026-01-31"],
      ["--from", "3"],
      ["--from", "2026-01-31"],
    ];
    for (const options of wrong) {
      const { code, output, errors } = await runCommand([
        "consume",
        path,
        "t",
        ...group,
        ...options,
      ]);
      assert.deepEqual([code, output], [2, ""]);
      assert.match(errors, /^ottla: --[^\n]+; try ottla consume --help\n$/);
    }
  });
});
