/**
 * Metadata records under fuzz: what is encoded is decoded, and any other bytes are refused in
 * order.
 */

import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { uuidOfBytes } from "../../src/bytes/uuid.ts";
import { isOttlaError } from "../../src/errors.ts";
import { metadataImage } from "../../src/store/metadata_image.ts";
import type {
  Field,
  Fields,
  FieldType,
  PrimitiveType,
} from "../../src/store/metadata_record_codec.ts";
import type { MessageSchema } from "../../src/store/metadata_record_schemas.ts";
import {
  controlRecordSchemas,
  metadataRecordSchemas,
} from "../../src/store/metadata_record_schemas.ts";
import type { ControlRecord, MetadataRecord } from "../../src/store/metadata_records.ts";
import {
  decodeControlRecord,
  decodeMetadataRecord,
  encodeControlKey,
  encodeControlRecord,
  encodeMetadataRecord,
} from "../../src/store/metadata_records.ts";
import { applyRecord, finishReplay } from "../../src/store/metadata_replay.ts";
import { assertProperty } from "../support/properties.ts";

/** Any character but a lone surrogate, which UTF-8 does not have. */
const character = fc.nat(0x10ffff)
  .filter((code) => code < 0xd800 || code > 0xdfff)
  .map((code) => String.fromCodePoint(code));

/** Values of a type, as the table of fields gives them. */
function valueArbitrary(type: FieldType, version: number): fc.Arbitrary<unknown> {
  if (typeof type === "object") {
    return isArray(type)
      ? fc.array(valueArbitrary(type[0], version), { maxLength: 5 })
      : fieldsArbitrary(type, version);
  }
  switch (type) {
    case "bool":
      return fc.boolean();
    case "int8":
      return fc.integer({ min: -0x80, max: 0x7f });
    case "int16":
      return fc.integer({ min: -0x8000, max: 0x7fff });
    case "uint16":
      return fc.integer({ min: 0, max: 0xffff });
    case "int32":
      return fc.integer();
    case "int64":
      return fc.maxSafeInteger();
    case "float64":
      return fc.double();
    case "string":
      return fc.string({ unit: character, maxLength: 300 });
    case "bytes":
      return fc.uint8Array().map((bytes) => new Uint8Array(bytes));
    case "uuid":
      return fc.uint8Array({ minLength: 16, maxLength: 16 }).map(uuidOfBytes);
  }
}

function isArray(type: FieldType): type is readonly [PrimitiveType | Fields] {
  return Array.isArray(type);
}

function fieldArbitrary(field: Field, version: number): fc.Arbitrary<unknown> {
  if (version < (field.since ?? 0)) return fc.constant(field.default);
  const value = valueArbitrary(field.type, version);
  const choices = field.nullable === true ? [value, fc.constant(null)] : [value];
  if (field.default !== undefined) choices.push(fc.constant(field.default));
  return fc.oneof(...choices);
}

function fieldsArbitrary(fields: Fields, version: number): fc.Arbitrary<unknown> {
  const model: Record<string, fc.Arbitrary<unknown>> = {};
  for (const [name, field] of Object.entries(fields)) model[name] = fieldArbitrary(field, version);
  return fc.record(model, { noNullPrototype: true });
}

/** Records of all kinds and versions of a table. */
function recordArbitrary(schemas: Readonly<Record<string, MessageSchema>>): fc.Arbitrary<unknown> {
  const kinds = Object.entries(schemas).flatMap(([type, { versionMax, fields }]) => {
    return Array.from({ length: versionMax + 1 }, (_, version) => {
      return fieldsArbitrary(fields, version).map((message) => {
        return { type, version, ...(message as object) };
      });
    });
  });
  return fc.oneof(...kinds);
}

const metadataRecords = recordArbitrary(metadataRecordSchemas) as fc.Arbitrary<MetadataRecord>;
const controlRecords = recordArbitrary(controlRecordSchemas) as fc.Arbitrary<ControlRecord>;

/**
 * What a decoder may do with bytes: give a record that can be encoded, or refuse them by an
 * OttlaError.
 */
function assertRecordOrRefusal(decode: () => unknown, encode: (record: never) => Uint8Array): void {
  let record;
  try {
    record = decode();
  } catch (error) {
    const isRefusal = isOttlaError(error, "CORRUPT_MESSAGE") ||
      isOttlaError(error, "UNSUPPORTED_VERSION");
    assert.equal(isRefusal, true, String(error));
    return;
  }
  assert.equal(encode(record as never).length > 0, true);
}

test("every metadata record decodes as it was encoded", () => {
  assertProperty(
    fc.property(metadataRecords, (record) => {
      assert.deepEqual(decodeMetadataRecord(encodeMetadataRecord(record)), record);
    }),
    { numRuns: 1000 },
  );
});

test("every control record decodes as it was encoded", () => {
  assertProperty(
    fc.property(controlRecords, (record) => {
      const key = encodeControlKey(record.type);
      assert.deepEqual(decodeControlRecord(key, encodeControlRecord(record)), record);
    }),
    { numRuns: 300 },
  );
});

test("random bytes give a record or a refusal", () => {
  const framed = fc.tuple(fc.nat(30), fc.nat(4), fc.uint8Array({ maxLength: 60 }))
    .map(([key, version, body]) => Uint8Array.from([1, key, version, ...body]));
  assertProperty(
    fc.property(fc.oneof(fc.uint8Array(), framed), (bytes) => {
      assertRecordOrRefusal(() => decodeMetadataRecord(bytes), encodeMetadataRecord);
    }),
    { numRuns: 3000 },
  );
});

test("records with changed, cut and added bytes give a record or a refusal", () => {
  const changes = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 });
  assertProperty(
    fc.property(metadataRecords, changes, fc.integer({ min: -3, max: 3 }), (record, list, more) => {
      const encoded = encodeMetadataRecord(record);
      const bytes = new Uint8Array(Math.max(encoded.length + more, 0));
      bytes.set(encoded.subarray(0, bytes.length));
      for (const [place, byte] of list) bytes[place % bytes.length] = byte;
      assertRecordOrRefusal(() => decodeMetadataRecord(bytes), encodeMetadataRecord);
    }),
    { numRuns: 3000 },
  );
});

test("replaying any records in any order gives a state or refuses what breaks a rule", () => {
  assertProperty(fc.property(fc.array(metadataRecords, { maxLength: 30 }), (records) => {
    const image = metadataImage();
    for (const record of records) {
      try {
        applyRecord(image, record);
      } catch (error) {
        const isRefusal = isOttlaError(error, "STORE_INVALID") ||
          isOttlaError(error, "UNSUPPORTED_VERSION");
        assert.equal(isRefusal, true, String(error));
      }
    }
    finishReplay(image);
    assert.equal(image.openTransaction, undefined);
    assert.equal(image.topicsByName.size, image.topicsById.size);
  }));
});

test("random control records give a record or a refusal", () => {
  const type = fc.nat(7).map((number) => Uint8Array.from([0, 0, 0, number]));
  assertProperty(fc.property(type, fc.uint8Array({ maxLength: 60 }), (key, body) => {
    const value = Uint8Array.from([0, 0, ...body]);
    assertRecordOrRefusal(() => decodeControlRecord(key, value), encodeControlRecord);
  }));
});
