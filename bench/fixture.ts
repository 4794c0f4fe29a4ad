/**
 * What the benchmarks share: records, folders, and the bare framed file that ottla is held against.
 */

import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A record of bytes. */
export interface BenchRecord {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/**
 * A file of length-prefixed keys and values, without checksum or index: the least that could be
 * written.
 */
export interface FramedFile {
  readonly append: (records: readonly BenchRecord[]) => number;
  readonly sync: () => void;
  readonly close: () => void;
}

const keyBytes = 12;

/**
 * Records with keys of 12 bytes.
 *
 * @param count How many.
 * @param valueBytes How long each value is.
 * @returns The records.
 */
export function benchRecords(count: number, valueBytes: number): BenchRecord[] {
  const encoder = new TextEncoder();
  return Array.from({ length: count }, (_, index) => ({
    key: encoder.encode(String(index * 7919).padStart(keyBytes, "0")),
    value: new Uint8Array(valueBytes).fill(index),
  }));
}

/** A new folder for one benchmark. */
export function benchFolder(name: string): string {
  return fs.mkdtempSync(join(tmpdir(), `ottla-bench-${name}-`));
}

/** Removes a folder with all that is in it. */
export function removeFolder(folder: string): void {
  fs.rmSync(folder, { recursive: true, force: true });
}

/**
 * Makes a framed file.
 *
 * @param path Its path; it must not exist.
 * @param bufferBytes The most that one batch may take.
 * @returns The file.
 */
export function framedFile(path: string, bufferBytes: number): FramedFile {
  const file = fs.openSync(path, "wx+");
  const buffer = new Uint8Array(bufferBytes);
  const view = new DataView(buffer.buffer);
  let position = 0;
  return {
    append(records) {
      let at = 0;
      for (const { key, value } of records) {
        view.setUint32(at, key.length);
        buffer.set(key, at + 4);
        at += 4 + key.length;
        view.setUint32(at, value.length);
        buffer.set(value, at + 4);
        at += 4 + value.length;
      }
      fs.writeSync(file, buffer, 0, at, position);
      position += at;
      return at;
    },
    sync: () => fs.fdatasyncSync(file),
    close() {
      fs.closeSync(file);
      fs.rmSync(path);
    },
  };
}
