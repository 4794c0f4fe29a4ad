/**
 * Ranges: the bytes of the files, to sockets and streams of every kind, as fast as they are taken.
 */

import assert from "node:assert/strict";
import { createServer, Socket } from "node:net";
import type { AddressInfo } from "node:net";
import { PassThrough, Writable } from "node:stream";
import { test } from "node:test";

import { append, appendBatch } from "../../src/client/append.ts";
import { closeRange, openRange, sendRange } from "../../src/client/range.ts";
import type { FileRange, RangeOptions } from "../../src/client/range.ts";
import { isOttlaError } from "../../src/errors.ts";
import type { ErrorCode } from "../../src/errors.ts";
import type { FileSystem } from "../../src/platform/file_system.ts";
import { joinPath, readFile } from "../../src/platform/files.ts";
import { batchesIn } from "../../src/record/batch_view.ts";
import { enforceRetention } from "../../src/store/maintenance.ts";
import { closeStore, openStore } from "../../src/store/open_store.ts";
import type { Store } from "../../src/store/store.ts";
import { internalsOf } from "../../src/store/store.ts";
import { createTopic, deleteTopic } from "../../src/store/topics.ts";
import { faultyDisk } from "../support/faulty_file_system.ts";
import { manualClock } from "../support/log_fixture.ts";
import {
  numbered,
  openTestStore,
  storeFolder,
  withFolder,
  withStore,
} from "../support/store_fixture.ts";

function hasCode(code: ErrorCode): (error: unknown) => boolean {
  return (error) => isOttlaError(error, code);
}

/** Takes bytes and keeps them. */
function collector(): { writable: Writable; bytes: () => Uint8Array } {
  const chunks: Uint8Array[] = [];
  const writable = new Writable({
    write(chunk: Uint8Array, _encoding, done) {
      // Kept for longer than the call, as a `PassThrough` does.
      chunks.push(chunk);
      done();
    },
  });
  return { writable, bytes: () => new Uint8Array(Buffer.concat(chunks)) };
}

async function bytesOf(range: FileRange): Promise<Uint8Array> {
  const { writable, bytes } = collector();
  const count = await sendRange(range, writable);
  assert.equal(count, range.sizeBytes);
  assert.equal(bytes().length, count);
  return bytes();
}

/** The log files of a partition, one behind the other. */
function fileBytes(fs: FileSystem): Uint8Array {
  const folder = joinPath(storeFolder, "orders-0");
  const names = fs.list(folder).map(({ name }) => name).filter((name) => name.endsWith(".log"))
    .sort();
  return new Uint8Array(Buffer.concat(names.map((name) => readFile(fs, joinPath(folder, name))!)));
}

function pinCount(store: Store): number {
  const { log } = internalsOf(store).topics.get("orders")!.partitions[0]!;
  return [...log!.segments, ...log!.doomed].reduce((sum, segment) => sum + segment.log.pins, 0);
}

/** Batches of five records over several segments. */
async function fill(store: Store, end = 60): Promise<void> {
  await createTopic(store, "orders");
  for (let start = 0; start < end; start += 5) {
    await appendBatch(store, "orders", numbered(start, start + 5), { ack: "os" });
  }
}

const smallSegments = { topicOverrides: { segmentBytes: 500 } };

test("a whole range is what the files hold, byte for byte, over several segments", async () => {
  await withStore(async (store, fs) => {
    await fill(store);
    const range = openRange(store, "orders", 0, { from: 0 });
    assert.deepEqual([range.topic, range.partition, range.from], ["orders", 0, 0]);
    const bytes = await bytesOf(range);
    assert.deepEqual(bytes, fileBytes(fs));
    assert.ok(internalsOf(store).topics.get("orders")!.partitions[0]!.log!.segments.length > 2);
    assert.deepEqual(await bytesOf(range), bytes, "a range can be sent again");
    closeRange(range);
    assert.equal(pinCount(store), 0);
  }, smallSegments);
});

test("a range begins with the batch that holds its first offset, and ends before its end", async () => {
  await withStore(async (store) => {
    await fill(store);
    const basesOf = async (options: RangeOptions): Promise<number[]> => {
      const range = openRange(store, "orders", 0, options);
      const bases = [...batchesIn(await bytesOf(range))].map(({ baseOffset }) => baseOffset);
      closeRange(range);
      return bases;
    };
    assert.deepEqual(await basesOf({ from: 7, to: 16 }), [5, 10, 15]);
    assert.deepEqual(await basesOf({ from: 5, to: 15 }), [5, 10]);
    assert.deepEqual(await basesOf({ from: 50 }), [50, 55]);
    assert.deepEqual(await basesOf({ from: 60 }), []);
    assert.deepEqual(await basesOf({ from: 10, to: 10 }), []);
    assert.deepEqual(await basesOf({ from: 10, to: 5 }), []);
    assert.deepEqual(await basesOf({ from: 0, bytesMax: 1 }), [0], "one batch at least");
    const batchBytes = 61 + 5 * 9;
    assert.deepEqual(await basesOf({ from: 0, bytesMax: 2 * batchBytes }), [0, 5]);
    assert.deepEqual(await basesOf({ from: 0, bytesMax: 3 * batchBytes - 1 }), [0, 5]);
    assert.deepEqual((await basesOf({ from: 0, bytesMax: Infinity })).length, 12);
    assert.equal(pinCount(store), 0);
  }, smallSegments);
});

