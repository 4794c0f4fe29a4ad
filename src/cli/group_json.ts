/**
 * The records of `__consumer_offsets` as the JSON that Kafka's dump tool prints with
 * `--offsets-decoder`: a key is `{ type, data }`, a value `{ version, data }`. What members of
 * consumers subscribed to and what they were assigned is decoded too, as far as it can be.
 */

import { byteReader, readInt16 } from "../bytes/byte_reader.ts";
import { groupRecordSchemas } from "../coordinator/group_record_schemas.ts";
import type { GroupKey, GroupRecordType, GroupValueOf } from "../coordinator/group_records.ts";
import { messageCodec, readMessage } from "../store/metadata_record_codec.ts";
import type { Fields } from "../store/metadata_record_codec.ts";
import { messageJson } from "./metadata_json.ts";
import type { Json } from "./metadata_json.ts";

type MetadataValue = GroupValueOf<"GroupMetadata">;

/** From this kind on Kafka has another name for the id of a group. */
const groupIdSince = 3;

const partitionsOfTopics = {
  type: [{ topic: { type: "string" }, partitions: { type: ["int32"] } }],
} as const;

/** What a member subscribes to, in the older encoding. */
const subscriptionFields: Fields = {
  topics: { type: ["string"] },
  userData: { type: "bytes", nullable: true },
  ownedPartitions: { ...partitionsOfTopics, since: 1, default: [] },
  generationId: { type: "int32", since: 2, default: -1 },
  rackId: { type: "string", since: 3, nullable: true, default: null },
};
/** What a member was assigned, likewise. */
const assignmentFields: Fields = {
  assignedPartitions: partitionsOfTopics,
  userData: { type: "bytes", nullable: true },
};
const protocolVersionMax = 3;

/**
 * A key as `{ type, data }`.
 *
 * @param key The key.
 * @returns That; the type is the number of its kind, as text.
 */
export function groupKeyJson(key: GroupKey): { readonly [name: string]: Json } {
  const { number, key: fields } = groupRecordSchemas[key.type];
  const { group, ...others } = messageJson(fields, key, 0);
  const id = number >= groupIdSince ? { groupId: group! } : { group: group! };
  return { type: String(number), data: { ...id, ...others } };
}

/**
 * A value as `{ version, data }`.
 *
 * @param type The kind of record.
 * @param value The value.
 * @returns That; the version is text.
 */
export function groupValueJson<Type extends GroupRecordType>(
  type: Type,
  value: GroupValueOf<Type>,
): { readonly [name: string]: Json } {
  const { version } = value;
  const shown = type === "GroupMetadata" ? shownMetadata(value as MetadataValue) : value;
  const data = messageJson(groupRecordSchemas[type].value, shown, version);
  return { version: String(version), data: withKafkaNames(data) };
}

/** One field has another name here, as a record has a version of its own. */
function withKafkaNames(
  data: { readonly [name: string]: Json },
): { readonly [name: string]: Json } {
  return Object.fromEntries(
    Object.entries(data).map(([name, one]) => [name === "imageVersion" ? "version" : name, one]),
  );
}

function shownMetadata(value: MetadataValue): object {
  if (value.protocolType !== "consumer") return value;
  const members = value.members.map((member) => ({
    ...member,
    subscription: shownBytes(subscriptionFields, member.subscription),
    assignment: shownBytes(assignmentFields, member.assignment),
  }));
  return { ...value, members };
}

/** What a member's bytes say, or the bytes themselves if that cannot be told. */
function shownBytes(fields: Fields, bytes: Uint8Array): Json | Uint8Array {
  try {
    const reader = byteReader(bytes);
    const version = readInt16(reader);
    if (version < 0 || version > protocolVersionMax) return bytes;
    return messageJson(
      fields,
      readMessage(reader, messageCodec(fields, Infinity), version),
      version,
    );
  } catch (error) {
    if (error instanceof RangeError) return bytes;
    throw error;
  }
}
