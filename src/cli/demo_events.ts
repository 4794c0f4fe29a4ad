/**
 * Events from a file for the demo: JSON lines, lines of text, or one JSON array. Every line becomes
 * the value of a record, byte for byte; its key and its time are looked for in it.
 */

import { Buffer } from "node:buffer";
import {
  closeSync,
  createReadStream,
  existsSync,
  openSync,
  readFileSync,
  readSync,
  statSync,
} from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join } from "node:path";
import { OttlaError } from "../errors.ts";
import { usageError } from "./command.ts";

/** An event, ready to be appended. */
export interface DemoEvent {
  readonly key: string | null;
  readonly value: Uint8Array;
  /** In milliseconds since the epoch; undefined if the event bears no time. */
  readonly timestamp: number | undefined;
}

/** Some events in the order of the file. */
export interface EventChunk {
  readonly events: readonly DemoEvent[];
  /** The part of the file that has been read, 0 to 1. */
  readonly fraction: number;
}

/**
 * Which fields of JSON events hold the key and the time; where nobody says, the first event
 * decides.
 */
export interface EventFields {
  key: string | undefined;
  time: string | undefined;
}

/** A file of events. */
export interface EventFile {
  readonly path: string;
  readonly name: string;
  readonly sizeBytes: number;
  /** Final once the first event has been read; undefined then stands for none. */
  readonly fields: EventFields;
  form: "JSON" | "text" | undefined;
  areFieldsDecided: boolean;
}

type JsonObject = Readonly<Record<string, unknown>>;

/** The limit of a line: what fits into a batch of the default size. */
const lineBytesMax = 1024 * 1024;
/** A JSON array must be read as a whole; a larger file is taken as lines. */
const arrayBytesMax = 256 * 1024 * 1024;
/** Few enough that the records of a chunk are one batch in each partition. */
const chunkEventsMax = 500;
const chunkBytesMax = 256 * 1024;
const readBytes = 256 * 1024;
const newLine = 0x0a;

const utf8 = new TextEncoder();
const decoder = new TextDecoder();
const timePattern =
  /^(\d{4}[-/]\d\d[-/]\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,3})\d*)?)?)?\s*(Z|[+-]\d\d:?\d\d)?(?![\d/-])/;
const timeNames = /time|date|^ts$/i;
/** What a number of seconds or milliseconds of our days lies between. */
const plausibleSeconds = [5e8, 5e9] as const;
const plausibleMs = [5e11, 5e12] as const;

/**
 * Finds the file of events.
 *
 * @param path The file; the flights of the package `vega-datasets` unless given.
 * @param fields Which fields to take.
 * @returns The file, not read yet.
 * @throws Error if there is no such file, or it is empty.
 */
export function eventFile(path: string | undefined, fields: EventFields): EventFile {
  const found = path ?? flightsPath();
  const status = statSync(found, { throwIfNoEntry: false });
  if (status === undefined) throw usageError(`Cannot read events: there is no file ${found}`);
  if (!status.isFile()) throw usageError(`Cannot read events: ${found} is no file`);
  return {
    path: found,
    name: basename(found),
    sizeBytes: status.size,
    fields: { ...fields },
    form: undefined,
    areFieldsDecided: false,
  };
}

function flightsPath(): string {
  try {
    const require = createRequire(import.meta.url);
    // The package exports its program only; the data lie beside it.
    const folder = dirname(dirname(require.resolve("vega-datasets")));
    const path = join(folder, "data", "flights-20k.json");
    if (existsSync(path)) return path;
  } catch {
    // It is a development dependency: where ottla is installed it is rarely there.
  }
  throw usageError(
    "Cannot find the flights of the package vega-datasets: give a file of JSON lines, of lines of text or " +
      "with a JSON array, such as: ottla demo events.jsonl --key-field origin",
  );
}

/**
 * Reads the events of a file.
 *
 * @param file The file.
 * @returns The events in the order of the file, some at a time.
 * @throws OttlaError `MESSAGE_TOO_LARGE` for a line that fits into no batch; Error if the first
 * event has no such field.
 */
