/**
 * Prints the batches of a log file, and their records if that is wanted, as Kafka's dump tool does:
 * one line a batch, one line a record with `| ` in front. Unlike that tool it goes on behind
 * damage, with the next good batch.
 */

import { isOttlaError } from "../errors.ts";
import type { FileHandle, FileSystem } from "../platform/file_system.ts";
import {
  baseSequenceOf,
  compressionOfBatch,
  deleteHorizonOf,
  hasValidChecksum,
  isControlBatch,
  isLogAppendTime,
  isTransactional,
  lastSequenceOf,
  partitionLeaderEpochOf,
  producerEpochOf,
  producerIdOf,
  sequenceOf,
  storedChecksumOf,
} from "../record/batch_view.ts";
import type { BatchView } from "../record/batch_view.ts";
import { attribute, magicV2 } from "../record/batch_layout.ts";
import { forEachRecord, headersOf, keyOf, valueOf } from "../record/record_reader.ts";
import type { RecordView } from "../record/record_reader.ts";
import { findNextBatch, scanBatches } from "../segment/batch_scan.ts";
import { messageOf } from "./command.ts";
import { contentField } from "./content_json.ts";
import { controlContent, groupContent, metadataContent, plainContent } from "./dump_content.ts";
import type { DumpedContent } from "./dump_content.ts";
import { optionalLong } from "./optional_long.ts";
import type { LineOutput } from "./output.ts";
import { addLine, flushLines, isFull } from "./output.ts";

/** How keys and values are to be taken. */
export type RecordDecoder = "plain" | "metadata" | "groups";

/** How a log is printed. */
export interface DumpLogOptions {
  /** The records too, not only the batches. */
  readonly isDeep: boolean;
  /** The keys and values of the records too. */
  readonly hasContent: boolean;
  /** What the records are: a user's, or those of one of Kafka's own topics. */
  readonly decoder: RecordDecoder;
  readonly isJson: boolean;
  /** Only this many bytes of each file are looked at. */
  readonly bytesMax: number;
}

/** One file that is being printed. */
interface LogDump {
  readonly path: string;
  readonly options: DumpLogOptions;
  readonly output: LineOutput;
  /** How many batches and gaps are not as they should be. */
  damageCount: number;
}

/**
 * Prints a log file.
 *
 * @param fs Where it is.
 * @param file Its handle.
 * @param path Its path, for the lines.
 * @param options How it is printed.
 * @param output Where to.
 * @returns How many batches and gaps are damaged.
 */
export async function dumpLog(
  fs: FileSystem,
  file: FileHandle,
  path: string,
  options: DumpLogOptions,
  output: LineOutput,
): Promise<number> {
  const dump: LogDump = { path, options, output, damageCount: 0 };
  const fileEnd = fs.sizeOf(file);
  const end = Math.min(fileEnd, options.bytesMax);
  for (let position = 0; position < end;) {
    const scan = scanBatches(fs, file, { start: position, end, verify: false }, (batch, at) => {
      if (isFull(output)) return false;
      dumpBatch(dump, batch, at);
      return true;
    });
    await flushLines(output);
    position = scan.position;
    if (scan.reason === "stopped" || scan.reason === "end") continue;
    // A batch that only the limit cuts in two is no damage.
    if (scan.reason === "incomplete" && end < fileEnd) break;
    const next = findNextBatch(fs, file, { start: position, end, verify: true }, 0)?.position ??
      end;
    dumpGap(dump, position, next, end);
    position = next;
  }
  await flushLines(output);
  return dump.damageCount;
}

function dumpGap(dump: LogDump, position: number, next: number, end: number): void {
  const sizeBytes = next - position;
  dump.damageCount++;
  if (dump.options.isJson) {
    addLine(dump.output, JSON.stringify({ type: "gap", path: dump.path, position, sizeBytes }));
    return;
  }
  const name = dump.path.replace(/^.*[/\\]/, "");
  const where = next === end ? "the end" : `position ${position}`;
  addLine(dump.output, `Found ${sizeBytes} invalid bytes at ${where} of ${name}`);
}

