/** Scanning a log file: where and why a scan ends, and finding the next good batch. */

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { loadCrc32c } from "../../src/bytes/crc32c.ts";
import { batchBytesMax } from "../../src/limits.ts";
import type { FileHandle, FileSystem } from "../../src/platform/file_system.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { field } from "../../src/record/batch_layout.ts";
import { recordsOf } from "../../src/record/record_reader.ts";
import { findNextBatch, scanBatches } from "../../src/segment/batch_scan.ts";
import type { ScanEnd } from "../../src/segment/batch_scan.ts";
import { anyDamage, damaged } from "../support/arbitraries.ts";
import { concat, writeChecksum } from "../support/batches.ts";
import { forEachFileSystem } from "../support/file_systems.ts";
import { assertProperty } from "../support/properties.ts";
import { batchesOfLog, planBatch, planBatches } from "../support/segments.ts";

await loadCrc32c();

const threeBatches = [0, 1, 2].map((baseOffset) => planBatch({ baseOffset }));

function fileOf(bytes: Uint8Array, fs: FileSystem = memoryFileSystem(), path = "/log"): FileHandle {
  const file = fs.open(path, "create");
  fs.write(file, bytes, 0);
  return file;
}

/** Scans bytes as a file in memory. */
function scan(
  bytes: Uint8Array,
  range: { start?: number; end?: number; verify?: boolean } = {},
): { offsets: number[]; positions: number[]; end: ScanEnd } {
  const fs = memoryFileSystem();
  const file = fileOf(bytes, fs);
  const offsets: number[] = [];
  const positions: number[] = [];
  const { start = 0, end = bytes.length, verify = true } = range;
  const ended = scanBatches(fs, file, { start, end, verify }, (batch, position) => {
    offsets.push(batch.baseOffset);
    positions.push(position);
  });
  return { offsets, positions, end: ended };
}

function find(bytes: Uint8Array, start: number, offsetMin?: number, offsetMax?: number): unknown {
  const fs = memoryFileSystem();
  const file = fileOf(bytes, fs);
  const range = { start, end: bytes.length, verify: true };
  return findNextBatch(fs, file, range, offsetMin ?? 0, offsetMax);
}

forEachFileSystem("batches are visited in order, with their positions and source", (fs, folder) => {
  const file = fileOf(concat(...threeBatches), fs, `${folder}/log`);
  const end = fs.sizeOf(file);
  const source = { topic: "orders", partition: 4 };
  const seen: unknown[] = [];
  const scanned = scanBatches(fs, file, { start: 0, end, verify: true, source }, (batch, at) => {
    seen.push([batch.topic, batch.partition, batch.baseOffset, at, recordsOf(batch).length]);
  });
  const size = threeBatches[0]!.length;
  assert.deepEqual(seen, [0, 1, 2].map((index) => ["orders", 4, index, index * size, 1]));
  assert.deepEqual(scanned, { position: end, reason: "end" });
  fs.close(file);
});

test("a range may begin at any batch and end anywhere", () => {
  const log = concat(...threeBatches);
  const size = threeBatches[0]!.length;
  assert.deepEqual(scan(log, { start: size }).offsets, [1, 2]);
  assert.deepEqual(scan(log, { end: 2 * size }).end, { position: 2 * size, reason: "end" });
  assert.deepEqual(scan(log, { end: 2 * size + 3 }).end, {
    position: 2 * size,
    reason: "incomplete",
  });
  assert.deepEqual(scan(log, { start: log.length }).end, { position: log.length, reason: "end" });
  assert.deepEqual(scan(new Uint8Array(0)).end, { position: 0, reason: "end" });
});

test("zeros behind the last batch are no batch", () => {
  const log = concat(...threeBatches);
  for (const count of [1, 2, 4, 5, 6, 16, 17, 61, 4_096]) {
    const { offsets, end } = scan(concat(log, new Uint8Array(count)));
    assert.deepEqual(offsets, [0, 1, 2]);
    assert.deepEqual(end, {
      position: log.length,
      reason: count < 17 ? "incomplete" : "malformed",
    });
  }
});

test("a batch cut short is incomplete, wherever it is cut", () => {
  const log = concat(...threeBatches);
  const lastPosition = threeBatches[0]!.length * 2;
  for (let size = lastPosition + 1; size < log.length; size++) {
    const { offsets, end } = scan(log.subarray(0, size));
    assert.deepEqual(offsets, [0, 1]);
    assert.deepEqual(end, { position: lastPosition, reason: "incomplete" });
  }
});

