/**
 * What ottla tells whoever listens on `node:diagnostics_channel`, which Node, Deno and Bun all have.
 *
 * A message is made only if somebody has subscribed; asking for that takes less than a nanosecond.
 * Subscribers are called on the spot, in the middle of what they are told of: they take notes, and
 * leave the store alone.
 */

import { channel } from "node:diagnostics_channel";
import type { Channel } from "node:diagnostics_channel";

/** The partition that a message is about. */
interface OfPartition {
  /** The partition's folder. */
  readonly folder: string;
  readonly topic: string;
  readonly partition: number;
}

/** On `ottla:append`: batches were appended. They may not have reached their level yet. */
export interface AppendMessage extends OfPartition {
  readonly ack: "disk" | "os" | "memory";
  readonly baseOffset: number;
  /** Behind the last record. */
  readonly endOffset: number;
  readonly batches: number;
  readonly bytes: number;
}

/** On `ottla:sync`: a log was brought to disk, or could not be. */
export interface SyncMessage extends OfPartition {
  /** Everything below is on disk, unless there is an error. */
  readonly endOffset: number;
  readonly tookMs: number;
  /** What the file system threw. */
  readonly error?: unknown;
}

/** On `ottla:recovery`: a store was opened. */
export interface RecoveryMessage {
  /** The store's folder. */
  readonly folder: string;
  /** How long the opening took, recovery included. */
  readonly tookMs: number;
  /** Whether the store had been closed properly; then nothing was recovered. */
  readonly wasClean: boolean;
  readonly scannedPartitions: number;
  readonly scannedBytes: number;
  /** Bytes cut from torn ends and put aside. */
  readonly tornBytes: number;
  readonly failedPartitions: readonly string[];
}

/** On `ottla:retention`: the oldest segments were taken out of a log. */
export interface RetentionMessage extends OfPartition {
  readonly segments: number;
  readonly bytes: number;
  /** Where the log begins now. */
  readonly startOffset: number;
}

/** On `ottla:compaction`: a log was compacted. */
export interface CompactionMessage extends OfPartition {
  readonly readBytes: number;
  readonly keptBytes: number;
  readonly readRecords: number;
  readonly keptRecords: number;
}

/** A channel that takes one kind of message. */
export interface MessageChannel<Message> extends Channel {
  publish(message: Message): void;
}

/** Tells of appends. */
export const appendChannel: MessageChannel<AppendMessage> = channel("ottla:append");
/** Tells of syncs. */
export const syncChannel: MessageChannel<SyncMessage> = channel("ottla:sync");
/** Tells of openings. */
export const recoveryChannel: MessageChannel<RecoveryMessage> = channel("ottla:recovery");
/** Tells of retention. */
export const retentionChannel: MessageChannel<RetentionMessage> = channel("ottla:retention");
/** Tells of compactions. */
export const compactionChannel: MessageChannel<CompactionMessage> = channel("ottla:compaction");
