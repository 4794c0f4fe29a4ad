/**
 * What must be true of one partition, in plain arrays: which records were sent to it and how they
 * were answered, which of them lies at which offset, and up to where it must survive which crash.
 *
 * A record is placed once anybody has learned its offset, by an answer or by reading it. What is
 * placed stays where it is; it may be missing only where the log has become shorter by a crash that
 * may take it (then nothing behind it is there either), where the log's start has passed it by rule,
 * or where compaction has a later record of its key.
 */

import type { LogRecord } from "../../mod.ts";
import { contentText, idOfRecord } from "./record_content.ts";
import type { RecordContent } from "./record_content.ts";
import { demand } from "./invariant.ts";

/** How long deletions of keys can be read, at least, where topics are compacted. */
export const tombstoneMs = 1_000;

/** The level that a record was appended at. */
export type Level = "disk" | "os" | "memory";

/**
 * How a record was answered: not yet; it is stored; it is not; nobody knows; or a crash has shown
 * that it is not there.
 */
export type RecordState = "pending" | "stored" | "refused" | "uncertain" | "lost";

/** A record that was sent. */
export interface ModelRecord extends RecordContent {
  readonly model: PartitionModel;
  /** Who sent it: records of one source keep the order of their calls. */
  readonly source: string;
  readonly level: Level;
  /** When it was sent first, on the clock of the disk. */
  readonly sentMs: number;
  state: RecordState;
  /** -1 until it is placed. */
  offset: number;
  /** Whether a handler has ever been through with it, or has failed for the last time. */
  isHandled: boolean;
  isGivenUp: boolean;
}

/** What of a topic's configuration decides over what may be removed. */
export interface RemovalRules {
  readonly isCompacted: boolean;
  /** The shortest time and the fewest bytes that any configuration since has kept; -1 for all. */
  retentionMs: number;
  retentionBytes: number;
}

/** One partition of one topic; a topic of the same name that came later has others. */
export interface PartitionModel {
  /** As in `orders-3`, and which topic of the name it is. */
  readonly name: string;
  readonly topic: string;
  readonly topicId: string;
  readonly partition: number;
  readonly rules: RemovalRules;
  /** In the order of the calls. */
  readonly sent: ModelRecord[];
  /** By offset; with holes where no one has looked. */
  placed: (ModelRecord | undefined)[];
  /** Everything below survives a power cut; or only the end of a process. */
  diskEnd: number;
  processEnd: number;
  /** The start that was acknowledged; logs do not begin before it again. */
  startOffset: number;
  /** The furthest start that was asked for or was right when it was seen. */
  startOffsetMax: number;
  /** As they were last seen in this life of the store. */
  endOffset: number;
  highWatermark: number;
}

/** What was found in a partition. */
export interface FoundPartition {
  readonly startOffset: number;
  readonly endOffset: number;
  readonly records: readonly LogRecord[];
}

/** A partition of which nothing is known. */
export function partitionModel(
  topic: string,
  topicId: string,
  partition: number,
  rules: RemovalRules,
): PartitionModel {
  return {
    name: `${topic}-${partition} (${topicId.slice(0, 4)})`,
    topic,
    topicId,
    partition,
    rules,
    sent: [],
    placed: [],
    diskEnd: 0,
    processEnd: 0,
    startOffset: 0,
    startOffsetMax: 0,
    endOffset: 0,
    highWatermark: 0,
  };
}

/** A record is being sent. */
export function noteSent(
  model: PartitionModel,
  content: RecordContent,
  source: string,
  level: Level,
  sentMs: number,
): ModelRecord {
  const record: ModelRecord = {
    ...content,
    model,
    source,
    level,
    sentMs,
    state: "pending",
    offset: -1,
    isHandled: false,
    isGivenUp: false,
  };
  model.sent.push(record);
  return record;
}

/** It was acknowledged at its level. */
export function noteStored(record: ModelRecord, offset: number): void {
  const { model, level } = record;
  place(record, offset);
  record.state = "stored";
  if (level === "disk") model.diskEnd = Math.max(model.diskEnd, offset + 1);
  if (level === "os") model.processEnd = Math.max(model.processEnd, offset + 1);
}

/**
 * Somebody has read a record: it must be one that was sent to here, as it was sent, where others
 * have seen it. It survives what its level says; what was accepted at "memory" is in the page cache
 * once it can be read.
 */
export function noteRead(
  model: PartitionModel,
  records: readonly ModelRecord[],
  found: LogRecord,
): ModelRecord {
  const record = knownRecord(model, records, found);
  place(record, found.offset);
  if (record.level === "disk") model.diskEnd = Math.max(model.diskEnd, found.offset + 1);
  else model.processEnd = Math.max(model.processEnd, found.offset + 1);
  return record;
}

/** All that has an offset now is on disk. */
export function noteSynced(model: PartitionModel, endOffset: number): void {
  model.diskEnd = Math.max(model.diskEnd, endOffset);
}