test("a wrong checksum ends the scan if checksums are verified", () => {
  const log = concat(...threeBatches);
  const position = threeBatches[0]!.length;
  log[position + 70]! ^= 1;
  assert.deepEqual(scan(log).end, { position, reason: "checksum" });
  assert.deepEqual(scan(log, { verify: false }).offsets, [0, 1, 2]);
});

test("the visitor can stop before a batch", () => {
  const fs = memoryFileSystem();
  const log = concat(...threeBatches);
  const range = { start: 0, end: log.length, verify: false };
  const end = scanBatches(fs, fileOf(log, fs), range, (batch) => batch.baseOffset < 2);
  assert.deepEqual(end, { position: threeBatches[0]!.length * 2, reason: "stopped" });
});

test("an error of the visitor comes through as it is", () => {
  const fs = memoryFileSystem();
  const own = new Error("my own");
  const file = fileOf(threeBatches[0]!, fs);
  const range = { start: 0, end: threeBatches[0]!.length, verify: false };
  const run = (): unknown =>
    scanBatches(fs, file, range, () => {
      throw own;
    });
  assert.throws(run, (error) => error === own);
});

test("batches larger than the buffer are seen whole", () => {
  const sizes = [10, 300_000, 20, 700_000, 262_000, 30];
  const log = concat(
    ...sizes.map((valueBytes, baseOffset) => planBatch({ baseOffset, valueBytes })),
  );
  const { offsets, positions, end } = scan(log);
  assert.deepEqual(offsets, [0, 1, 2, 3, 4, 5]);
  assert.deepEqual(positions, batchesOfLog(log).map(({ position }) => position));
  assert.equal(end.reason, "end");
});

test("many batches on both sides of the buffer's end are each seen once", () => {
  const plans = planBatches(4_000);
  const log = concat(...plans.map(planBatch));
  assert.ok(log.length > 2 * 256 * 1024);
  assert.deepEqual(scan(log).offsets, plans.map(({ baseOffset }) => baseOffset));
});

test("a claimed size is never believed beyond the range or the limit", () => {
  const log = concat(...threeBatches);
  const position = threeBatches[0]!.length;
  const withLength = (length: number): Uint8Array => {
    const bytes = log.slice();
    new DataView(bytes.buffer).setInt32(position + field.batchLength, length);
    return bytes;
  };
  assert.deepEqual(scan(withLength(10_000)).end, { position, reason: "incomplete" });
  assert.deepEqual(scan(withLength(2 ** 31 - 1)).end, { position, reason: "malformed" });
  const fs = memoryFileSystem();
  const file = fileOf(withLength(batchBytesMax - 12), fs);
  // The file says it is large enough and is sparse: nothing more than the limit is read.
  fs.truncate(file, 2 ** 31);
  let largest = 0;
  const counting: FileSystem = {
    ...fs,
    read: (handle, target, at) => {
      largest = Math.max(largest, target.length);
      return fs.read(handle, target, at);
    },
  };
  const range = { start: position, end: 2 ** 31, verify: true };
  assert.deepEqual(scanBatches(counting, file, range, () => true), {
    position,
    reason: "checksum",
  });
  assert.equal(largest, batchBytesMax);
});

test("a file that shrinks while it is read ends where it ends now", () => {
  const log = concat(...planBatches(5_000).map(planBatch));
  const found = batchesOfLog(log);
  for (const cut of [0, 1, 17, 300_000, 300_061]) {
    const fs = memoryFileSystem();
    const file = fileOf(log, fs);
    let isCut = false;
    const shrinking: FileSystem = {
      ...fs,
      read: (handle, target, at) => {
        const count = fs.read(handle, target, at);
        if (!isCut) fs.truncate(handle, cut);
        isCut = true;
        return count;
      },
    };
    const positions: number[] = [];
    const range = { start: 0, end: log.length, verify: true };
    const end = scanBatches(shrinking, file, range, (_, position) => {
      positions.push(position);
    });
    assert.equal(end.reason, "incomplete");
    assert.deepEqual(positions, found.slice(0, positions.length).map(({ position }) => position));
    assert.equal(findNextBatch(shrinking, file, { ...range, start: cut + 1 }, 0), undefined);
  }
});

test("the next good batch is found behind anything", () => {
  const log = concat(...threeBatches);
  const size = threeBatches[0]!.length;
  assert.deepEqual(find(log, 0), { position: 0, baseOffset: 0 });
  assert.deepEqual(find(log, 1), { position: size, baseOffset: 1 });
  assert.deepEqual(find(log, size + 1), { position: 2 * size, baseOffset: 2 });
  assert.equal(find(log, 2 * size + 1), undefined);
  const noise = Uint8Array.from({ length: 5_000 }, (_, index) => index % 7 === 0 ? 2 : index * 31);
  assert.deepEqual(find(concat(noise, threeBatches[2]!), 0), { position: 5_000, baseOffset: 2 });
  assert.equal(find(noise, 0), undefined);
  assert.equal(find(new Uint8Array(0), 0), undefined);
});

