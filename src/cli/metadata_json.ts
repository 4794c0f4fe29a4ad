/**
 * Metadata records and control records as the JSON that Kafka's tools print: the fields of the
 * record's version, in the schema's order, tagged ones only where they are not their default.
 */

import type { Field, Fields, FieldType } from "../store/metadata_record_codec.ts";
import { controlRecordSchemas, metadataRecordSchemas } from "../store/metadata_record_schemas.ts";
import type { ControlRecord, MetadataRecord } from "../store/metadata_records.ts";
import { base64Of } from "./content_json.ts";

/** Anything that JSON can hold. */
export type Json = null | boolean | number | string | readonly Json[] | {
  readonly [name: string]: Json;
};

/** How Kafka's dump tool introduces each kind of control record, and a name for a field. */
const controlTitles: Readonly<Record<ControlRecord["type"], readonly [string, string]>> = {
  LeaderChangeMessage: ["LeaderChange:", "leaderChange"],
  SnapshotHeaderRecord: ["SnapshotHeader", "snapshotHeader"],
  SnapshotFooterRecord: ["SnapshotFooter", "snapshotFooter"],
  KRaftVersionRecord: ["KRaftVersion", "kraftVersion"],
  VotersRecord: ["KRaftVoters", "kraftVoters"],
};

/**
 * A metadata record as `{ type, version, data }`.
 *
 * @param record The record.
 * @returns The same as JSON, its type as Kafka spells it, such as `TOPIC_RECORD`.
 */
export function metadataRecordJson(
  record: MetadataRecord,
): { readonly type: string; readonly version: number; readonly data: Json } {
  const { fields } = metadataRecordSchemas[record.type];
  return {
    type: record.type.replace(/([a-z])([A-Z])/g, "$1_$2").toUpperCase(),
    version: record.version,
    data: messageJson(fields, record, record.version),
  };
}

/**
 * A control record as `{ version, … }`.
 *
 * @param record The record.
 * @returns That, the word that Kafka's dump tool puts before it, and a name for a field that holds
 * it.
 */
export function controlRecordJson(
  record: ControlRecord,
): { readonly title: string; readonly name: string; readonly data: Json } {
  const { fields } = controlRecordSchemas[record.type];
  const data = { version: record.version, ...messageJson(fields, record, record.version) };
  const [title, name] = controlTitles[record.type];
  return { title, name, data };
}

/**
 * A message as JSON.
 *
 * @param fields What it is made of.
 * @param message Its values; what is there for bytes may be JSON already.
 * @param version Its version.
 * @returns The fields that this version has.
 */
export function messageJson(
  fields: Fields,
  message: object,
  version: number,
): { readonly [name: string]: Json } {
  const values = new Map<string, unknown>(Object.entries(message));
  const entries = Object.entries(fields)
    .filter(([name, field]) => isPresent(field, values.get(name), version))
    .map(([name, { type }]) => [name, valueJson(type, values.get(name), version)] as const);
  return Object.fromEntries(entries);
}

function isPresent(field: Field, value: unknown, version: number): boolean {
  if (version < (field.since ?? 0) || version > (field.until ?? Infinity)) return false;
  if (field.tag === undefined) return true;
  return !(Array.isArray(field.default) && Array.isArray(value)
    ? value.length === 0
    : value === field.default);
}

function valueJson(type: FieldType, value: unknown, version: number): Json {
  if (value === null || typeof type === "string") {
    return value instanceof Uint8Array ? base64Of(value) : value as Json;
  }
  if (isArrayType(type)) {
    return (value as readonly unknown[]).map((one) => valueJson(type[0], one, version));
  }
  return messageJson(type, value as object, version);
}

function isArrayType(type: FieldType): type is Extract<FieldType, readonly unknown[]> {
  return Array.isArray(type);
}
