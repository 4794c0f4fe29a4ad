/** Damage to what a store in memory holds. */

import { crc32c } from "../../src/bytes/crc32c.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { readFile } from "../../src/platform/files.ts";
import { checksumStart, field, logOverheadBytes } from "../../src/record/batch_layout.ts";
import { storeFolder } from "./store_fixture.ts";

/** Damages the first batch of a partition: its checksum is wrong. */
export function damageFirstBatch(fs: FileSystem, topic: string): void {
  changeFirstBatch(fs, topic, (batch) => batch[65] = batch[65]! ^ 0xff);
}

/** Has the first batch of a partition say that it was compressed in a way that nobody knows. */
export function obscureFirstBatch(fs: FileSystem, topic: string): void {
  changeFirstBatch(fs, topic, (batch, view) => {
    view.setUint16(field.attributes, 7);
    view.setUint32(field.crc, crc32c(batch.subarray(checksumStart)));
  });
}

function changeFirstBatch(
  fs: FileSystem,
  topic: string,
  change: (batch: Uint8Array, view: DataView) => void,
): void {
  const path = `${storeFolder}/${topic}-0/00000000000000000000.log`;
  const bytes = readFile(fs, path)!;
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const batch = bytes.subarray(0, view.getInt32(field.batchLength) + logOverheadBytes);
  change(batch, view);
  const file = fs.open(path, "write");
  fs.write(file, batch, 0);
  fs.close(file);
}
