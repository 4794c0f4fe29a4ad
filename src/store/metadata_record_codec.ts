/**
 * Kafka's flexible message encoding, driven by a table of fields (src/FORMAT.md, section 5.2).
 *
 *     message       := field* tagged-fields          fields of the version, in the table's order
 *     tagged-fields := uvarint count, tagged-field*  tags ascending, defaults left out
 *     tagged-field  := uvarint tag, uvarint size, field
 *     string, bytes := uvarint size + 1, bytes       0 stands for null
 *     array         := uvarint count + 1, element*   0 stands for null
 *     struct        := message
 *
 * Whatever is wrong with the bytes is a `RangeError`; who calls knows what was being read and says
 * so. Tags that the table does not know are skipped, as Kafka does.
 */

import { bytesOfUuid, uuidBytes, uuidOfBytes } from "../bytes/uuid.ts";
import type { ByteReader } from "../bytes/byte_reader.ts";
import {
  readBytes,
  readFloat64,
  readInt16,
  readInt32,
  readInt64,
  readInt8,
  readUint16,
  readUnsignedVarint,
  remainingBytes,
} from "../bytes/byte_reader.ts";
import type { ByteWriter } from "../bytes/byte_writer.ts";
import {
  byteWriter,
  writeBytes,
  writeFloat64,
  writeInt16,
  writeInt32,
  writeInt64,
  writeInt8,
  writeUint16,
  writeUnsignedVarint,
  writtenBytes,
} from "../bytes/byte_writer.ts";

/** The most bytes that a string may have; Kafka refuses a longer one when it reads. */
const stringBytesMax = 0x7fff;

/** A type without parts: a `uuid` is its text, 22 characters; an `int64` is a safe integer. */
export type PrimitiveType =
  | "bool"
  | "int8"
  | "int16"
  | "uint16"
  | "int32"
  | "int64"
  | "float64"
  | "string"
  | "bytes"
  | "uuid";

/** A primitive type, an array (its element's type in brackets) or a struct (its fields). */
export type FieldType = PrimitiveType | readonly [PrimitiveType | Fields] | Fields;

/** One row of a table of fields. */
export interface Field {
  readonly type: FieldType;
  /** The first version of the message that has the field; 0 if left out. */
  readonly since?: number;
  /** The field's tag, if it is a tagged one. */
  readonly tag?: number;
  /** Whether null is allowed. */
  readonly nullable?: true;
  /** The value where the field is absent; wanted for every field with `since` or `tag`. */
  readonly default?: number | boolean | string | null | readonly [];
}

/** The fields of a message or struct, in Kafka's order. */
export interface Fields {
  readonly [name: string]: Field;
}

/** What a field of a type holds. */
export type ValueOf<Type> = Type extends "bool" ? boolean
  : Type extends "string" | "uuid" ? string
  : Type extends "bytes" ? Uint8Array
  : Type extends PrimitiveType ? number
  : Type extends readonly [infer Element] ? readonly ValueOf<Element>[]
  : Type extends Fields ? MessageOf<Type>
  : never;

/** What a message with these fields holds: all of them, whatever its version. */
export type MessageOf<Table extends Fields> = {
  readonly [Name in keyof Table]: Table[Name] extends { readonly nullable: true }
    ? ValueOf<Table[Name]["type"]> | null
    : ValueOf<Table[Name]["type"]>;
};

/** Any value of any field. */
type Value = boolean | number | string | Uint8Array | null | readonly Value[] | Message;

/** Any message. */
export interface Message {
  readonly [name: string]: Value;
}

/** A table of fields made ready: its rows apart by how they are written. */
export interface MessageCodec {
  /** In the table's order. */
  readonly inline: readonly FieldCodec[];
  /** By ascending tag. */
  readonly tagged: readonly FieldCodec[];
  /** What a message holds before anything is read. */
  readonly defaults: Message;
}

interface FieldCodec {
  readonly name: string;
  readonly type: TypeCodec;
  readonly since: number;
  readonly tag: number;
  readonly nullable: boolean;
  readonly default: Value;
}

type TypeCodec = PrimitiveType | { readonly element: TypeCodec } | {
  readonly struct: MessageCodec;
};

