/** `ottla produce` and `ottla consume`: what goes in comes out, by all of their options. */

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { append, closeStore, createTopic, openStore, read } from "../../mod.ts";
import { assertProperty } from "../support/properties.ts";
import { inFolder, linesOf, piecesOf, runCommand } from "./command_run.ts";

/** Produces lines into a new topic `t`. */
async function produce(path: string, input: string, ...options: string[]): Promise<void> {
  const { code, errors } = await runCommand(["produce", path, "t", "--create", ...options], {
    input,
  });
  assert.equal(code, 0, errors);
}

async function consume(path: string, ...options: string[]): Promise<string[]> {
  const { code, output, errors } = await runCommand(["consume", path, "t", ...options]);
  assert.equal(errors, "");
  assert.equal(code, 0);
  return linesOf(output);
}

test("whatever the pieces of the input, its lines are the records", async () => {
  await inFolder(async (folder) => {
    let run = 0;
    const line = fc.string({ unit: fc.constantFrom("a", "ä", "😀", " ", "\t", "x") });
    const property = fc.asyncProperty(
      fc.array(line, { maxLength: 20 }),
      fc.array(fc.nat(200)),
      async (lines, cuts) => {
        const path = join(folder, `s${run++}`);
        const bytes = new TextEncoder().encode(lines.map((one) => `${one}\n`).join(""));
        const ends = [...cuts.filter((cut) => cut < bytes.length), bytes.length].sort((a, b) =>
          a - b
        );
        const pieces = ends.map((end, index) => bytes.subarray(ends[index - 1] ?? 0, end));
        const input = async function* (): AsyncGenerator<Uint8Array> {
          for (const piece of pieces) {
            await Promise.resolve();
            yield piece;
          }
        };
        const args = ["produce", path, "t", "--create", "--batch", "3", "--ack", "memory"];
        const { code } = await runCommand(args, { input: input() });
        assert.equal(code, 0);
        assert.deepEqual(await consume(path), lines);
      },
    );
    await assertProperty(property, { numRuns: 20 });
  });
});

test("a last line needs no end, and a carriage return before an end is none of it", async () => {
  await inFolder(async (path) => {
    await produce(path, "one\r\n\r\ntwo\rthree\nfour");
    assert.deepEqual(await consume(path), ["one", "", "two\rthree", "four"]);
  });
});

test("keys come from a separator, a field, or are all the same", async () => {
  await inFolder(async (path) => {
    await produce(path, "k1::v1\n::v2\nk3::a::b\n", "--key-separator", "::");
    await produce(path, '{"id":"x"}\n{"id":7}\n{"id":null}\n{"a":1}\n', "--key-field", "id");
    await produce(path, "v\n", "--key", "same");
    await produce(path, "gone:NULL\n", "--key-separator", ":", "--null-marker", "NULL");
    const records = (await consume(path, "--json")).map((line) => JSON.parse(line));
    assert.deepEqual(records.map(({ key, value }) => [key, value]), [
      ["k1", "v1"],
      ["", "v2"],
      ["k3", "a::b"],
      ["x", '{"id":"x"}'],
      ["7", '{"id":7}'],
      [null, '{"id":null}'],
      [null, '{"a":1}'],
      ["same", "v"],
      ["gone", null],
    ]);
  });
});

test("a line without a key where one must be fails with its number; those before it are in", async () => {
  await inFolder(async (path) => {
    const args = ["produce", path, "t", "--create", "--batch", "1", "--key-separator", ":"];
    const { code, output, errors } = await runCommand(args, { input: "a:1\nb:2\nc\nd:4\n" });
    assert.equal(code, 1);
    assert.equal(output, "");
    assert.equal(errors, 'ottla: Cannot produce line 3: it has no key separator ":"\n');
    assert.deepEqual(await consume(path), ["1", "2"]);
    const json = await runCommand(["produce", path, "t", "--key-field", "id"], {
      input: "{}\n[1]\n",
    });
    assert.equal(json.errors, "ottla: Cannot produce line 2: it is no JSON object\n");
  });
});

test("a file is read, and the result says where its lines are", async () => {
  await inFolder(async (folder) => {
    const file = join(folder, "lines.txt");
    const path = join(folder, "store");
    writeFileSync(file, "a\nb\nc\n");
    const args = ["produce", path, "t", file, "--create", "--partitions", "3", "--partition", "2"];
    const first = await runCommand(args);
    assert.equal(first.output, "t-2 offsets 0 to 2\n");
    assert.match(first.errors, /^3 records, 3 bytes in \d+\.\d\d s: [\d,]+ records\/s, .*\/s\n$/);
    const { output } = await runCommand(["produce", path, "t", file, "--partition", "2", "--json"]);
    const { durationMs, ...result } = JSON.parse(output);
    assert.ok(durationMs >= 0);
    assert.deepEqual(result, {
      topic: "t",
      ack: "disk",
      recordCount: 3,
      sizeBytes: 3,
      partitions: [{ partition: 2, baseOffset: 3, lastOffset: 5 }],
    });
    assert.equal((await runCommand(["produce", path, "t", join(folder, "none")])).code, 1);
  });
});

