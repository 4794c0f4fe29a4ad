/**
 * Kafka's message encoding, driven by a table of fields (src/FORMAT.md, sections 5.2 and 10.1).
 * This is the flexible one:
 *
 *     message       := field* tagged-fields          fields of the version, in the table's order
 *     tagged-fields := uvarint count, tagged-field*  tags ascending, defaults left out
 *     tagged-field  := uvarint tag, uvarint size, field
 *     string, bytes := uvarint size + 1, bytes       0 stands for null
 *     array         := uvarint count + 1, element*   0 stands for null
 *     struct        := message                       a byte before it where null is allowed
 *
 * In the older one, of the coordinators, there are no tagged fields, a string begins with its size
 * as an int16, bytes and arrays with theirs as an int32, and -1 stands for null.
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
  /** The last version of the message that has the field; none is if left out. */
  readonly until?: number;
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
  /** The first version in the flexible encoding. */
  readonly flexibleSince: number;
  /** What a message holds before anything is read. */
  readonly defaults: Message;
}

interface FieldCodec {
  readonly name: string;
  readonly type: TypeCodec;
  readonly since: number;
  readonly until: number;
  readonly tag: number;
  readonly nullable: boolean;
  readonly default: Value;
}

type TypeCodec = PrimitiveType | { readonly element: TypeCodec } | {
  readonly struct: MessageCodec;
};

/** How all parts of one message are written. */
interface Encoding {
  readonly version: number;
  readonly isFlexible: boolean;
}

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
 * @param flexibleSince The first version in the flexible encoding; Infinity if there is none.
 * @returns Its codec.
 */
