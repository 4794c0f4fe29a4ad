/** A record as users give it and as they get it back. */

/** A key or value to be written: bytes, text to be stored as UTF-8, or null. */
export type Content = Uint8Array | string | null;

/** One header of a record to be written. */
export interface HeaderInput {
  readonly key: string;
  readonly value: Content;
}

/** One header of a record that was read. */
export interface Header {
  readonly key: string;
  readonly value: Uint8Array | null;
}

/** A record to be written. */
export interface RecordInput {
  /** Decides the partition; absent counts as null. */
  readonly key?: Content | undefined;
  /** Absent counts as null, which on a compacted topic deletes the key. */
  readonly value?: Content | undefined;
  readonly headers?: readonly HeaderInput[] | undefined;
  /** In milliseconds since the epoch; absent means now. */
  readonly timestamp?: number | undefined;
}

/** A record that was read. */
export interface LogRecord<K = Uint8Array | null, V = Uint8Array | null> {
  topic: string;
  partition: number;
  offset: number;
  /** In milliseconds since the epoch; -1 if it has none. */
  timestamp: number;
  key: K;
  value: V;
  headers: readonly Header[];
}
