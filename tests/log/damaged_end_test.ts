/**
 * Damage at the end of a log that was closed, where nothing is verified that looks right: what lies
 * before it, and what lies behind a header that lies, is there all the same.
 */

import assert from "node:assert/strict";
import { describe, it, test } from "node:test";

import { abandonLog } from "../../src/log/log.ts";
import { closeLog } from "../../src/log/log_close.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { readFile } from "../../src/platform/files.ts";
import { memoryFileSystem } from "../../src/platform/memory_file_system.ts";
import { batchBuilder, builtBytes } from "../../src/record/batch_builder.ts";
import { field } from "../../src/record/batch_layout.ts";
import {
  appendNumbered,
  appendValues,
  basesOf,
  buildBatch,
  filesOf,
  flipByte,
  numberedBatchBytes,
  openTestLog,
  rangeOf,
  readLog,
  resizeFile,
  segmentPath,
  valuesOf,
  writeBytes,
} from "../support/log_fixture.ts";

/** An index entry for every other batch. */
const config = { indexIntervalBytes: 100 };
const count = 6;
/** The header of a batch is there and a part of its record. */
const tornBytes = 65;

async function closedLog(more: object = {}, riseMs = 1): Promise<FileSystem> {
  const fs = memoryFileSystem();
  const { log } = openTestLog(fs, { config: { ...config, ...more } });
  for (let offset = 0; offset < count; offset++) {
    void appendValues(log, [`v${offset}`], "os", 1_000_000 + offset * riseMs);
  }
  await closeLog(log);
  return fs;
}

function offsetsOf(fs: FileSystem, more: object = {}): number[] {
  const { log } = openTestLog(fs, { config: { ...config, ...more } });
  const { records } = readLog(log);
  abandonLog(log);
  return records.map(({ offset }) => offset);
}

describe("a log that was closed", () => {
  for (const cutBatches of [1, 2, 3]) {
    it(`and is cut within its last batches but ${cutBatches - 1} keeps those before`, async () => {
      // All of one time: the last entry of the time index leads to the first batch.
      const fs = await closedLog({}, 0);
      const kept = count - cutBatches;
      resizeFile(fs, segmentPath(0), kept * numberedBatchBytes + tornBytes);
      const { log, tornBytes: cutBytes } = openTestLog(fs, { config });
      assert.equal(cutBytes, tornBytes);
      assert.deepEqual(valuesOf(log), rangeOf(0, kept).map((offset) => `v${offset}`));
      assert.equal(log.endOffset, kept);
      appendNumbered(log, 1);
      assert.equal(valuesOf(log).at(-1), `v${kept}`);
    });
  }

  it("and has a batch that claims too many offsets gives those behind it", async () => {
    for (let batch = 0; batch < count - 1; batch++) {
      const fs = await closedLog();
      flipByte(fs, segmentPath(0), batch * numberedBatchBytes + field.lastOffsetDelta + 3, 0x07);
      assert.deepEqual(offsetsOf(fs), rangeOf(0, count).filter((offset) => offset !== batch));
    }
  });

  it("and whose last batch has a wrong first offset does not give it for another one", async () => {
    for (const mask of [0x01, 0x02, 0x10, 0x80]) {
      const fs = await closedLog();
      const position = (count - 1) * numberedBatchBytes;
      const before = readFile(fs, segmentPath(0))!.slice();
      before[position + 7]! ^= mask;
      flipByte(fs, segmentPath(0), position + 7, mask);
      assert.deepEqual(offsetsOf(fs), rangeOf(0, count - 1));
      const torn = filesOf(fs).find((name) => name.endsWith(".torn"))!;
      const kept = readFile(fs, `/store/orders-0/${torn}`);
      assert.deepEqual(kept, before.slice(position), "its bytes are kept");
    }
  });

  it("and is compacted may have a last batch behind a gap", async () => {
    const fs = await closedLog({ cleanupPolicy: "compact" });
    const bytes = readFile(fs, segmentPath(0))!;
    const last = (count - 1) * numberedBatchBytes;
    const rest = bytes.slice(last);
    resizeFile(fs, segmentPath(0), last - numberedBatchBytes);
    writeBytes(fs, segmentPath(0), rest);
    assert.deepEqual(offsetsOf(fs, { cleanupPolicy: "compact" }), [0, 1, 2, 3, 5]);
  });
});

describe("a segment with batches of another one", () => {
  it("does not give offsets that belong behind it", async () => {
    const small = { segmentBytes: 2 * numberedBatchBytes };
    for (const damaged of [false, true]) {
      const fs = await closedLog(small);
      const { log } = openTestLog(fs, { config: { ...config, ...small } });
      assert.deepEqual(basesOf(log), [0, 2, 4]);
      abandonLog(log);
      const other = readFile(fs, segmentPath(2))!;
      writeBytes(fs, segmentPath(0), other, 0);
      if (damaged) flipByte(fs, segmentPath(0), 65);
      assert.deepEqual(offsetsOf(fs, small), [2, 3, 4, 5]);
    }
  });

  it("does not give a batch that reaches into the next one", async () => {
    const small = { segmentBytes: 2 * numberedBatchBytes };
    const fs = await closedLog(small);
    const builder = batchBuilder();
    buildBatch(builder, 1, ["v1", "not v2"]);
    writeBytes(fs, segmentPath(0), builtBytes(builder).slice(), numberedBatchBytes);
    assert.deepEqual(offsetsOf(fs, small), [0, 2, 3, 4, 5]);
    const { log } = openTestLog(fs, { config: { ...config, ...small } });
    assert.equal(readLog(log).records[1]!.value, "v2");
  });
});

test("a log that ends before its start is put aside, as the start has no checksum", async () => {
  const fs = await closedLog({ segmentBytes: 4 * numberedBatchBytes });
  const before = [0, 4].map((base) => readFile(fs, segmentPath(base))!);
  const { log } = openTestLog(fs, { config, startOffset: 90 });
  assert.deepEqual([log.startOffset, log.endOffset], [90, 90]);
  const torn = filesOf(fs).filter((name) => name.endsWith(".torn"));
  assert.deepEqual(torn.map((name) => readFile(fs, `/store/orders-0/${name}`)), before);
});