export function messageCodec(fields: Fields, flexibleSince = 0): MessageCodec {
  const all = Object.entries(fields).map(([name, field]): FieldCodec => {
    return {
      name,
      type: typeCodec(field.type),
      since: field.since ?? 0,
      until: field.until ?? Infinity,
      tag: field.tag ?? -1,
      nullable: field.nullable ?? false,
      default: field.default ?? null,
    };
  });
  return {
    inline: all.filter((field) => field.tag < 0),
    tagged: all.filter((field) => field.tag >= 0).sort((a, b) => a.tag - b.tag),
    flexibleSince,
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
  const encoding = { version, isFlexible: version >= codec.flexibleSince };
  writeStruct(writer, codec, message, encoding);
}

function writeStruct(
  writer: ByteWriter,
  codec: MessageCodec,
  message: Message,
  encoding: Encoding,
): void {
  const { version, isFlexible } = encoding;
  for (const field of codec.inline) {
    const value = fieldValue(field, message);
    if (hasField(field, version)) writeField(writer, field, value, encoding);
    else if (!isDefault(field, value)) throw unsupportedField(field, version);
  }
  const present = codec.tagged.filter((field) => !isDefault(field, fieldValue(field, message)));
  if (isFlexible) writeUnsignedVarint(writer, present.length);
  for (const field of present) {
    if (!hasField(field, version) || !isFlexible) throw unsupportedField(field, version);
    const content = byteWriter(64);
    writeField(content, field, fieldValue(field, message), encoding);
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
  return readStruct(reader, codec, { version, isFlexible: version >= codec.flexibleSince });
}

function readStruct(reader: ByteReader, codec: MessageCodec, encoding: Encoding): Message {
  const { version, isFlexible } = encoding;
  const message: Record<string, Value> = { ...codec.defaults };
  for (const field of codec.inline) {
    if (hasField(field, version)) message[field.name] = readField(reader, field, encoding);
  }
  if (!isFlexible) return message;
  const taggedCount = readUnsignedVarint(reader);
  let previousTag = -1;
  for (let index = 0; index < taggedCount; index += 1) {
    const tag = readUnsignedVarint(reader);
    if (tag <= previousTag) throw new RangeError(`tag ${tag} comes after tag ${previousTag}`);
    previousTag = tag;
    const sizeBytes = readUnsignedVarint(reader);
    const content = readBytes(reader, sizeBytes);
    const field = codec.tagged.find((one) => one.tag === tag && hasField(one, version));
    if (field === undefined) continue;
    const start = reader.position - sizeBytes;
    reader.position = start;
    message[field.name] = readField(reader, field, encoding);
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

function hasField({ since, until }: FieldCodec, version: number): boolean {
  return version >= since && version <= until;
}

function unsupportedField({ name, since, until }: FieldCodec, version: number): RangeError {
  const range = until === Infinity ? `since version ${since}` : `in versions ${since} to ${until}`;
  return new RangeError(`${name} exists ${range}, not in ${version}`);
}

function writeField(
  writer: ByteWriter,
  field: FieldCodec,
  value: Value,
  encoding: Encoding,
): void {
  const { name, type, nullable } = field;
  if (value === null && !nullable) throw new RangeError(`${name} is null`);
  if (nullable && isStructType(type)) writeInt8(writer, value === null ? -1 : 1);
  else if (value === null) writeCount(writer, type, -1, encoding);
  if (value !== null) writeValue(writer, name, type, value, encoding);
}

function writeValue(
  writer: ByteWriter,
  name: string,
  type: TypeCodec,
  value: Value,
  encoding: Encoding,
): void {
  if (typeof type === "object") {
    if ("struct" in type) return writeStruct(writer, type.struct, value as Message, encoding);
    const elements = value as readonly Value[];
    writeCount(writer, type, elements.length, encoding);
    for (const element of elements) writeValue(writer, name, type.element, element, encoding);
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
    case "string": {
      const bytes = checkStringSize(name, new TextEncoder().encode(value as string));
      writeCount(writer, type, bytes.length, encoding);
      return writeBytes(writer, bytes);
    }
    case "bytes":
      writeCount(writer, type, (value as Uint8Array).length, encoding);
      return writeBytes(writer, value as Uint8Array);
  }
}

/** Writes a size or a count; -1 stands for null. */
function writeCount(writer: ByteWriter, type: TypeCodec, count: number, form: Encoding): void {
  if (form.isFlexible) writeUnsignedVarint(writer, count + 1);
  else if (type === "string") writeInt16(writer, count);
  else writeInt32(writer, count);
}

function isStructType(type: TypeCodec): boolean {
  return typeof type === "object" && "struct" in type;
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

function readField(reader: ByteReader, field: FieldCodec, encoding: Encoding): Value {
  if (field.nullable && isStructType(field.type) && readInt8(reader) < 0) return null;
  const value = readValue(reader, field.name, field.type, encoding);
  if (value === null && !field.nullable) throw new RangeError(`${field.name} is null`);
  return value;
}

function readValue(
  reader: ByteReader,
  name: string,
  type: TypeCodec,
  encoding: Encoding,
): Value {
  if (typeof type === "object") {
    if ("struct" in type) return readStruct(reader, type.struct, encoding);
    return readArray(reader, name, type, encoding);
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
      const bytes = readSized(reader, type, encoding);
      return bytes === null ? null : decodeText(name, checkStringSize(name, bytes));
    }
    case "bytes":
      return readSized(reader, type, encoding)?.slice() ?? null;
  }
}

function readSized(reader: ByteReader, type: TypeCodec, encoding: Encoding): Uint8Array | null {
  const size = readCount(reader, type, encoding);
  return size < 0 ? null : readBytes(reader, size);
}

/** Reads a size or a count; a negative one stands for null. */
function readCount(reader: ByteReader, type: TypeCodec, { isFlexible }: Encoding): number {
  if (isFlexible) return readUnsignedVarint(reader) - 1;
  return type === "string" ? readInt16(reader) : readInt32(reader);
}

function readArray(
  reader: ByteReader,
  name: string,
  type: { readonly element: TypeCodec },
  encoding: Encoding,
): readonly Value[] | null {
  const count = readCount(reader, type, encoding);
  if (count < 0) return null;
  // No element is smaller than a byte, so this bounds the loop before it starts.
  const left = remainingBytes(reader);
  if (count > left) throw new RangeError(`${name} has ${count} elements, but ${left} bytes follow`);
  const values: Value[] = [];
  for (let index = 0; index < count; index += 1) {
    const value = readValue(reader, name, type.element, encoding);
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
