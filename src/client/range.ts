/**
 * Bytes of a log to a socket, as they lie in its files: no batch is decoded, nothing is copied but
 * from the file into a pooled buffer and from there to the socket.
 */

import { OttlaError } from "../errors.ts";
import type { Log } from "../log/log.ts";
import type { RangeSlice } from "../log/log_reader.ts";
import { pinSlices, unpinSlices } from "../log/log_reader.ts";
import { handleOf, pinFile } from "../platform/file_pool.ts";
import type { ByteSink } from "../platform/byte_sink.ts";
import { byteSink } from "../platform/byte_sink.ts";
import { logOf } from "../store/partitions.ts";
import type { Store } from "../store/store.ts";
import { getPartitionState, getTopicState, openInternals } from "../store/store.ts";
import { asStorageError } from "../store/store_errors.ts";
import { checkNumber, checkObject, checkSignal, checkWholeNumber } from "../store/store_options.ts";
import type { TopicArgument } from "./topic.ts";
import { nameOfTopic } from "./topic.ts";

/** Which bytes. */
export interface RangeOptions {
  /** The range begins with the batch that holds this offset. */
  readonly from: number;
  /**
   * It ends before the first batch that begins at this offset or behind; the high watermark unless
   * given.
   */
  readonly to?: number | undefined;
  /** It ends before a batch that would bring it beyond; it has one batch at least. */
  readonly bytesMax?: number | undefined;
}

/** Whole batches of one partition, as bytes in files that stay until the range is closed. */
export interface FileRange {
  readonly topic: string;
  readonly partition: number;
  readonly from: number;
  readonly sizeBytes: number;
  /** @internal */
  readonly internals: {
    readonly log: Log;
    readonly slices: readonly RangeSlice[];
    isClosed: boolean;
  };
}

const bufferBytes = 256 * 1024;
/** Buffers for later calls: two are used at a time. */
const spareBuffers: Uint8Array[] = [];
const spareBuffersMax = 8;

/**
 * Takes hold of a range of a partition. Its files stay, whatever retention does, until
 * `closeRange`. It knows no isolation level: what lies in the files is in the range, open and
 * aborted transactions and control batches included. Who wants nothing undecided gives as `to` the
 * `lastStableOffset` of `offsetsOf`, and leaves out what was aborted where batches are read.
 *
 * @param store The store.
 * @param topic The topic's name, or a topic with types.
 * @param partition The partition's number.
 * @param options Which bytes.
 * @returns The range; empty if there is nothing at `from` yet.
 * @throws TypeError or RangeError, OttlaError `UNKNOWN_TOPIC_OR_PARTITION`, `OFFSET_OUT_OF_RANGE`,
 * `CORRUPT_MESSAGE`.
 */
export function openRange(
  store: Store,
  topic: TopicArgument,
  partition: number,
  options: RangeOptions,
): FileRange {
  const internals = openInternals(store);
  const state = getTopicState(internals, nameOfTopic(topic));
  const partitionState = getPartitionState(state, partition);
  checkObject("options", options);
  const { from, to, bytesMax } = options;
  checkNumber("from", from, 0, Number.MAX_SAFE_INTEGER);
  checkWholeNumber("to", to, 0, Number.MAX_SAFE_INTEGER);
  if (bytesMax !== Infinity) checkWholeNumber("bytesMax", bytesMax, 1, Number.MAX_SAFE_INTEGER);
  const log = logOf(internals, state, partitionState);
  const slices = openRangeSlices(log, from, to ?? Infinity, bytesMax ?? Infinity);
  const sizeBytes = slices.reduce(
    (sum, { startPosition, endPosition }) => sum + endPosition - startPosition,
    0,
  );
  return {
    topic: state.name,
    partition,
    from,
    sizeBytes,
    internals: { log, slices, isClosed: false },
  };
}

