/**
 * Sockets and streams that take bytes: Node's `Writable`, of which `net.Socket` is one, and the
 * web's `WritableStream`.
 */

import { Socket } from "node:net";
import type { Writable } from "node:stream";

/** Takes bytes, one piece after the other. */
export interface ByteSink {
  /** Resolves when the bytes have been taken and their buffer may be used again. */
  readonly write: (bytes: Uint8Array) => Promise<void>;
  /** Lets go of the socket; it stays open. */
  readonly release: () => void;
}

/**
 * Makes a sink of a socket. It listens to the socket until it is released, so that a failure
 * between two writes is not one that nobody handles.
 *
 * @param socket What a caller gave.
 * @param signal Ends a write that waits.
 * @returns The sink.
 * @throws TypeError if it is neither a `Writable` nor a `WritableStream`, or a `WritableStream`
 * that somebody else writes to.
 */
export function byteSink(socket: unknown, signal: AbortSignal | undefined): ByteSink {
  if (socket instanceof WritableStream) return streamSink(socket, signal);
  if (isWritable(socket)) return writableSink(socket, signal);
  throw new TypeError("socket must be a net.Socket, a Writable or a WritableStream");
}

function isWritable(socket: unknown): socket is Writable {
  return typeof socket === "object" && socket !== null && "write" in socket &&
    typeof socket.write === "function" && "once" in socket && typeof socket.once === "function";
}

function writableSink(socket: Writable, signal: AbortSignal | undefined): ByteSink {
  const stop = stopper(signal);
  // Other streams than sockets may keep the very bytes after they have said that they are written:
  // a `PassThrough` hands them on.
  const isSocket = socket instanceof Socket;
  let hasFailed = false;
  const onError = (error: unknown): void => {
    hasFailed = true;
    stop.now(error);
  };
  const onClose = (): void => stop.now(new Error("Cannot send: the socket was closed"));
  socket.on("error", onError);
  socket.on("close", onClose);
  return {
    write(bytes) {
      if (socket.destroyed || socket.writableEnded) onClose();
      return stop.orAfter((resolve) => {
        // The callback comes when the bytes have left the buffer, which is what backpressure needs.
        socket.write(
          isSocket ? bytes : bytes.slice(),
          (error) => error ? onError(error) : resolve(),
        );
      });
    },
    release() {
      stop.release();
      socket.removeListener("close", onClose);
      // The event may come after the callback of the write, whose error the caller has got.
      if (!hasFailed) socket.removeListener("error", onError);
    },
  };
}

function streamSink(
  stream: WritableStream<Uint8Array>,
  signal: AbortSignal | undefined,
): ByteSink {
  const writer = stream.getWriter();
  const stop = stopper(signal);
  return {
    write: (bytes) =>
      stop.orAfter((resolve, reject) => {
        // A stream hands the very bytes on to its reader, who may look at them much later.
        writer.ready.then(() => writer.write(bytes.slice())).then(resolve, reject);
      }),
    release() {
      stop.release();
      writer.releaseLock();
    },
  };
}

/** Ends what waits, and all that comes later, with one error. */
interface Stopper {
  readonly now: (error: unknown) => void;
  readonly orAfter: (
    begin: (resolve: () => void, reject: (error: unknown) => void) => void,
  ) => Promise<void>;
  readonly release: () => void;
}

function stopper(signal: AbortSignal | undefined): Stopper {
  let failure: { readonly error: unknown } | undefined;
  let rejectWaiting = (_: unknown): void => {};
  const now = (error: unknown): void => {
    failure ??= { error };
    rejectWaiting(failure.error);
  };
  const onAbort = (): void => now(signal?.reason);
  if (signal?.aborted === true) onAbort();
  signal?.addEventListener("abort", onAbort, { once: true });
  return {
    now,
    orAfter: (begin) =>
      new Promise((resolve, reject) => {
        if (failure !== undefined) return reject(failure.error);
        rejectWaiting = reject;
        begin(resolve, reject);
      }),
    release: () => signal?.removeEventListener("abort", onAbort),
  };
}