function dumpBatch(dump: LogDump, batch: BatchView, position: number): void {
  const isValid = hasValidChecksum(batch);
  if (!isValid) dump.damageCount++;
  const deleteHorizonMs = deleteHorizonOf(batch);
  const timestampType = timestampTypeOf(batch);
  const fields = {
    baseOffset: batch.baseOffset,
    lastOffset: batch.lastOffset,
    count: batch.recordCount,
    baseSequence: baseSequenceOf(batch),
    lastSequence: lastSequenceOf(batch),
    producerId: producerIdOf(batch),
    producerEpoch: producerEpochOf(batch),
    partitionLeaderEpoch: partitionLeaderEpochOf(batch),
    isTransactional: isTransactional(batch),
    isControl: isControlBatch(batch),
  };
  const codec = codecNameOf(batch);
  const crc = storedChecksumOf(batch);
  const { isJson } = dump.options;
  if (isJson) {
    const line = {
      type: "batch",
      path: dump.path,
      ...fields,
      deleteHorizonMs: deleteHorizonMs ?? null,
      position,
      timestampType,
      timestamp: batch.maxTimestamp,
      sizeBytes: batch.sizeBytes,
      magic: magicV2,
      codec,
      crc,
      isValid,
    };
    addLine(dump.output, JSON.stringify(line));
  } else {
    const line = [
      ...Object.entries(fields),
      ["deleteHorizonMs", optionalLong(deleteHorizonMs)],
      ["position", position],
      [timestampType, batch.maxTimestamp],
      ["size", batch.sizeBytes],
      ["magic", magicV2],
      ["compresscodec", codec],
      ["crc", crc],
      ["isvalid", isValid],
    ];
    addLine(dump.output, line.map(([name, value]) => `${name}: ${value}`).join(" "));
  }
  if (dump.options.isDeep) dumpRecords(dump, batch, isValid);
}

function dumpRecords(dump: LogDump, batch: BatchView, isValid: boolean): void {
  try {
    forEachRecord(batch, (record) => dumpRecord(dump, batch, record));
  } catch (error) {
    if (!isOttlaError(error)) throw error;
    if (isValid) dump.damageCount++;
    const { path, options: { isJson } } = dump;
    const message = messageOf(error);
    addLine(
      dump.output,
      isJson ? JSON.stringify({ type: "error", path, message }) : `| ${message}`,
    );
  }
}

function dumpRecord(dump: LogDump, batch: BatchView, record: RecordView): void {
  const key = keyOf(record);
  const value = valueOf(record);
  const headers = headersOf(record);
  const keySize = key === null ? -1 : key.length;
  const valueSize = value === null ? -1 : value.length;
  const sequence = sequenceOf(batch, record.offset);
  const content = isControlBatch(batch)
    ? controlContent(key, value)
    : dataContent(dump, key, value, record.offset);
  if (content.isDamaged) dump.damageCount++;
  if (dump.options.isJson) {
    const line = {
      type: "record",
      path: dump.path,
      offset: record.offset,
      timestamp: record.timestamp,
      keySize,
      valueSize,
      sequence,
      headers: headers.map((header) => ({
        key: header.key,
        ...contentField("value", header.value),
      })),
      ...content.fields,
    };
    addLine(dump.output, JSON.stringify(line));
    return;
  }
  const headerKeys = headers.map((header) => header.key).join(",");
  addLine(
    dump.output,
    `| offset: ${record.offset} ${timestampTypeOf(batch)}: ${record.timestamp} ` +
      `keySize: ${keySize} valueSize: ${valueSize} sequence: ${sequence} ` +
      `headerKeys: [${headerKeys}]${content.text}`,
  );
}

function dataContent(
  dump: LogDump,
  key: Uint8Array | null,
  value: Uint8Array | null,
  offset: number,
): DumpedContent {
  const { hasContent, decoder } = dump.options;
  if (!hasContent) return { text: "", fields: {}, isDamaged: false };
  switch (decoder) {
    case "plain":
      return plainContent(key, value);
    case "metadata":
      return metadataContent(value);
    case "groups":
      return groupContent(key, value, offset);
  }
}

function timestampTypeOf(batch: BatchView): "CreateTime" | "LogAppendTime" {
  return isLogAppendTime(batch) ? "LogAppendTime" : "CreateTime";
}

function codecNameOf(batch: BatchView): string {
  try {
    return compressionOfBatch(batch);
  } catch (error) {
    if (!isOttlaError(error)) throw error;
    return `unknown(${batch.attributes & attribute.compressionMask})`;
  }
}