const integerRanges = {
  int8: [-0x80, 0x7f],
  int16: [-0x8000, 0x7fff],
  uint16: [0, 0xffff],
  int32: [-0x8000_0000, 0x7fff_ffff],
  int64: [Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
} as const;

/**
 * Makes a table of fields ready for encoding and decoding.
 *
 * @param fields The table.
 * @returns Its codec.
 */
export function messageCodec(fields: Fields): MessageCodec {
  const all = Object.entries(fields).map(([name, field]): FieldCodec => {
    return {
      name,
      type: typeCodec(field.type),
      since: field.since ?? 0,
      tag: field.tag ?? -1,
      nullable: field.nullable ?? false,
      default: field.default ?? null,
    };
  });
  return {
    inline: all.filter((field) => field.tag < 0),
    tagged: all.filter((field) => field.tag >= 0).sort((a, b) => a.tag - b.tag),
    defaults: Object.fromEntries(all.map((field) => [field.name, field.default])),
  };
}

/**
 * Writes a message.
 *
 * @param writer Where to.
 * @param codec What it is made of.
 * @param message All of its fields.
 * @param version The message's version; a field that it does not have must hold its default.
 * @throws {RangeError} If a value does not fit its field.
 */
export function writeMessage(
  writer: ByteWriter,
  codec: MessageCodec,
  message: Message,
  version: number,
): void {
  for (const field of codec.inline) {
    const value = fieldValue(field, message);
    if (version >= field.since) writeField(writer, field, value, version);
    else if (!isDefault(field, value)) throw unsupportedField(field, version);
  }
  const present = codec.tagged.filter((field) => !isDefault(field, fieldValue(field, message)));
  writeUnsignedVarint(writer, present.length);
  for (const field of present) {
    if (version < field.since) throw unsupportedField(field, version);
    const content = byteWriter(64);
    writeField(content, field, fieldValue(field, message), version);
    writeUnsignedVarint(writer, field.tag);
    writeUnsignedVarint(writer, content.position);
    writeBytes(writer, writtenBytes(content));
  }
}

/**
 * Reads a message.
 *
 * @param reader Where from.
 * @param codec What it is made of.
 * @param version The message's version.
 * @returns All of its fields; those that the bytes do not have hold their default.
 * @throws {RangeError} If the bytes are too few or contradict themselves.
 */
export function readMessage(reader: ByteReader, codec: MessageCodec, version: number): Message {
  const message: Record<string, Value> = { ...codec.defaults };
  for (const field of codec.inline) {
    if (version >= field.since) message[field.name] = readField(reader, field, version);
  }
  const taggedCount = readUnsignedVarint(reader);
  let previousTag = -1;
  for (let index = 0; index < taggedCount; index += 1) {
    const tag = readUnsignedVarint(reader);
    if (tag <= previousTag) throw new RangeError(`tag ${tag} comes after tag ${previousTag}`);
    previousTag = tag;
    const sizeBytes = readUnsignedVarint(reader);
    const content = readBytes(reader, sizeBytes);
    const field = codec.tagged.find((one) => one.tag === tag && version >= one.since);
    if (field === undefined) continue;
    const start = reader.position - sizeBytes;
    reader.position = start;
    message[field.name] = readField(reader, field, version);
    if (reader.position !== start + content.length) {
      const usedBytes = reader.position - start;
      throw new RangeError(`${field.name} has ${usedBytes} bytes, its tag says ${sizeBytes}`);
    }
  }
  return message;
}

function typeCodec(type: FieldType): TypeCodec {
  if (typeof type === "string") return type;
  if (isArrayType(type)) return { element: typeCodec(type[0]) };
  return { struct: messageCodec(type) };
}

function isArrayType(type: FieldType): type is readonly [PrimitiveType | Fields] {
  return Array.isArray(type);
}

function fieldValue(field: FieldCodec, message: Message): Value {
  const value = message[field.name];
  if (value === undefined) throw new RangeError(`${field.name} is missing`);
  return value;
}

function isDefault(field: FieldCodec, value: Value): boolean {
  if (Array.isArray(value) && Array.isArray(field.default)) return value.length === 0;
  return value === field.default;
}

function unsupportedField(field: FieldCodec, version: number): RangeError {
  return new RangeError(`${field.name} exists since version ${field.since}, not in ${version}`);
}

function writeField(writer: ByteWriter, field: FieldCodec, value: Value, version: number): void {
  if (value === null) {
    if (!field.nullable) throw new RangeError(`${field.name} is null`);
    writeUnsignedVarint(writer, 0);
  } else {
    writeValue(writer, field.name, field.type, value, version);
  }
}

function writeValue(
  writer: ByteWriter,
  name: string,
  type: TypeCodec,
  value: Value,
  version: number,
): void {
  if (typeof type === "object") {
    if ("struct" in type) return writeMessage(writer, type.struct, value as Message, version);
    const elements = value as readonly Value[];
    writeUnsignedVarint(writer, elements.length + 1);
    for (const element of elements) writeValue(writer, name, type.element, element, version);
    return;
  }
  switch (type) {
    case "bool":
      return writeInt8(writer, value === true ? 1 : 0);
    case "int8":
      return writeInt8(writer, checkInteger(name, type, value));
    case "int16":
      return writeInt16(writer, checkInteger(name, type, value));
    case "uint16":
      return writeUint16(writer, checkInteger(name, type, value));
    case "int32":
      return writeInt32(writer, checkInteger(name, type, value));
    case "int64":
      return writeInt64(writer, checkInteger(name, type, value));
    case "float64":
      return writeFloat64(writer, value as number);
    case "uuid":
      return writeBytes(writer, bytesOfUuid(value as string));
    case "string":
      return writeSized(writer, checkStringSize(name, new TextEncoder().encode(value as string)));
    case "bytes":
      return writeSized(writer, value as Uint8Array);
  }
}

function writeSized(writer: ByteWriter, bytes: Uint8Array): void {
  writeUnsignedVarint(writer, bytes.length + 1);
  writeBytes(writer, bytes);
}

function checkInteger(name: string, type: keyof typeof integerRanges, value: Value): number {
  const [min, max] = integerRanges[type];
  if (Number.isInteger(value) && (value as number) >= min && (value as number) <= max) {
    return value as number;
  }
  throw new RangeError(`${name} is ${String(value)}, not an ${type}`);
}

function checkStringSize(name: string, bytes: Uint8Array): Uint8Array {
  if (bytes.length <= stringBytesMax) return bytes;
  throw new RangeError(`${name} has ${bytes.length} bytes, the most is ${stringBytesMax}`);
}

function readField(reader: ByteReader, field: FieldCodec, version: number): Value {
  const value = readValue(reader, field.name, field.type, version);
  if (value === null && !field.nullable) throw new RangeError(`${field.name} is null`);
  return value;
}

function readValue(reader: ByteReader, name: string, type: TypeCodec, version: number): Value {
  if (typeof type === "object") {
    if ("struct" in type) return readMessage(reader, type.struct, version);
    return readArray(reader, name, type.element, version);
  }
  switch (type) {
    case "bool":
      return readInt8(reader) !== 0;
    case "int8":
      return readInt8(reader);
    case "int16":
      return readInt16(reader);
    case "uint16":
      return readUint16(reader);
    case "int32":
      return readInt32(reader);
    case "int64":
      return readInt64(reader);
    case "float64":
      return readFloat64(reader);
    case "uuid":
      return uuidOfBytes(readBytes(reader, uuidBytes));
    case "string": {
      const bytes = readSized(reader);
      return bytes === null ? null : decodeText(name, checkStringSize(name, bytes));
    }
    case "bytes":
      return readSized(reader)?.slice() ?? null;
  }
}

function readSized(reader: ByteReader): Uint8Array | null {
  const sizePlusOne = readUnsignedVarint(reader);
  return sizePlusOne === 0 ? null : readBytes(reader, sizePlusOne - 1);
}

function readArray(
  reader: ByteReader,
  name: string,
  element: TypeCodec,
  version: number,
): readonly Value[] | null {
  const countPlusOne = readUnsignedVarint(reader);
  if (countPlusOne === 0) return null;
  const count = countPlusOne - 1;
  // No element is smaller than a byte, so this bounds the loop before it starts.
  if (count > remainingBytes(reader)) {
    throw new RangeError(
      `${name} has ${count} elements, but ${remainingBytes(reader)} bytes follow`,
    );
  }
  const values: Value[] = [];
  for (let index = 0; index < count; index += 1) {
    const value = readValue(reader, name, element, version);
    if (value === null) throw new RangeError(`${name} has a null element`);
    values.push(value);
  }
  return values;
}

function decodeText(name: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new RangeError(`${name} is not UTF-8`);
  }
}
