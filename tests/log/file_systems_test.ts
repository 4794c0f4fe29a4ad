/**
 * The life of a log on the disk and in memory: levels, rolls, a torn end, retention, ranges, and
 * closing in between.
 */

import assert from "node:assert/strict";

import { abandonLog } from "../../src/log/log.ts";
import { closeLog } from "../../src/log/log_close.ts";
import { findOffsetForTimestamp, pinSlices, unpinSlices } from "../../src/log/log_reader.ts";
import { retireSegments } from "../../src/log/retention.ts";
import { sweepRetired } from "../../src/log/retired_segments.ts";
import { joinPath } from "../../src/platform/files.ts";
import { faultyDisk } from "../support/faulty_file_system.ts";
import { forEachFileSystem } from "../support/file_systems.ts";
import {
  appendNumbered,
  appendValues,
  filesOf,
  numberedBatchBytes,
  numberedValues,
  openTestLog,
  resizeFile,
  segmentPath,
  valuesOf,
} from "../support/log_fixture.ts";

const config = { segmentBytes: 10 * numberedBatchBytes, indexIntervalBytes: 150 };

forEachFileSystem("a log through appends, crashes, closings and retention", async (inner, root) => {
  const disk = faultyDisk(inner);
  const { fs } = disk;
  const folder = joinPath(root, "orders-0");
  const { log } = openTestLog(fs, { config, folder });
  for (const ack of ["os", "memory"] as const) appendNumbered(log, 12, ack);
  await appendValues(log, ["v24"], "disk", 1_000_024);
  assert.deepEqual(valuesOf(log), numberedValues(0, 25));
  appendNumbered(log, 2);
  abandonLog(log);

  const last = segmentPath(19, "log", folder);
  resizeFile(fs, last, fs.stat(last)!.sizeBytes - 3);
  const recovered = openTestLog(fs, { config, folder, recoveryPoint: 25 });
  assert.equal(recovered.tornBytes, numberedBatchBytes + 1 - 3);
  assert.deepEqual(valuesOf(recovered.log), numberedValues(0, 26));
  appendNumbered(recovered.log, 10);
  await closeLog(recovered.log);
  assert.equal(disk.handles.size, 0);

  const { log: reopened } = openTestLog(fs, {
    config: { ...config, retentionBytes: config.segmentBytes },
    folder,
  });
  assert.deepEqual(valuesOf(reopened), numberedValues(0, 36));
  assert.equal(findOffsetForTimestamp(reopened, 1_000_030)?.offset, 30);
  const slices = pinSlices(reopened, 0, 5, Infinity);
  assert.equal(retireSegments(reopened, 0), 2);
  sweepRetired(reopened);
  assert.equal(filesOf(fs, folder).filter((name) => name.endsWith(".log")).length, 3);
  unpinSlices(reopened, slices);
  assert.equal(filesOf(fs, folder).filter((name) => name.endsWith(".log")).length, 2);
  assert.deepEqual(valuesOf(reopened), numberedValues(19, 36));
  await closeLog(reopened);
  assert.equal(disk.handles.size, 0);
});
