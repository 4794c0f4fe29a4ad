/**
 * The records of the metadata log, as values and as bytes (src/FORMAT.md, sections 5.1 and 5.2).
 * A metadata record's bytes are the value of a record in a data batch: frame version, api key,
 * version, fields. A control record's bytes are the key and the value of a record in a control
 * batch.
 *
 * 64-bit integers are safe integers here, ids are their text of 22 characters. A record that a
 * newer Kafka wrote is refused: to pass over it would be to forget something that the folder says.
 */

import { readInt16, readUnsignedVarint } from "../bytes/byte_reader.ts";
import { byteWriter, writeInt16, writeUnsignedVarint, writtenBytes } from "../bytes/byte_writer.ts";
import { OttlaError } from "../errors.ts";
import { decodeWhole } from "./decode_whole.ts";
import type { Fields, Message, MessageCodec, MessageOf } from "./metadata_record_codec.ts";
import { messageCodec, readMessage, writeMessage } from "./metadata_record_codec.ts";
import type { MessageSchema } from "./metadata_record_schemas.ts";
import { controlRecordSchemas, metadataRecordSchemas } from "./metadata_record_schemas.ts";

/** The version of the frame around a metadata record. */
const frameVersion = 1;

/** The version of a control record's key. */
const controlKeyVersion = 0;

type RecordsOf<Schemas extends Record<string, { readonly fields: Fields }>> = {
  [Type in keyof Schemas]:
    & { readonly type: Type; readonly version: number }
    & MessageOf<Schemas[Type]["fields"]>;
};

/** The name of a kind of metadata record, as Kafka writes it. */
export type MetadataRecordType = keyof typeof metadataRecordSchemas;

/** A metadata record of one kind: its type, its version and all of its fields. */
export type MetadataRecordOf<Type extends MetadataRecordType> = RecordsOf<
  typeof metadataRecordSchemas
>[Type];

/** A metadata record of any kind. */
export type MetadataRecord = MetadataRecordOf<MetadataRecordType>;

/** The name of a kind of control record of the metadata log, as Kafka writes it. */
export type ControlRecordType = keyof typeof controlRecordSchemas;

/** A control record of one kind: its type, its version and all of its fields. */
export type ControlRecordOf<Type extends ControlRecordType> = RecordsOf<
  typeof controlRecordSchemas
>[Type];

/** A control record of any kind. */
export type ControlRecord = ControlRecordOf<ControlRecordType>;

/** A row of a table, ready for use. */
interface RecordCodec<Type extends string> {
  readonly type: Type;
  readonly key: number;
  readonly versionMax: number;
  readonly message: MessageCodec;
}

const metadataCodecs = recordCodecs<MetadataRecordType>(metadataRecordSchemas);
const controlCodecs = recordCodecs<ControlRecordType>(controlRecordSchemas);

/**
 * Encodes a metadata record.
 *
 * @param record The record; fields that its version does not have must hold their defaults.
 * @returns The value of the log record that carries it.
 * @throws {RangeError} If a field does not fit the record's version or its type.
 */
export function encodeMetadataRecord(record: MetadataRecord): Uint8Array {
  const codec = codecOf(metadataCodecs, record);
  const writer = byteWriter(96);
  writeUnsignedVarint(writer, frameVersion);
  writeUnsignedVarint(writer, codec.key);
  writeUnsignedVarint(writer, record.version);
  writeMessage(writer, codec.message, record as Message, record.version);
  return writtenBytes(writer);
}

/**
 * Decodes a metadata record.
 *
 * @param value The value of the log record that carries it.
 * @returns The record.
 * @throws {OttlaError} UNSUPPORTED_VERSION if its kind or version is not known, CORRUPT_MESSAGE if
 *   its bytes are too few, too many, or contradict themselves.
 */
