/** Sockets and streams that take bytes: Node's `Writable`, of which `net.Socket` is one, and the web's `WritableStream`. */

import type { Writable } from "node:stream";

/** Takes bytes, one piece after the other. */
export interface ByteSink {
  /** Resolves when the bytes have been taken and their buffer may be used again. */
  readonly write: (bytes: Uint8Array) => Promise<void>;
  /** Lets go of the socket; it stays open. */
  readonly release: () => void;
}

/**
 * Makes a sink of a socket.
 *
 * @param socket What a caller gave.
 * @param signal Ends a write that waits.
 * @returns The sink.
 * @throws TypeError if it is neither a `Writable` nor a `WritableStream`.
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
  return {
    write: (bytes) =>
      new Promise((resolve, reject) => {
        const settle = (error?: unknown): void => {
          socket.removeListener("close", onClose);
          socket.removeListener("error", settle);
          signal?.removeEventListener("abort", onAbort);
          if (error) reject(error);
          else resolve();
        };
        const onClose = (): void => settle(new Error("Cannot send: the socket was closed"));
        const onAbort = (): void => settle(signal?.reason);
        if (socket.destroyed || socket.writableEnded) return onClose();
        socket.once("close", onClose);
        socket.once("error", settle);
        signal?.addEventListener("abort", onAbort, { once: true });
        // The callback comes when the bytes have left the buffer, which is what backpressure needs.
        socket.write(bytes, settle);
      }),
    release: () => {},
  };
}

function streamSink(
  stream: WritableStream<Uint8Array>,
  signal: AbortSignal | undefined,
): ByteSink {
  const writer = stream.getWriter();
  return {
    async write(bytes) {
      await writer.ready;
      signal?.throwIfAborted();
      // A stream hands the very bytes on to its reader, who may look at them much later.
      await writer.write(bytes.slice());
    },
    release: () => writer.releaseLock(),
  };
}