test("a range is what it was when it was opened", async () => {
  await withStore(async (store, fs) => {
    await fill(store, 10);
    const range = openRange(store, "orders", 0, { from: 0 });
    const before = fileBytes(fs);
    await append(store, "orders", { value: "later" });
    assert.deepEqual(await bytesOf(range), before);
    closeRange(range);
  });
});

test("a range outlives retention, the deletion of its topic, and the store", async () => {
  const disk = faultyDisk();
  const clock = manualClock(1_750_000_000_000);
  const store = await openTestStore(disk.fs, {
    clock,
    ...smallSegments,
  });
  await fill(store);
  const bytes = fileBytes(disk.inner);
  const range = openRange(store, "orders", 0, { from: 0 });
  clock.nowMs += 3650 * 24 * 3_600_000;
  assert.ok((await enforceRetention(store)).removedSegments > 2);
  assert.deepEqual(await bytesOf(range), bytes);
  await deleteTopic(store, "orders");
  assert.deepEqual(await bytesOf(range), bytes);
  await closeStore(store);
  assert.deepEqual(await bytesOf(range), bytes);
  closeRange(range);
  assert.equal(disk.handles.size, 0);
  await assert.rejects(sendRange(range, collector().writable), hasCode("HANDLE_CLOSED"));
});

test("a range may be closed while it is being sent: what was begun is finished", async () => {
  const disk = faultyDisk();
  await withStore(async (store) => {
    await fill(store);
    const bytes = fileBytes(disk.inner);
    const range = openRange(store, "orders", 0, { from: 0 });
    const { writable, bytes: sent } = collector();
    const sending = sendRange(range, writable);
    closeRange(range);
    closeRange(range);
    assert.ok(pinCount(store) > 0);
    assert.equal(await sending, bytes.length);
    assert.deepEqual(sent(), bytes);
    assert.equal(pinCount(store), 0);
  }, { fileSystem: disk.fs, ...smallSegments });
});

test("a slow reader is waited for: only two buffers are read ahead of it", async () => {
  const disk = faultyDisk();
  await withStore(async (store) => {
    await createTopic(store, "orders");
    const value = new Uint8Array(500_000).fill(7);
    for (let index = 0; index < 10; index++) {
      await append(store, "orders", { value }, { ack: "os" });
    }
    const range = openRange(store, "orders", 0, { from: 0 });
    let readBytes = 0;
    const { readAsync } = disk.fs;
    Object.assign(disk.fs, {
      readAsync: async (file: number, target: Uint8Array, position: number) => {
        const count = await readAsync(file, target, position);
        readBytes += count;
        return count;
      },
    });
    let takenBytes = 0;
    let aheadMax = 0;
    const slow = new Writable({
      highWaterMark: 1,
      write(chunk: Uint8Array, _encoding, done) {
        aheadMax = Math.max(aheadMax, readBytes - takenBytes);
        takenBytes += chunk.length;
        setTimeout(done, 0);
      },
    });
    assert.equal(await sendRange(range, slow), range.sizeBytes);
    assert.equal(takenBytes, range.sizeBytes);
    assert.ok(aheadMax <= 2 * 256 * 1024, `${aheadMax} bytes were read ahead`);
    closeRange(range);
  }, { fileSystem: disk.fs });
});

test("a socket gets the bytes, and stays open", async () => {
  await withFolder(async (folder) => {
    const store = await openStore(folder);
    await createTopic(store, "orders");
    const value = new Uint8Array(100_000).map((_, index) => index);
    for (let index = 0; index < 30; index++) {
      await append(store, "orders", { value }, { ack: "os" });
    }
    const received: Uint8Array[] = [];
    const { socket, ended, close } = await connectedSocket((chunk) => received.push(chunk));
    const range = openRange(store, "orders", 0, { from: 0 });
    const count = await sendRange(range, socket);
    closeRange(range);
    assert.equal(socket.writableEnded, false);
    assert.deepEqual([socket.listenerCount("error"), socket.listenerCount("close")], [0, 0]);
    socket.end();
    await ended;
    await close();
    const bytes = new Uint8Array(Buffer.concat(received));
    assert.equal(bytes.length, count);
    assert.deepEqual(
      [...batchesIn(bytes)].map(({ baseOffset }) => baseOffset),
      numbered(0, 30).map((_, i) => i),
    );
    await closeStore(store);
  });
});

