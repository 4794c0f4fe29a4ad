/**
 * The records of `__consumer_offsets`, as values and as bytes (src/FORMAT.md, sections 10.1 and
 * 10.2). A key is the number of its kind (int16) and fields; a value is its version (int16) and
 * fields. A record without a value takes back what the key stands for.
 *
 * 64-bit integers are safe integers here, ids of topics are their text of 22 characters.
 */

import { readInt16 } from "../bytes/byte_reader.ts";
import { byteWriter, writeInt16, writtenBytes } from "../bytes/byte_writer.ts";
import { OttlaError } from "../errors.ts";
import { decodeWhole } from "../store/decode_whole.ts";
import type { Message, MessageCodec, MessageOf } from "../store/metadata_record_codec.ts";
import { messageCodec, readMessage, writeMessage } from "../store/metadata_record_codec.ts";
import type { GroupRecordSchema } from "./group_record_schemas.ts";
import { groupRecordSchemas } from "./group_record_schemas.ts";

/** The topic that all records of groups are in. */
export const offsetsTopic = "__consumer_offsets";

type Schemas = typeof groupRecordSchemas;

/** The name of a kind of record, as Kafka writes it. */
export type GroupRecordType = keyof Schemas;

/** The key of a record of one kind. */
export type GroupKeyOf<Type extends GroupRecordType> = {
  [One in Type]: { readonly type: One } & MessageOf<Schemas[One]["key"]>;
}[Type];

/** The value of a record of one kind: its version and all of its fields. */
export type GroupValueOf<Type extends GroupRecordType> = {
  [One in Type]: { readonly version: number } & MessageOf<Schemas[One]["value"]>;
}[Type];

/** The key of a record of any kind that is known. */
export type GroupKey = GroupKeyOf<GroupRecordType>;

/** A record of one kind; null is a tombstone. */
export interface GroupRecordOf<Type extends GroupRecordType> {
  readonly key: GroupKeyOf<Type>;
  readonly value: GroupValueOf<Type> | null;
}

/** A record of any kind that is known. */
export type GroupRecord = { [Type in GroupRecordType]: GroupRecordOf<Type> }[GroupRecordType];

/** A record as it lies in a batch. */
export interface EncodedRecord {
  readonly key: Uint8Array;
  /** Null for a tombstone. */
  readonly value: Uint8Array | null;
}

/** A row of the table, ready for use. */
interface RecordCodec {
  readonly type: GroupRecordType;
  readonly number: number;
  readonly key: MessageCodec;
  readonly value: MessageCodec;
  readonly versionMax: number;
}

const keyVersion = 0;

/** With these begin the keys that stand for a group of another kind: of a queue, of streams. */
const foreignGroupNumbers: readonly number[] = [11, 17];
const codecs = new Map(
  Object.entries(groupRecordSchemas).map(([name, schema]) => {
    const codec = recordCodec(name as GroupRecordType, schema);
    return [codec.type, codec];
  }),
);
const codecsByNumber = new Map([...codecs.values()].map((codec) => [codec.number, codec]));
const groupKeyCodec = codecs.get("GroupMetadata")!.key;

/**
 * Encodes a record.
 *
 * @param record The record; fields that the version of its value does not have must hold their
 * defaults.
 * @returns Its key and value.
 * @throws RangeError if a field does not fit its type, such as a text of more than 32,767 bytes, or
 * the version is not known.
 */
export function encodeGroupRecord(record: GroupRecord): EncodedRecord {
  const { type } = record.key;
  return { key: encodeGroupKey(record.key), value: encodeValue(type, record.value) };
}

function encodeGroupKey(key: GroupKey): Uint8Array {
  const codec = codecs.get(key.type)!;
  const writer = byteWriter(96);
  writeInt16(writer, codec.number);
  writeMessage(writer, codec.key, key as Message, keyVersion);
  return writtenBytes(writer);
}

/**
 * Decodes the key of a record.
 *
 * @param bytes The key.
 * @returns The key, or undefined if it is of a kind that is not known, which is to be left alone.
 * @throws OttlaError `CORRUPT_MESSAGE` if its bytes are too few, too many, or contradict themselves.
 */
export function decodeGroupKey(bytes: Uint8Array): GroupKey | undefined {
  return decodeWhole("the key of a group's record", bytes, (reader) => {
    const codec = codecsByNumber.get(readInt16(reader));
    if (codec === undefined) {
      reader.position = reader.end;
      return undefined;
    }
    return { type: codec.type, ...readMessage(reader, codec.key, keyVersion) } as GroupKey;
  });
}

/**
 * Finds out which group of another kind a key stands for.
 *
 * @param bytes The key.
 * @returns The id of the group, or undefined if it stands for something else.
 * @throws OttlaError `CORRUPT_MESSAGE` as `decodeGroupKey`.
 */
export function findForeignGroupId(bytes: Uint8Array): string | undefined {
  return decodeWhole("the key of a group's record", bytes, (reader) => {
    if (foreignGroupNumbers.includes(readInt16(reader))) {
      return readMessage(reader, groupKeyCodec, keyVersion)["group"] as string;
    }
    reader.position = reader.end;
    return undefined;
  });
}

/**
 * Decodes the value of a record.
 *
 * @param type The kind of record, as its key says.
 * @param bytes The value.
 * @returns The value.
 * @throws OttlaError `UNSUPPORTED_VERSION` if its version is not known, `CORRUPT_MESSAGE` if its
 * bytes are too few, too many, or contradict themselves.
 */
export function decodeGroupValue<Type extends GroupRecordType>(
  type: Type,
  bytes: Uint8Array,
): GroupValueOf<Type> {
  const codec = codecs.get(type)!;
  return decodeWhole(`the value of ${type}`, bytes, (reader) => {
    const version = readInt16(reader);
    if (version < 0 || version > codec.versionMax) {
      throw new OttlaError(
        "UNSUPPORTED_VERSION",
        `Cannot read the value of ${type}: version ${version} is not known, versions up to ` +
          `${codec.versionMax} are`,
        { details: { type, version } },
      );
    }
    return { version, ...readMessage(reader, codec.value, version) } as GroupValueOf<Type>;
  });
}

function encodeValue(
  type: GroupRecordType,
  value: { readonly version: number } | null,
): Uint8Array | null {
  if (value === null) return null;
  const codec = codecs.get(type)!;
  const { version } = value;
  if (!(version >= 0 && version <= codec.versionMax)) {
    throw new RangeError(`Cannot encode the value of ${type}: version ${version} is not known`);
  }
  const writer = byteWriter(96);
  writeInt16(writer, version);
  writeMessage(writer, codec.value, value as unknown as Message, version);
  return writtenBytes(writer);
}

function recordCodec(type: GroupRecordType, schema: GroupRecordSchema): RecordCodec {
  const { number, versionMax, flexibleSince } = schema;
  return {
    type,
    number,
    key: messageCodec(schema.key, Infinity),
    value: messageCodec(schema.value, flexibleSince),
    versionMax,
  };
}
