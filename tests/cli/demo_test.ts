/**
 * The demo as a whole: on the flights, on files of each form, on a damaged disk, and on what it
 * cannot run with.
 */

import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { closeStore, describeTopic, isOttlaError, listTopics, openStore, read } from "../../mod.ts";
import { isUsageError } from "../../src/cli/command.ts";
import { demoCommand } from "../../src/cli/demo.ts";
import type { CliIo } from "../../src/cli/io.ts";

const linesMax = 60;
const flightCount = 20_000;
const decoder = new TextDecoder();

describe("ottla demo", () => {
  it("runs on the flights and leaves a store with them", async () => {
    await inFolder(async (folder) => {
      const store = join(folder, "store");
      const { code, output, errors } = await runDemo(["--folder", store]);
      assert.equal(code, 0, output);
      assert.match(output, /All 12 verifications held\./);
      assert.match(output, /20,000 events, 2001-01-01 to 2001-03-31,/);
      assert.match(output, /220 keys \(origin\)/);
      assert.ok(output.split("\n").length <= linesMax, "the output fits on a screen");
      const plainLines = output.split("\n").filter((line) => !line.includes(folder));
      assert.deepEqual(plainLines.filter((line) => line.length > 80), []);
      assert.doesNotMatch(output, /✗|NaN|undefined|Infinity/);
      assert.ok(!output.includes("\u001b"), "no colours where there is no terminal");
      assert.match(errors, / 25 % {2}5,\d{3} events\n.* 100 % {2}20,000 events\n$/s);
      await verifyFlights(store);
    });
  });

  it("runs on JSON lines with the fields it is told", async () => {
    await inFolder(async (folder) => {
      const lines = Array.from({ length: 3000 }, (_, index) =>
        JSON.stringify({
          id: `e${index}`,
          at: 1_000_000_000 + index * 3600,
          user: `u${index % 17}`,
          text: "ä€😀",
        }));
      const file = join(folder, "my events.v2.jsonl");
      writeFileSync(file, lines.join("\r\n"));
      const store = join(folder, "store");
      const args = [file, "--key-field", "user", "--time-field", "at", "--folder", store];
      const { code, output } = await runDemo(args);
      assert.equal(code, 0, output);
      assert.match(output, /17 keys \(user\)/);
      assert.match(output, /2001-09-09 to 2002-01-12/);
      const found = await storedValues(store, "my-events");
      assert.ok(found.length > 0 && found.length < lines.length, "retention has removed some");
      const wanted = lines.filter((line) => found.includes(line));
      assert.deepEqual([...found].sort(), [...wanted].sort());
      assert.equal(found.includes(lines.at(-1)!), true);
    });
  });

  it("removes segments by size where events bear no time", async () => {
    await inFolder(async (folder) => {
      const file = join(folder, "access.log");
      const line = (index: number): string => `host${index % 40} ${"x".repeat(2000)} ${index}`;
      writeFileSync(file, Array.from({ length: 5000 }, (_, index) => line(index)).join("\n"));
      const { code, output } = await runDemo([file, "--memory"]);
      assert.equal(code, 0, output);
      assert.match(
        output,
        /5,000 events without times of their own became records of topic access/,
      );
      assert.match(output, /40 keys \(first word\)/);
      assert.match(
        output,
        /keep \d\.\d MB a partition \(retention\.bytes\): 10 MB in \d+ segments, then \d/,
      );
      assert.match(output, /some older records stay/);
      assert.doesNotMatch(output, /on disk|fsync|look at them/);
    });
  });

  it("runs on a JSON array of anything", async () => {
    await inFolder(async (folder) => {
      const file = join(folder, "..array..json");
      const events = [{ a: 1, when: "2020-05-01" }, null, 7, "text", [1], { a: 2 }, { when: "x" }];
      writeFileSync(file, `\ufeff ${JSON.stringify(events)}`);
      const { code, output } = await runDemo([file, "--memory"]);
      assert.equal(code, 0, output);
      assert.match(output, /7 events, 2020-05-01 to .*, 6 of them without a time/);
      assert.match(output, /2 keys \(a, 5 events have none\)/);
    });
  });

  it("runs on a single line", async () => {
    await inFolder(async (folder) => {
      const file = join(folder, "one.txt");
      writeFileSync(file, "2024-02-30 only\n\n\n");
      const { code, output } = await runDemo([file]);
      assert.equal(code, 0, output);
      const store = storeIn(output)!;
      assert.match(store, /ottla-demo-/);
      assert.ok(output.includes(`consume ${store} one\n`));
      assert.deepEqual(await storedValues(store, "one"), ["2024-02-30 only"]);
      rmSync(store, { recursive: true });
      assert.match(output, /none is wholly over the limit/);
    });
  });

  it("says what differs and fails when a byte on disk changes", async () => {
    await inFolder(async (folder) => {
      const store = join(folder, "store");
      const damage = (text: string): void => {
        if (!text.includes("Stream\n")) return;
        const path = join(store, "flights-1", "00000000000000000000.log");
        const bytes = readFileSync(path);
        bytes[bytes.length - 1]! ^= 1;
        writeFileSync(path, bytes);
      };
      const { code, output } = await runDemo(["--folder", store], damage);
      assert.equal(code, 1, output);
      assert.match(output, /✗ \d+ batches arrived.*\n +expected 0 damaged batches, found 1\n/);
      assert.match(output, /✗ [\d,]+ records decoded there/);
      assert.match(output, /2 of 12 failed:\n/);
    });
  });

  it("refuses what it cannot run with, and leaves nothing behind", async () => {
    await inFolder(async (folder) => {
      const empty = join(folder, "empty.txt");
      const lines = join(folder, "lines.jsonl");
      writeFileSync(empty, "\n\r\n");
      writeFileSync(lines, '{"a":"x","b":1}\n');
      const refused: [string[], RegExp][] = [
        [[join(folder, "missing")], /there is no file .*missing/],
        [[folder], /is no file/],
        [[empty], /empty\.txt has no events/],
        [[lines, "--key-field", "c"], /"c" .* the first one has the fields a, b/],
        [[lines, "--time-field", "c"], /the first one has the fields a, b/],
        [[lines, "--color"], /--color/],
        [[lines, lines], /one argument too many/],
      ];
      for (const [args, message] of refused) {
        let output = "";
        await assert.rejects(runDemo(args, (text) => output += text), (error: Error) => {
          assert.match(error.message, message);
          return isUsageError(error);
        });
        const store = storeIn(output);
        assert.equal(store !== undefined && existsSync(store), false);
      }
    });
  });

  it("leaves a topic alone that is there already", async () => {
    await inFolder(async (folder) => {
      const file = join(folder, "a.txt");
      writeFileSync(file, "x 1\ny 2\n");
      const store = join(folder, "store");
      assert.equal((await runDemo([file, "--folder", store])).code, 0);
      await assert.rejects(
        runDemo([file, "--folder", store]),
        (error) => isOttlaError(error, "TOPIC_ALREADY_EXISTS"),
      );
      assert.deepEqual(await storedValues(store, "a").then((values) => values.sort()), [
        "x 1",
        "y 2",
      ]);
      assert.equal((await runDemo([file, "--folder", store, "--topic", "b"])).code, 0);
    });
  });

  it("stops when it is told to", async () => {
    const controller = new AbortController();
    const stop = (text: string): void => {
      if (text.includes("Read\n")) controller.abort();
    };
    await assert.rejects(runDemo(["--memory"], stop, controller.signal), { name: "AbortError" });
  });
});

