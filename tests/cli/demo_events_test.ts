/** How the demo finds the key and the time of events. */

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { isOttlaError } from "../../mod.ts";
import type { DemoEvent, EventFields } from "../../src/cli/demo_events.ts";
import { eventFile, readEvents } from "../../src/cli/demo_events.ts";

const decoder = new TextDecoder();
const someDay = Date.UTC(2024, 0, 15, 10, 20, 30);

describe("events", () => {
  it("text lines may begin with a time, and their key is the word behind it", async () => {
    const found = await eventsOf([
      "2024-01-15T10:20:30Z INFO a",
      "2024-01-15 10:20:30,1239 WARN,b",
      "2024/01/15 12:20:30 +02:00 INFO c",
      "2024-01-15T04:50:30-0530\tINFO d",
      "2024-01-15",
      "2024-01-15-x e",
      "2024-02-30 f",
      "1969-12-31 g",
      "10.0.0.1;h",
      " , ",
    ].join("\n"));
    assert.deepEqual(found.map(({ key, timestamp }) => [key, timestamp]), [
      ["INFO", someDay],
      ["WARN", someDay + 123],
      ["INFO", someDay],
      ["INFO", someDay],
      [null, Date.UTC(2024, 0, 15)],
      ["2024-01-15-x", undefined],
      ["2024-02-30", undefined],
      ["1969-12-31", undefined],
      ["10.0.0.1", undefined],
      [null, undefined],
    ]);
  });

  it("the first JSON line decides which fields are key and time", async () => {
    const found = await eventsOf([
      '{"n":3,"created":"2024-01-15 10:20:30","ok":true,"city":"Oslo","b":"x"}',
      '{"city":7,"created":"soon"}',
      "not JSON",
      '{"created":"2024-01-15T10:20:30.5Z","city":null}',
    ].join("\n"));
    assert.deepEqual(found.map(({ key, timestamp }) => [key, timestamp]), [
      ["Oslo", someDay],
      ["7", undefined],
      [null, undefined],
      [null, someDay + 500],
    ]);
  });

  it("numbers are times where their field's name says so", async () => {
    for (const time of [someDay, someDay / 1000]) {
      const text = JSON.stringify({ size: time, eventTime: time, id: 1 });
      const [found] = await eventsOf(text);
      assert.equal(found?.timestamp, someDay);
      assert.equal(found?.key, String(time));
    }
    const [found] = await eventsOf(`{"size":${someDay}}`);
    assert.equal(found?.timestamp, undefined);
    const fields = { key: undefined, time: "size" };
    const [told] = await eventsOf(`{"size":${someDay}}`, fields);
    assert.equal(told?.timestamp, someDay);
  });

  it("values are the bytes of the lines, wherever pieces of the file end", async () => {
    const lines = Array.from({ length: 3000 }, (_, index) => `${index} ${"€".repeat(index % 211)}`);
    const found = await eventsOf(`${lines.join("\r\n")}\n`);
    assert.deepEqual(found.map(({ value }) => decoder.decode(value)), lines);
    const bytes = new Uint8Array([0xff, 0x20, 0xfe, 0x0a, 0x00]);
    const raw = await eventsOf(bytes);
    assert.deepEqual(raw.map(({ value }) => [...value]), [[0xff, 0x20, 0xfe], [0x00]]);
  });

  it("a line that fits into no batch is refused before all of it is read", async () => {
    const long = "x".repeat(3 * 1024 * 1024);
    await assert.rejects(
      eventsOf(`short\n${long}`),
      (error) => isOttlaError(error, "MESSAGE_TOO_LARGE"),
    );
  });
});

async function eventsOf(
  content: string | Uint8Array,
  fields: EventFields = { key: undefined, time: undefined },
): Promise<DemoEvent[]> {
  const folder = mkdtempSync(join(tmpdir(), "ottla-test-"));
  try {
    const path = join(folder, "events");
    writeFileSync(path, content);
    const events: DemoEvent[] = [];
    let last = 0;
    for await (const { events: some, fraction } of readEvents(eventFile(path, fields))) {
      assert.ok(fraction >= last && fraction <= 1);
      last = fraction;
      events.push(...some);
    }
    assert.equal(last, 1);
    return events;
  } finally {
    rmSync(folder, { recursive: true });
  }
}