/**
 * Sends a range to a socket: as fast as the socket takes it, no faster. The socket stays open.
 *
 * @param range The range.
 * @param socket A `net.Socket`, another `Writable`, or a `WritableStream` of bytes.
 * @param options A signal that ends the sending.
 * @returns How many bytes were sent: all of the range.
 * @throws TypeError if it is no socket, OttlaError `HANDLE_CLOSED`, the error of the socket, or the
 * signal's reason; then a part may have been sent.
 */
export async function sendRange(
  range: FileRange,
  socket: unknown,
  options: { readonly signal?: AbortSignal | undefined } = {},
): Promise<number> {
  const { log, slices } = openRangeInternals(range);
  checkObject("options", options);
  const { signal } = options;
  checkSignal(signal);
  signal?.throwIfAborted();
  const sink = byteSink(socket, signal);
  const buffers: [Uint8Array, Uint8Array] = [takeBuffer(), takeBuffer()];
  let isUnused = false;
  // Of our own: the range may be closed while it is being sent.
  for (const { segment } of slices) pinFile(log.pool, segment.log);
  try {
    let sent = 0;
    for (const slice of slices) sent += await sendSlice(log, slice, sink, buffers, signal);
    isUnused = true;
    return sent;
  } finally {
    sink.release();
    unpinSlices(log, slices);
    // After a failure the socket may still be reading from a buffer.
    if (isUnused) spareBuffers.push(...buffers.slice(0, spareBuffersMax - spareBuffers.length));
  }
}

/**
 * Lets go of a range. Closing it twice is fine.
 *
 * @param range The range.
 */
export function closeRange(range: FileRange): void {
  const internals = internalsOf(range);
  if (internals.isClosed) return;
  internals.isClosed = true;
  unpinSlices(internals.log, internals.slices);
}

function openRangeSlices(log: Log, from: number, to: number, bytesMax: number): RangeSlice[] {
  try {
    return pinSlices(log, from, to, bytesMax);
  } catch (error) {
    throw asStorageError(`open a range of ${log.source.topic}-${log.source.partition}`, error);
  }
}

function internalsOf(range: FileRange): FileRange["internals"] {
  const internals = (range as FileRange | undefined)?.internals;
  if (internals !== undefined) return internals;
  throw new TypeError("range must be what openRange() returned");
}

function openRangeInternals(range: FileRange): FileRange["internals"] {
  const internals = internalsOf(range);
  if (!internals.isClosed) return internals;
  throw new OttlaError(
    "HANDLE_CLOSED",
    `Cannot send a range of ${range.topic}-${range.partition}: it is closed`,
  );
}

/** Reads one buffer while the other is being sent. */
async function sendSlice(
  log: Log,
  slice: RangeSlice,
  sink: ByteSink,
  buffers: readonly [Uint8Array, Uint8Array],
  signal: AbortSignal | undefined,
): Promise<number> {
  const { fs } = log.pool;
  const file = handleOf(log.pool, slice.segment.log);
  let writing: Promise<void> = Promise.resolve();
  let turn = 0;
  for (let position = slice.startPosition; position < slice.endPosition;) {
    signal?.throwIfAborted();
    const size = Math.min(bufferBytes, slice.endPosition - position);
    const chunk = buffers[turn % 2 as 0 | 1].subarray(0, size);
    const count = await fs.readAsync(file, chunk, position).catch((error) => {
      throw asStorageError(`send ${slice.segment.log.path}`, error);
    });
    await writing;
    if (count < size) {
      throw new OttlaError(
        "KAFKA_STORAGE_ERROR",
        `Cannot send ${slice.segment.log.path}: it ends at ${
          position + count
        }, batches were to end at ` +
          `${slice.endPosition}`,
        { details: { position: position + count, endPosition: slice.endPosition } },
      );
    }
    writing = sink.write(chunk);
    // It is awaited before the next piece; until then a failure must not count as one that nobody
    // handles.
    writing.catch(() => {});
    position += size;
    turn++;
  }
  await writing;
  log.stats.sentBytes += slice.endPosition - slice.startPosition;
  return slice.endPosition - slice.startPosition;
}

function takeBuffer(): Uint8Array {
  return spareBuffers.pop() ?? new Uint8Array(bufferBytes);
}
