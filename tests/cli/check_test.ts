/** `ottla check`: the report for people and for programs, and the exit codes. */

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { checkStore } from "../../mod.ts";
import { inFolder, linesOf, runCommand } from "./command_run.ts";

const kafkaFolder = "tests/fixtures/kafka_4_1_1/static_4_0";

test("a store without damage is a table, a summary and exit code 0", async () => {
  const { code, output, errors } = await runCommand(["check", kafkaFolder]);
  assert.deepEqual([code, errors], [0, ""]);
  const lines = linesOf(output);
  assert.match(lines[0]!, /^partition +segments +batches +records +size +startOffset +endOffset$/);
  assert.ok(lines.some((line) => /^shortened-0 +1 +1 +10 +498 bytes +4 +10$/.test(line)));
  assert.match(lines.at(-1)!, /^No damage in 20 partitions, \d+ records, [\d.]+ kB$/);
});

test("damage is a line each, counted, and exit code 1", async () => {
  await inFolder(async (path) => {
    const options = { input: "a\nb\nc\n" };
    await runCommand(["produce", path, "t", "--create", "--batch", "1"], options);
    const log = join(path, "t-0", "00000000000000000000.log");
    const bytes = readFileSync(log);
    bytes[65]! ^= 1;
    writeFileSync(log, bytes);
    const { code, output } = await runCommand(["check", path]);
    assert.equal(code, 1);
    const message = "Offsets 0 to 0 cannot be read: the batch there has a wrong checksum";
    assert.ok(
      linesOf(output).includes(
        `error: t-0/00000000000000000000.log at position 0: ${message}`,
      ),
    );
    assert.match(output, /\n1 error and 0 warnings in 2 partitions, \d+ records, .* bytes\n$/);
    const json = await runCommand(["check", path, "--json"]);
    assert.equal(json.code, 1);
    assert.deepEqual(JSON.parse(json.output), await checkStore(path));
  });
});
