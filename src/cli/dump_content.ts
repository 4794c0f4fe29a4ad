/** What the key and the value of a record say, for a line of a dump and for its JSON. */

import { byteReader, readInt16, readInt32 } from "../bytes/byte_reader.ts";
import { decodeGroupKey, decodeGroupValue } from "../coordinator/group_records.ts";
import { isOttlaError } from "../errors.ts";
import { decodeControlRecord, decodeMetadataRecord } from "../store/metadata_records.ts";
import { messageOf } from "./command.ts";
import { contentField, textOf } from "./content_json.ts";
import { groupKeyJson, groupValueJson } from "./group_json.ts";
import { controlRecordJson, metadataRecordJson } from "./metadata_json.ts";
import type { Json } from "./metadata_json.ts";

/** The content of a record. */
export interface DumpedContent {
  /** What follows in its line: empty, or with a space in front. */
  readonly text: string;
  /** What follows in its JSON. */
  readonly fields: { readonly [name: string]: Json };
  /** Whether it could not be decoded. */
  readonly isDamaged: boolean;
}

const noBytes = new Uint8Array(0);
const abortType = 0;
const commitType = 1;

/**
 * A record of a user: its key and its value as text.
 *
 * @param key Its key.
 * @param value Its value.
 * @returns Its content; what is null has no text.
 */
export function plainContent(key: Uint8Array | null, value: Uint8Array | null): DumpedContent {
  const keyText = key === null ? "" : ` key: ${textOf(key)}`;
  const valueText = value === null ? "" : ` payload: ${textOf(value)}`;
  const fields = { ...contentField("key", key), ...contentField("value", value) };
  return { text: keyText + valueText, fields, isDamaged: false };
}

/**
 * A record of the metadata log: its value as JSON.
 *
 * @param value Its value.
 * @returns Its content.
 */
export function metadataContent(value: Uint8Array | null): DumpedContent {
  try {
    const metadata = metadataRecordJson(decodeMetadataRecord(value ?? noBytes));
    const text = ` payload: ${JSON.stringify(metadata)}`;
    return { text, fields: { metadata }, isDamaged: false };
  } catch (error) {
    if (!isOttlaError(error)) throw error;
    const message = messageOf(error);
    return { text: ` (${message})`, fields: { error: message }, isDamaged: true };
  }
}

/**
 * A record of `__consumer_offsets`: its key and its value as JSON.
 *
 * @param key Its key.
 * @param value Its value; null takes back what the key stands for.
 * @param offset Its offset, for the message.
 * @returns Its content; a kind that is not known is named by its number and is no damage.
 */
export function groupContent(
  key: Uint8Array | null,
  value: Uint8Array | null,
  offset: number,
): DumpedContent {
  try {
    const groupKey = decodeGroupKey(key ?? noBytes);
    if (groupKey === undefined) {
      const kind = readInt16(byteReader(key ?? noBytes));
      const message = `Unknown record type ${kind} at offset ${offset}, skipping.`;
      return { text: ` key: ${message}`, fields: { error: message }, isDamaged: false };
    }
    const { type } = groupKey;
    const fields = {
      key: groupKeyJson(groupKey),
      value: value === null ? null : groupValueJson(type, decodeGroupValue(type, value)),
    };
    const payload = fields.value === null ? "<DELETE>" : JSON.stringify(fields.value);
    const text = ` key: ${JSON.stringify(fields.key)} payload: ${payload}`;
    return { text, fields, isDamaged: false };
  } catch (error) {
    if (!isOttlaError(error)) throw error;
    const message = messageOf(error);
    return { text: ` (${message})`, fields: { error: message }, isDamaged: true };
  }
}

/**
 * A record of a control batch: what it marks.
 *
 * @param key Its key, which holds the kind.
 * @param value Its value.
 * @returns Its content; a kind that is not known is named by its number.
 */
export function controlContent(key: Uint8Array | null, value: Uint8Array | null): DumpedContent {
  let controlType = -1;
  try {
    controlType = readSecondInt16(key ?? noBytes);
    if (controlType === abortType || controlType === commitType) {
      return endMarkerContent(controlType, value ?? noBytes);
    }
    const record = decodeControlRecord(key ?? noBytes, value ?? noBytes);
    const { title, name, data } = controlRecordJson(record);
    const text = ` ${title} ${JSON.stringify(data)}`;
    return { text, fields: { [name]: data }, isDamaged: false };
  } catch (error) {
    if (!isOttlaError(error) && !(error instanceof RangeError)) throw error;
    const text = ` controlType: UNKNOWN(${controlType})`;
    return { text, fields: { controlType }, isDamaged: false };
  }
}

function endMarkerContent(controlType: number, value: Uint8Array): DumpedContent {
  const reader = byteReader(value);
  readInt16(reader);
  const coordinatorEpoch = readInt32(reader);
  const endTxnMarker = controlType === abortType ? "ABORT" : "COMMIT";
  const text = ` endTxnMarker: ${endTxnMarker} coordinatorEpoch: ${coordinatorEpoch}`;
  return { text, fields: { endTxnMarker, coordinatorEpoch }, isDamaged: false };
}

/** The key of a control record is its version and its kind. */
function readSecondInt16(key: Uint8Array): number {
  const reader = byteReader(key);
  readInt16(reader);
  return readInt16(reader);
}
