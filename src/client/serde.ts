/**
 * Serdes: values to bytes and back, at the edge of the store. What is stored are bytes.
 */

import { pack, unpack } from "msgpackr";

/** Turns values into bytes and back. Null is stored as null and never comes to a serde. */
export interface Serde<T> {
  /** A name for messages. */
  readonly name: string;
  readonly serialize: (value: T) => Uint8Array;
  readonly deserialize: (bytes: Uint8Array) => T;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });
const exactDecoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Bytes as they are. */
export const bytes: Serde<Uint8Array> = {
  name: "bytes",
  serialize: (value) => value,
  deserialize: (stored) => stored,
};

/** Text as UTF-8. Bytes that are no UTF-8 are a `TypeError` when they are read. */
export const utf8: Serde<string> = {
  name: "utf8",
  serialize: (value) => encoder.encode(value),
  // A byte order mark is a character of the text like any other.
  deserialize: (stored) => exactDecoder.decode(stored),
};

/**
 * Values as JSON text.
 *
 * @returns A serde for whatever `JSON.stringify` takes.
 */
export function json<T = unknown>(): Serde<T> {
  return {
    name: "json",
    serialize(value) {
      const text = JSON.stringify(value);
      if (text === undefined) throw new TypeError(`json cannot store ${typeof value}`);
      return encoder.encode(text);
    },
    deserialize: (stored) => JSON.parse(decoder.decode(stored)) as T,
  };
}

/**
 * Values as MessagePack: smaller and faster than JSON, and it keeps dates and bytes. Every reader
 * of MessagePack understands it, so maps come back as objects and sets as arrays. A key `__proto__`
 * comes back as `__proto_`, so that no message changes a prototype.
 *
 * @returns A serde for plain data.
 */
export function msgpack<T = unknown>(): Serde<T> {
  return {
    name: "msgpack",
    serialize: (value) => pack(value),
    deserialize: (stored) => unpack(stored) as T,
  };
}