test("a batch with a wrong checksum or offsets that were there before is passed over", () => {
  const log = concat(...threeBatches);
  const size = threeBatches[0]!.length;
  assert.deepEqual(find(log, 0, 2), { position: 2 * size, baseOffset: 2 });
  assert.equal(find(log, 0, 3), undefined);
  assert.deepEqual(find(log, 0, 0, 0), { position: 0, baseOffset: 0 });
  assert.equal(find(log, 1, 0, 0), undefined, "an offset above what there can be");
  log[size + 65]! ^= 1;
  assert.deepEqual(find(log, 1), { position: 2 * size, baseOffset: 2 });
});

test("a batch over the border of what is read at once is found", () => {
  const part = 1024 * 1024;
  for (const before of [part - 1, part - 16, part - 17, part - 60, part - 61, part - 62, part]) {
    const bytes = concat(new Uint8Array(before), threeBatches[1]!, new Uint8Array(9));
    assert.deepEqual(find(bytes, 0), { position: before, baseOffset: 1 }, `${before}`);
  }
});

test("the bytes of a batch inside of a value are not taken for one that is older", () => {
  const inner = planBatch({ baseOffset: 3 });
  const outer = planBatch({ baseOffset: 20 });
  const carrier = concat(outer, inner, planBatch({ baseOffset: 21 }));
  assert.deepEqual(find(carrier, 1, 21), {
    position: outer.length + inner.length,
    baseOffset: 21,
  });
});

test("headers that claim impossible counts cost no reading", () => {
  const header = planBatch({ baseOffset: 5 }).slice(0, 61);
  new DataView(header.buffer).setInt32(field.recordCount, 7);
  const bytes = concat(...Array.from({ length: 2_000 }, () => header), threeBatches[1]!);
  const fs = memoryFileSystem();
  let readCount = 0;
  const counting: FileSystem = {
    ...fs,
    read: (handle, target, at) => {
      readCount++;
      return fs.read(handle, target, at);
    },
  };
  const range = { start: 0, end: bytes.length, verify: true };
  const next = findNextBatch(counting, fileOf(bytes, fs), range, 0);
  assert.deepEqual(next, { position: 2_000 * 61, baseOffset: 1 });
  assert.equal(readCount, 2);
});

test("damage of any kind hides no good batch behind it", () => {
  const plans = planBatches(12);
  const batches = plans.map(planBatch);
  const damage = fc.tuple(fc.nat({ max: 10 }), anyDamage);
  assertProperty(
    fc.property(damage, ([index, kinds]) => {
      const broken = damaged(batches[index]!, kinds);
      const log = concat(...batches.slice(0, index), broken, ...batches.slice(index + 1));
      const start = batchesOfLog(concat(...batches.slice(0, index + 1))).at(-1)!.position;
      const { offsets, end } = scan(log);
      assert.deepEqual(offsets.slice(0, index), plans.slice(0, index).map((p) => p.baseOffset));
      if (end.reason === "end") return;
      const offsetMin = plans[index + 1]!.baseOffset;
      assert.deepEqual(find(log, start + 1, offsetMin), {
        position: start + broken.length,
        baseOffset: offsetMin,
      });
    }),
    { numRuns: 300 },
  );
});

test("any bytes are scanned without harm", () => {
  const batch = planBatch({ baseOffset: 3 });
  const parts = fc.array(
    fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc.constant(batch),
      anyDamage.map((damage) => damaged(batch, damage)),
      anyDamage.map((damage) => {
        const bytes = damaged(batch, damage, 21);
        return bytes.length > 61 ? writeChecksum(bytes) : bytes;
      }),
    ),
    { maxLength: 5 },
  );
  assertProperty(
    fc.property(parts, fc.nat({ max: 400 }), (all, start) => {
      const bytes = concat(...all);
      const { end, positions } = scan(bytes, { start });
      assert.ok(end.position >= Math.min(start, bytes.length) || start > bytes.length);
      assert.ok(positions.every((position) => position >= start && position < bytes.length));
      const next = find(bytes, start) as { position: number } | undefined;
      assert.ok(next === undefined || next.position >= start);
    }),
    { numRuns: 300 },
  );
});