async function runDemo(
  args: readonly string[],
  onOutput: (text: string) => void = () => {},
  signal: AbortSignal = new AbortController().signal,
): Promise<{ code: number; output: string; errors: string }> {
  let output = "";
  let errors = "";
  const io: CliIo = {
    stdout: {
      write(text) {
        output += text;
        onOutput(text);
      },
    },
    stderr: { write: (text) => void (errors += text) },
    stdin: (async function* () {})(),
    env: {},
    isTerminal: false,
    columns: 80,
    signal,
  };
  const code = await demoCommand(args, io);
  return { code, output, errors };
}

async function inFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "ottla-test-"));
  try {
    await run(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The folder that the demo says it writes to. */
function storeIn(output: string): string | undefined {
  return /^ +store +(\S+)$/m.exec(output)?.[1];
}

async function storedValues(folder: string, topic: string): Promise<string[]> {
  const store = await openStore(folder, { create: false });
  try {
    const values: string[] = [];
    for await (const { value } of read(store, topic)) values.push(decoder.decode(value!));
    return values;
  } finally {
    await closeStore(store);
  }
}

async function verifyFlights(folder: string): Promise<void> {
  assert.ok(existsSync(join(folder, "meta.properties")));
  const store = await openStore(folder, { create: false });
  try {
    assert.deepEqual(listTopics(store), ["demo-positions", "flights"]);
    const { partitions, config } = describeTopic(store, "flights");
    assert.equal(partitions.length, 4);
    assert.equal(partitions.reduce((sum, { endOffset }) => sum + endOffset, 0), flightCount);
    assert.ok(partitions.every(({ startOffset }) => startOffset > 0), "retention was applied");
    assert.equal(config.retentionMs, -1);
    for await (const { key, value, timestamp } of read(store, "flights")) {
      const flight = JSON.parse(decoder.decode(value!)) as { date: string; origin: string };
      assert.equal(decoder.decode(key!), flight.origin);
      const time = new Date(timestamp).toISOString();
      assert.equal(time.slice(0, 16), flight.date.replaceAll("/", "-").replace(" ", "T"));
    }
  } finally {
    await closeStore(store);
  }
}