export async function* readEvents(file: EventFile): AsyncGenerator<EventChunk> {
  const elements = readArray(file);
  if (elements === undefined) {
    yield* readLineEvents(file);
    return;
  }
  file.form = "JSON";
  let events: DemoEvent[] = [];
  let sizeBytes = 0;
  for (const [index, element] of elements.entries()) {
    const event = jsonEvent(file, element, utf8.encode(JSON.stringify(element)));
    if (isChunkFull(events, sizeBytes + event.value.length)) {
      yield { events, fraction: index / elements.length };
      events = [];
      sizeBytes = 0;
    }
    events.push(event);
    sizeBytes += event.value.length;
  }
  if (events.length > 0) yield { events, fraction: 1 };
}

/** The elements if the file is one JSON array. */
function readArray(file: EventFile): unknown[] | undefined {
  if (file.sizeBytes > arrayBytesMax || !beginsWithBracket(file.path)) return undefined;
  try {
    const parsed: unknown = JSON.parse(decoder.decode(readFileSync(file.path)));
    return Array.isArray(parsed) ? parsed : undefined;
  } catch {
    // Lines that begin with a bracket, as those of many logs do.
    return undefined;
  }
}

function beginsWithBracket(path: string): boolean {
  const head = new Uint8Array(64);
  const descriptor = openSync(path, "r");
  try {
    const count = readSync(descriptor, head, 0, head.length, 0);
    return decoder.decode(head.subarray(0, count)).trimStart().startsWith("[");
  } finally {
    closeSync(descriptor);
  }
}

async function* readLineEvents(file: EventFile): AsyncGenerator<EventChunk> {
  let events: DemoEvent[] = [];
  let sizeBytes = 0;
  for await (const { lines, bytesDone } of readLines(file)) {
    const fraction = Math.min(1, bytesDone / file.sizeBytes);
    for (const line of lines) {
      if (isChunkFull(events, sizeBytes + line.length)) {
        yield { events, fraction };
        events = [];
        sizeBytes = 0;
      }
      events.push(lineEvent(file, line));
      sizeBytes += line.length;
    }
  }
  if (events.length > 0) yield { events, fraction: 1 };
}

/** Whether no more should be added; the values would have `sizeBytes` then. */
function isChunkFull(events: readonly DemoEvent[], sizeBytes: number): boolean {
  return events.length > 0 && (events.length >= chunkEventsMax || sizeBytes > chunkBytesMax);
}

async function* readLines(
  file: EventFile,
): AsyncGenerator<{ lines: Uint8Array[]; bytesDone: number }> {
  let rest: Uint8Array = new Uint8Array(0);
  let bytesDone = 0;
  for await (const chunk of createReadStream(file.path, { highWaterMark: readBytes })) {
    const bytes = Buffer.concat([rest, chunk as Uint8Array]);
    const lines: Uint8Array[] = [];
    let start = 0;
    for (let end = bytes.indexOf(newLine); end >= 0; end = bytes.indexOf(newLine, start)) {
      addLine(file, lines, bytes.subarray(start, end));
      start = end + 1;
    }
    rest = bytes.subarray(start);
    checkLine(file, rest);
    bytesDone += (chunk as Uint8Array).length;
    yield { lines, bytesDone };
  }
  const lines: Uint8Array[] = [];
  addLine(file, lines, rest);
  yield { lines, bytesDone };
}

/** Adds a line without its carriage return, unless it is empty. */
function addLine(file: EventFile, lines: Uint8Array[], line: Uint8Array): void {
  checkLine(file, line);
  const end = line.at(-1) === 0x0d ? line.length - 1 : line.length;
  if (end > 0) lines.push(line.subarray(0, end));
}

function checkLine(file: EventFile, line: Uint8Array): void {
  if (line.length <= lineBytesMax) return;
  throw new OttlaError(
    "MESSAGE_TOO_LARGE",
    `Cannot append a line of ${file.name}: it has ${line.length} bytes or more, at most ` +
      `${lineBytesMax} are allowed`,
  );
}

function lineEvent(file: EventFile, line: Uint8Array): DemoEvent {
  const text = decoder.decode(line).trim();
  const element = text.startsWith("{") ? parseObject(text) : undefined;
  file.form ??= element === undefined ? "text" : "JSON";
  return file.form === "JSON" ? jsonEvent(file, element, line) : textEvent(file, text, line);
}