export function decodeMetadataRecord(value: Uint8Array): MetadataRecord {
  return decodeWhole("metadata record", value, (reader) => {
    const frame = readUnsignedVarint(reader);
    if (frame !== frameVersion) {
      throw newerKafka("metadata record", `frame version ${frame}`, { frameVersion: frame });
    }
    const apiKey = readUnsignedVarint(reader);
    const version = readUnsignedVarint(reader);
    const codec = metadataCodecs.byKey.get(apiKey);
    if (codec === undefined || version > codec.versionMax) {
      const name = codec === undefined ? "" : ` (${codec.type})`;
      const found = `api key ${apiKey}${name} version ${version}`;
      throw newerKafka("metadata record", found, { apiKey, version });
    }
    const message = readMessage(reader, codec.message, version);
    return { type: codec.type, version, ...message } as MetadataRecord;
  });
}

/**
 * Encodes the key of a control record.
 *
 * @param type The kind of control record.
 * @returns Four bytes.
 */
export function encodeControlKey(type: ControlRecordType): Uint8Array {
  const writer = byteWriter(4);
  writeInt16(writer, controlKeyVersion);
  writeInt16(writer, controlRecordSchemas[type].key);
  return writtenBytes(writer);
}

/**
 * Encodes the value of a control record.
 *
 * @param record The record; Kafka 4 writes version 0 of each.
 * @returns The value of the log record that carries it.
 * @throws {RangeError} If a field does not fit the record's version or its type.
 */
export function encodeControlRecord(record: ControlRecord): Uint8Array {
  const codec = codecOf(controlCodecs, record);
  const writer = byteWriter(64);
  writeInt16(writer, record.version);
  writeMessage(writer, codec.message, record as Message, record.version);
  return writtenBytes(writer);
}

/**
 * Decodes a control record of the metadata log.
 *
 * @param key The key of the log record that carries it.
 * @param value Its value.
 * @returns The record.
 * @throws {OttlaError} UNSUPPORTED_VERSION if its kind or version is not known, CORRUPT_MESSAGE if
 *   its bytes are too few, too many, or contradict themselves.
 */
export function decodeControlRecord(key: Uint8Array, value: Uint8Array): ControlRecord {
  const { keyVersion, controlType } = decodeWhole("control record key", key, (reader) => {
    return { keyVersion: readInt16(reader), controlType: readInt16(reader) };
  });
  const codec = controlCodecs.byKey.get(controlType);
  if (codec === undefined || keyVersion !== controlKeyVersion) {
    const found = `type ${controlType}, key version ${keyVersion}`;
    throw newerKafka("control record", found, { controlType, version: keyVersion });
  }
  return decodeWhole(codec.type, value, (reader) => {
    const version = readInt16(reader);
    if (version < 0 || version > codec.versionMax) {
      throw newerKafka(codec.type, `version ${version}`, { controlType, version });
    }
    const message = readMessage(reader, codec.message, version);
    return { type: codec.type, version, ...message } as ControlRecord;
  });
}

interface RecordCodecs<Type extends string> {
  readonly byKey: ReadonlyMap<number, RecordCodec<Type>>;
  readonly byType: ReadonlyMap<Type, RecordCodec<Type>>;
}

function recordCodecs<Type extends string>(
  schemas: Readonly<Record<Type, MessageSchema>>,
): RecordCodecs<Type> {
  const codecs = (Object.keys(schemas) as Type[]).map((type): RecordCodec<Type> => {
    const { key, versionMax, fields } = schemas[type];
    return { type, key, versionMax, message: messageCodec(fields) };
  });
  return {
    byKey: new Map(codecs.map((codec) => [codec.key, codec])),
    byType: new Map(codecs.map((codec) => [codec.type, codec])),
  };
}

function codecOf<Type extends string>(
  codecs: RecordCodecs<Type>,
  record: { readonly type: Type; readonly version: number },
): RecordCodec<Type> {
  const codec = codecs.byType.get(record.type);
  if (codec === undefined || !(record.version >= 0 && record.version <= codec.versionMax)) {
    throw new RangeError(`Cannot encode ${record.type} version ${record.version}: not known`);
  }
  return codec;
}

function newerKafka(
  what: string,
  found: string,
  details: Readonly<Record<string, number>>,
): OttlaError {
  return new OttlaError(
    "UNSUPPORTED_VERSION",
    `Cannot read ${what}: ${found} is not known, a newer Kafka wrote the folder`,
    { details },
  );
}
