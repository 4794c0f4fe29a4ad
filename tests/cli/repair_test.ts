/** `ottla repair`: what it prints, what it leaves, and the exit codes. */

import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { inFolder, linesOf, runCommand } from "./command_run.ts";

test("damage is taken out and told, in a dry run only told", async () => {
  await inFolder(async (folder) => {
    const path = join(folder, "data");
    await runCommand(["produce", path, "t", "--create", "--batch", "1"], { input: "a\nb\nc\n" });
    assert.deepEqual(await runCommand(["repair", path]), {
      code: 0,
      output: "There is nothing to repair\n",
      errors: "",
    });
    const log = join(path, "t-0", "00000000000000000000.log");
    const bytes = readFileSync(log);
    bytes[65]! ^= 1;
    writeFileSync(log, bytes);
    const planned = await runCommand(["repair", path, "--dry-run"]);
    assert.equal(planned.code, 1);
    assert.deepEqual(readFileSync(log), bytes);
    const lost = "lost: offsets 0 to 0 of t-0";
    const lines = linesOf(planned.output);
    assert.match(
      lines[0]!,
      /^t-0\/0{20}\.log: \d+ damaged bytes are taken out, offsets 0 to 0 are/,
    );
    assert.ok(lines.includes(lost), planned.output);
    assert.equal(lines.at(-1), "Nothing was changed");
    const aside = join(folder, "kept");
    const done = await runCommand(["repair", path, "--aside", aside]);
    assert.equal(done.code, 1);
    assert.deepEqual(linesOf(done.output).slice(-3), [
      "",
      `What was taken out is in ${aside}/1`,
      "A check finds no damage",
    ]);
    assert.ok(existsSync(join(aside, "1", "t-0", "00000000000000000000.log.0")));
    assert.equal((await runCommand(["check", path])).code, 0);
    const { output } = await runCommand(["consume", path, "t", "--from", "earliest"]);
    assert.deepEqual(linesOf(output).map((line) => line.at(-1)), ["b", "c"]);
  });
});

test("the report as JSON, and a folder that is no store", async () => {
  await inFolder(async (folder) => {
    const { code, errors } = await runCommand(["repair", folder]);
    assert.equal(code, 1);
    assert.match(errors, /has no meta\.properties and no metadata log/);
    const path = join(folder, "data");
    await runCommand(["produce", path, "t", "--create"], { input: "a\n" });
    const json = await runCommand(["repair", path, "--json"]);
    assert.deepEqual([json.code, JSON.parse(json.output).steps], [0, []]);
  });
});