/** A socket to a server in this process. */
async function connectedSocket(
  onData: (chunk: Uint8Array) => void,
): Promise<{ socket: Socket; ended: Promise<void>; close: () => Promise<void> }> {
  let end = (): void => {};
  const ended = new Promise<void>((resolve) => end = resolve);
  const server = createServer((peer) => {
    peer.on("data", onData);
    peer.on("end", () => peer.end());
    peer.on("close", end);
    peer.on("error", end);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const socket = new Socket();
  await new Promise<void>((resolve, reject) => {
    socket.once("error", reject);
    socket.connect(port, "127.0.0.1", () => {
      socket.removeListener("error", reject);
      resolve();
    });
  });
  const close = (): Promise<void> => new Promise((resolve) => server.close(() => resolve()));
  return { socket, ended, close };
}

test("a stream of the web gets the bytes, and stays open and free", async () => {
  await withStore(async (store, fs) => {
    await fill(store);
    const range = openRange(store, "orders", 0, { from: 0 });
    const chunks: Uint8Array[] = [];
    const stream = new WritableStream<Uint8Array>({ write: (chunk) => void chunks.push(chunk) });
    await sendRange(range, stream);
    await sendRange(range, stream);
    closeRange(range);
    assert.equal(stream.locked, false);
    await stream.close();
    const bytes = fileBytes(fs);
    assert.deepEqual(
      new Uint8Array(Buffer.concat(chunks)),
      new Uint8Array(Buffer.concat([bytes, bytes])),
    );
  }, smallSegments);
});

test("a socket that fails, before or in the middle, is an error, and nothing stays pinned", async () => {
  await withStore(async (store) => {
    await fill(store);
    const range = openRange(store, "orders", 0, { from: 0 });
    const mine = new Error("mine");
    let writeCount = 0;
    const failing = new Writable({
      write(_chunk, _encoding, done) {
        done(++writeCount === 2 ? mine : null);
      },
    });
    await assert.rejects(sendRange(range, failing), (error) => error === mine);
    assert.equal(writeCount, 2);
    await assert.rejects(sendRange(range, failing), "it is destroyed now");
    const ended = new PassThrough();
    ended.end();
    await assert.rejects(sendRange(range, ended), /closed/);
    const broken = new WritableStream<Uint8Array>({
      write() {
        throw mine;
      },
    });
    await assert.rejects(sendRange(range, broken), (error) => error === mine);
    const locked = new WritableStream<Uint8Array>();
    locked.getWriter();
    await assert.rejects(sendRange(range, locked), TypeError);
    closeRange(range);
    assert.equal(pinCount(store), 0);
  }, smallSegments);
});

test("a socket that is closed while it takes nothing ends the sending", async () => {
  await withStore(async (store) => {
    await fill(store);
    const range = openRange(store, "orders", 0, { from: 0 });
    const stuck = new Writable({ write() {} });
    const sending = sendRange(range, stuck);
    setTimeout(() => stuck.destroy(), 0);
    await assert.rejects(sending, /closed/);
    closeRange(range);
    assert.equal(pinCount(store), 0);
  });
});

test("a signal ends the sending, also while the socket takes nothing", async () => {
  await withStore(async (store) => {
    await fill(store);
    const range = openRange(store, "orders", 0, { from: 0 });
    const { writable, bytes } = collector();
    await assert.rejects(
      sendRange(range, writable, { signal: AbortSignal.abort(new Error("enough")) }),
      /enough/,
    );
    assert.equal(bytes().length, 0);
    const stuckStream = new WritableStream<Uint8Array>({ write: () => new Promise(() => {}) });
    for (const stuck of [new Writable({ write() {} }), stuckStream]) {
      const controller = new AbortController();
      const sending = sendRange(range, stuck, { signal: controller.signal });
      setTimeout(() => controller.abort(new Error("enough")), 0);
      await assert.rejects(sending, /enough/);
    }
    assert.equal(stuckStream.locked, false);
    closeRange(range);
    assert.equal(pinCount(store), 0);
  });
});

test("a range of what is not there is refused, and pins nothing", async () => {
  await withStore(async (store) => {
    await fill(store, 10);
    assert.throws(
      () => openRange(store, "orders", 0, { from: 11 }),
      hasCode("OFFSET_OUT_OF_RANGE"),
    );
    assert.throws(
      () => openRange(store, "orders", 1, { from: 0 }),
      hasCode("UNKNOWN_TOPIC_OR_PARTITION"),
    );
    assert.throws(
      () => openRange(store, "other", 0, { from: 0 }),
      hasCode("UNKNOWN_TOPIC_OR_PARTITION"),
    );
    assert.equal(pinCount(store), 0);
  });
});