function parseObject(text: string): JsonObject | undefined {
  try {
    return JSON.parse(text) as JsonObject;
  } catch {
    // A torn or foreign line among JSON lines is an event too: one without key and time.
    return undefined;
  }
}

function jsonEvent(file: EventFile, element: unknown, value: Uint8Array): DemoEvent {
  if (typeof element !== "object" || element === null) {
    return { key: null, value, timestamp: undefined };
  }
  const object = element as JsonObject;
  const { fields } = file;
  if (!file.areFieldsDecided) decideFields(file, object);
  return {
    key: fields.key === undefined ? null : textOfField(object[fields.key]),
    value,
    timestamp: fields.time === undefined ? undefined : timeOf(object[fields.time]),
  };
}

/**
 * The first event decides: the first field with a time, and the first with text that is no time.
 */
function decideFields(file: EventFile, object: JsonObject): void {
  const { fields } = file;
  const names = Object.keys(object);
  for (const field of [fields.key, fields.time]) {
    if (field === undefined || names.includes(field)) continue;
    throw usageError(
      `Cannot take ${JSON.stringify(field)} of the events in ${file.name}: the first one has the ` +
        `fields ${names.join(", ")}`,
    );
  }
  const time = fields.time ?? names.find((name) => isTime(name, object[name]));
  const key = names.find((name) => name !== time && typeof object[name] === "string") ??
    names.find((name) => name !== time && textOfField(object[name]) !== null);
  fields.time = time;
  fields.key ??= key;
  file.areFieldsDecided = true;
}

/** Text lines are keyed by their first word, behind the time if they begin with one. */
function textEvent(file: EventFile, text: string, value: Uint8Array): DemoEvent {
  const { fields } = file;
  const wanted = fields.key ?? fields.time;
  if (wanted !== undefined) {
    throw usageError(
      `Cannot take ${JSON.stringify(wanted)} of the events in ${file.name}: the first line is no ` +
        "JSON object",
    );
  }
  const timestamp = timeOf(text);
  const rest = timestamp === undefined ? text : text.replace(timePattern, "");
  return { key: /[^\s,;]+/.exec(rest)?.[0] ?? null, value, timestamp };
}

function textOfField(value: unknown): string | null {
  if (typeof value === "string") return value;
  return typeof value === "number" || typeof value === "boolean" ? String(value) : null;
}

function isTime(name: string, value: unknown): boolean {
  return timeOf(value) !== undefined && (typeof value === "string" || timeNames.test(name));
}

/**
 * In milliseconds since the epoch. A text that names no zone is taken as UTC, so that every machine
 * finds the same.
 */
function timeOf(value: unknown): number | undefined {
  if (typeof value === "number") {
    if (isBetween(value, plausibleMs)) return Math.floor(value);
    return isBetween(value, plausibleSeconds) ? Math.floor(value * 1000) : undefined;
  }
  const parts = typeof value === "string" ? timePattern.exec(value) : null;
  if (parts === null) return undefined;
  const [, day, hour = "00", minute = "00", second = "00", fraction = "", zone = "Z"] = parts;
  const date = day!.replaceAll("/", "-");
  const seconds = `${second}.${fraction.padEnd(3, "0")}`;
  const time = Date.parse(`${date}T${hour}:${minute}:${seconds}Z`);
  // Some runtimes take February 30 as March 1.
  if (Number.isNaN(time) || new Date(time).toISOString().slice(0, 10) !== date) return undefined;
  const timestamp = time - zoneMs(zone);
  return timestamp >= 0 ? timestamp : undefined;
}

/** How far a zone such as +02:00 is ahead of UTC. */
function zoneMs(zone: string): number {
  if (zone === "Z") return 0;
  const minutes = Number(zone.slice(1, 3)) * 60 + Number(zone.slice(-2));
  return (zone.startsWith("-") ? -minutes : minutes) * 60_000;
}

function isBetween(value: number, [min, max]: readonly [number, number]): boolean {
  return value >= min && value < max;
}
