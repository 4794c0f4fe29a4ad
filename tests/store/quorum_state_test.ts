/** quorum-state in both of its versions. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { zeroUuid } from "../../src/bytes/uuid.ts";
import { isOttlaError } from "../../src/errors.ts";
import type { QuorumState } from "../../src/store/quorum_state.ts";
import { parseQuorumState, printQuorumState } from "../../src/store/quorum_state.ts";

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

const version0 = '{"clusterId":"","leaderId":1,"leaderEpoch":7,"votedId":-1,"appliedOffset":0,' +
  '"currentVoters":[{"voterId":1}],"data_version":0}';
const version1 = '{"leaderId":1,"leaderEpoch":7,"votedId":-1,' +
  '"votedDirectoryId":"AAAAAAAAAAAAAAAAAAAAAA","data_version":1}';
const state: QuorumState = {
  dataVersion: 0,
  leaderId: 1,
  leaderEpoch: 7,
  votedId: -1,
  votedDirectoryId: zeroUuid,
  currentVoters: [1],
};

test("version 0 is printed and read", () => {
  assert.equal(new TextDecoder().decode(printQuorumState(state)), version0);
  assert.deepEqual(parseQuorumState(bytesOf(version0), "q"), state);
});

test("version 1 is printed and read", () => {
  const dynamic: QuorumState = { ...state, dataVersion: 1, currentVoters: [] };
  assert.equal(new TextDecoder().decode(printQuorumState(dynamic)), version1);
  assert.deepEqual(parseQuorumState(bytesOf(version1), "q"), dynamic);
});

test("fields that are not known are passed over", () => {
  const text = version0.replace("{", '{"later":[],');
  assert.deepEqual(parseQuorumState(bytesOf(text), "q"), state);
});

test("a zero with a minus is zero", () => {
  const text = version0.replace('"votedId":-1', '"votedId":-0');
  assert.deepEqual(parseQuorumState(bytesOf(text), "q"), { ...state, votedId: 0 });
});

test("a newer version is refused", () => {
  assert.throws(
    () => parseQuorumState(bytesOf(version1.replace(":1}", ":2}")), "q"),
    (error) => isOttlaError(error, "UNSUPPORTED_VERSION"),
  );
});

test("a malformed file is refused with STORE_INVALID", () => {
  const texts = [
    "",
    "null",
    "[]",
    "{}",
    version0.slice(0, 40),
    version0.replace('"leaderId":1,', ""),
    version0.replace('"leaderEpoch":7', '"leaderEpoch":"7"'),
    version0.replace('"leaderEpoch":7', '"leaderEpoch":2147483648'),
    version0.replace('[{"voterId":1}]', "null"),
    version0.replace('[{"voterId":1}]', "[1]"),
    version1.replace("AAAAAAAAAAAAAAAAAAAAAA", "short"),
    version1.replace('"votedDirectoryId":"AAAAAAAAAAAAAAAAAAAAAA",', ""),
  ];
  for (const text of texts) {
    assert.throws(
      () => parseQuorumState(bytesOf(text), "q"),
      (error) => isOttlaError(error, "STORE_INVALID"),
      text,
    );
  }
});