test("without --create there must be a store and the topic", async () => {
  await inFolder(async (path) => {
    assert.equal((await runCommand(["produce", join(path, "none"), "t"])).code, 1);
    await runCommand(["topics", "create", path, "other"]);
    const { code, errors } = await runCommand(["produce", path, "t"], { input: "a\n" });
    assert.equal(code, 1);
    assert.match(errors, /^ottla: Cannot find topic "t"/);
  });
});

test("lines that come slowly are appended without waiting for a full batch", async () => {
  await inFolder(async (path) => {
    await runCommand(["topics", "create", path, "t"]);
    const log = join(path, "t-0", "00000000000000000000.log");
    const input = async function* (): AsyncGenerator<Uint8Array> {
      yield* piecesOf("first\n");
      // Ends only when the first line has reached the file.
      while (readFileSync(log).length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
      yield* piecesOf("second\n");
    };
    const { code } = await runCommand(["produce", path, "t"], { input: input() });
    assert.equal(code, 0);
    assert.deepEqual(await consume(path), ["first", "second"]);
  });
});

test("an abort ends the input; what was read is appended", async () => {
  await inFolder(async (path) => {
    const controller = new AbortController();
    const input = async function* (): AsyncGenerator<Uint8Array> {
      yield* piecesOf("one\ntw");
      controller.abort();
      await new Promise(() => {});
    };
    const options = { input: input(), signal: controller.signal };
    const { code } = await runCommand(["produce", path, "t", "--create"], options);
    assert.equal(code, 0);
    assert.deepEqual(await consume(path), ["one", "tw"]);
  });
});

test("from, to, limit and partition choose records", async () => {
  await inFolder(async (path) => {
    const lines = Array.from({ length: 50 }, (_, index) => `v${index}`);
    await produce(path, lines.join("\n"), "--batch", "7");
    assert.deepEqual(await consume(path, "--from", "10", "--to", "13"), ["v10", "v11", "v12"]);
    assert.deepEqual(await consume(path, "--limit", "2"), ["v0", "v1"]);
    assert.deepEqual(await consume(path, "--limit", "0"), []);
    assert.deepEqual(await consume(path, "--from", "latest"), []);
    assert.deepEqual(await consume(path, "--from", "48"), ["v48", "v49"]);
    assert.deepEqual(await consume(path, "--from", "1000"), []);
    assert.equal((await runCommand(["consume", path, "t", "--partition", "1"])).code, 2);
    await produce(path, "w", "--partitions", "1");
    await runCommand(["topics", "alter", path, "t", "--partitions", "2"]);
    assert.equal((await runCommand(["consume", path, "t", "--from", "3"])).code, 2);
    const chosen = await consume(path, "--from", "50", "--partition", "0");
    assert.deepEqual(chosen, ["w"]);
  });
});

test("times choose records", async () => {
  await inFolder(async (path) => {
    const store = await openStore(path);
    await createTopic(store, "t");
    const noon = Date.UTC(2026, 0, 31, 12);
    for (let hour = 0; hour < 5; hour++) {
      await append(store, "t", { value: `h${hour}`, timestamp: noon - (10 - hour) * 3_600_000 });
    }
    await closeStore(store);
    const from = ["--from", "2026-01-31T03:30:00Z"];
    assert.deepEqual(await consume(path, ...from), ["h2", "h3", "h4"]);
    assert.deepEqual(await consume(path, ...from, "--to", "2026-01-31T05:00:00Z"), ["h2"]);
    assert.deepEqual(await consume(path, "--timestamp", "--limit", "1"), [
      "2026-01-31T02:00:00.000Z\th0",
    ]);
  });
});

test("keys, headers, places and bytes are printed as asked", async () => {
  await inFolder(async (path) => {
    const store = await openStore(path);
    await createTopic(store, "t");
    const headers = [{ key: "h", value: "1" }, { key: "n", value: null }];
    await append(store, "t", { key: "k", value: "v", headers, timestamp: 5 });
    await append(store, "t", { key: null, value: Uint8Array.of(0xff, 0), timestamp: 6 });
    await closeStore(store);
    const options = ["--key", "--headers", "--offset", "--separator", "|"];
    assert.deepEqual(await consume(path, ...options), ["0:0|h=1,n=null|k|v", "0:1||null|\ufffd\0"]);
    assert.deepEqual((await consume(path, "--json")).map((line) => JSON.parse(line)), [
      { topic: "t", partition: 0, offset: 0, timestamp: 5, key: "k", value: "v", headers },
      {
        topic: "t",
        partition: 0,
        offset: 1,
        timestamp: 6,
        key: null,
        valueBase64: "/wA=",
        headers: [],
      },
    ]);
  });
});

test("--follow shows what an open store appends, across segments, and ends at an abort", async () => {
  await inFolder(async (path) => {
    const store = await openStore(path, { topicOverrides: { segmentBytes: 500 } });
    await createTopic(store, "t", { partitions: 2 });
    await append(store, "t", { value: "before", partition: 0 });
    const controller = new AbortController();
    const seen: string[] = [];
    const wanted = 40;
    let appended = 0;
    const { code, output } = await runCommand(["consume", path, "t", "--follow"], {
      signal: controller.signal,
      onOutput: async (text) => {
        seen.push(...linesOf(text));
        if (seen.length > wanted) controller.abort();
        // Each output brings about the next records.
        for (let count = 0; count < 10 && appended < wanted; count++) {
          await append(store, "t", { value: `v${appended}`, partition: appended++ % 2 }, {
            ack: "os",
          });
        }
      },
    });
    assert.equal(code, 0);
    const lines = linesOf(output);
    assert.equal(lines[0], "before");
    const values = Array.from({ length: wanted }, (_, index) => `v${index}`);
    assert.deepEqual(
      lines.filter((line) => Number(line.slice(1)) % 2 === 0),
      values.filter((_, index) => index % 2 === 0),
    );
    assert.deepEqual([...lines].sort(), ["before", ...values].sort());
    await closeStore(store);
  });
});

test("--follow ends with its limit", async () => {
  await inFolder(async (path) => {
    await produce(path, "a\nb\nc\n");
    assert.deepEqual(await consume(path, "--follow", "--limit", "2"), ["a", "b"]);
  });
});

test("a reader who has gone is no error", async () => {
  await inFolder(async (path) => {
    await produce(path, "a\nb\n");
    const { code, errors } = await runCommand(["consume", path, "t"], {
      onOutput: () => Promise.reject(Object.assign(new Error("write EPIPE"), { code: "EPIPE" })),
    });
    assert.deepEqual([code, errors], [0, ""]);
  });
});

test("damage is told of and passed over", async () => {
  await inFolder(async (path) => {
    await produce(path, "a\nb\nc\nd\n", "--batch", "1");
    const log = join(path, "t-0", "00000000000000000000.log");
    const bytes = readFileSync(log);
    const sizeBytes = bytes.readInt32BE(8) + 12;
    bytes[2 * sizeBytes - 1]! ^= 1;
    writeFileSync(log, bytes);
    const { code, output, errors } = await runCommand(["consume", path, "t"]);
    assert.equal(code, 1);
    assert.deepEqual(linesOf(output), ["a", "c", "d"]);
    assert.match(errors, /^ottla: Cannot read offsets 1 to 1: [^\n]+ position \d+\n$/);
    const behind = await runCommand(["consume", path, "t", "--from", "2"]);
    assert.deepEqual([behind.code, linesOf(behind.output)], [0, ["c", "d"]]);
  });
});

test("what was deleted on request is not shown", async () => {
  const kafkaFolder = "tests/fixtures/kafka_4_1_1/static_4_0";
  const { output } = await runCommand(["consume", kafkaFolder, "shortened", "--offset"]);
  const offsets = linesOf(output).map((line) => line.split("\t")[0]);
  assert.deepEqual(offsets, ["0:4", "0:5", "0:6", "0:7", "0:8", "0:9"]);
});

test("consume shows what read reads, of a folder that Kafka wrote", async () => {
  const kafkaFolder = "tests/fixtures/kafka_4_1_1/standalone_4_1";
  const { code, output } = await runCommand(["consume", kafkaFolder, "transactions", "--json"]);
  assert.equal(code, 0);
  const records = linesOf(output).map((line) => JSON.parse(line));
  assert.ok(records.length > 40);
  assert.ok(records.every(({ value }) => /^[A-Z]{20}$/.test(value)), "no markers");
});

test("what the library reads is what was produced", async () => {
  await inFolder(async (path) => {
    await produce(path, "a=1\nb=2\n", "--key-separator", "=", "--ack", "os");
    const store = await openStore(path);
    const found: string[] = [];
    for await (const { key, value } of read(store, "t")) {
      found.push(`${new TextDecoder().decode(key!)}${new TextDecoder().decode(value!)}`);
    }
    await closeStore(store);
    assert.deepEqual(found, ["a1", "b2"]);
  });
});