/**
 * Compares what is there after an opening with what must be, and takes it as what is true from now
 * on: recovery has synced it.
 *
 * @param model The partition.
 * @param records All records of the simulation, by number.
 * @param found What is there.
 * @param requiredEnd Everything below must be there.
 * @param now The time, for tombstones.
 */
export function checkFound(
  model: PartitionModel,
  records: readonly ModelRecord[],
  found: FoundPartition,
  requiredEnd: number,
  now: number,
): void {
  const { name } = model;
  const { startOffset, endOffset } = found;
  demand(
    endOffset >= requiredEnd,
    () => `${name} ends at ${endOffset}, but everything below ${requiredEnd} was promised`,
  );
  checkContiguous(model, found);
  for (const entry of found.records) place(knownRecord(model, records, entry), entry.offset);
  checkPlaced(model, found, now);
  checkOrder(model, found, records);
  for (let offset = endOffset; offset < model.placed.length; offset++) {
    const record = model.placed[offset];
    if (record !== undefined) record.state = "lost";
  }
  model.placed.length = Math.min(model.placed.length, endOffset);
  for (const record of model.sent) {
    if (record.offset < 0 && record.state !== "refused") record.state = "lost";
    else if (record.offset >= 0 && record.state !== "lost") record.state = "stored";
  }
  model.diskEnd = endOffset;
  model.processEnd = endOffset;
  model.endOffset = endOffset;
  model.highWatermark = endOffset;
  model.startOffset = Math.max(model.startOffset, startOffset);
}

/** The offset behind the last record that has one. */
export function placedEnd(model: PartitionModel): number {
  return model.placed.length;
}

/** The record that was found, which must be as it was sent to this partition. */
export function knownRecord(
  model: PartitionModel,
  records: readonly ModelRecord[],
  found: LogRecord,
): ModelRecord {
  const where = `offset ${found.offset} of ${model.name}`;
  const id = idOfRecord(found);
  const record = records[id];
  demand(record !== undefined, () => `${where} holds a record ${id} that nobody sent`);
  demand(
    record.model === model,
    () => `${where} holds record ${id}, which was sent to ${record.model.name}`,
  );
  const text = contentText(found);
  demand(
    text === record.text,
    () => `record ${id} at ${where} is not as it was sent:\n  ${text}\n  ${record.text}`,
  );
  return record;
}

function place(record: ModelRecord, offset: number): void {
  const { model, id } = record;
  const other = model.placed[offset];
  demand(
    other === undefined || other === record,
    () => `offset ${offset} of ${model.name} holds record ${id}, and held ${other?.id} before`,
  );
  demand(
    record.offset < 0 || record.offset === offset,
    () => `record ${id} is at offset ${offset} of ${model.name}, and at ${record.offset}`,
  );
  demand(
    record.state !== "refused" && record.state !== "lost",
    () => `record ${id}, which was ${record.state}, is at offset ${offset} of ${model.name}`,
  );
  record.offset = offset;
  model.placed[offset] = record;
}

/** What is there is one stretch from the start to the end. */
function checkContiguous(model: PartitionModel, found: FoundPartition): void {
  const { name, rules } = model;
  let next = found.startOffset;
  for (const { offset } of found.records) {
    demand(
      rules.isCompacted ? offset >= next : offset === next,
      () => `${name} has offset ${offset} where ${next} is wanted`,
    );
    next = offset + 1;
  }
  demand(
    rules.isCompacted ? next <= found.endOffset : next === found.endOffset,
    () => `${name} ends at ${found.endOffset}, but its records end at ${next}`,
  );
}

/** What has an offset below the end is there, but for what compaction may take. */
function checkPlaced(model: PartitionModel, found: FoundPartition, now: number): void {
  const { isCompacted } = model.rules;
  const there = new Set(found.records.map(({ offset }) => offset));
  const laterKeys = new Set<string>();
  for (let offset = found.endOffset - 1; offset >= found.startOffset; offset--) {
    const record = model.placed[offset];
    if (record === undefined) continue;
    const key = String(record.record.key);
    const isOldTombstone = record.record.value === null && now >= record.sentMs + tombstoneMs;
    const mayBeGone = isCompacted && (laterKeys.has(key) || isOldTombstone);
    demand(
      there.has(offset) || mayBeGone,
      () => `record ${record.id} at offset ${offset} of ${model.name} is missing`,
    );
    laterKeys.add(key);
  }
}

function checkOrder(
  model: PartitionModel,
  found: FoundPartition,
  records: readonly ModelRecord[],
): void {
  const lastOfSource = new Map<string, number>();
  for (const entry of found.records) {
    const { id, source } = records[idOfRecord(entry)]!;
    const last = lastOfSource.get(source) ?? -1;
    demand(
      id > last,
      () => `${model.name} has record ${id} of ${source} behind ${last}, which was sent later`,
    );
    lastOfSource.set(source, id);
  }
}
