/**
 * `quorum-state`: who last led the metadata log, in which epoch. One line of JSON in
 * `__cluster_metadata-0` (src/FORMAT.md, section 4.6); version 0 for a static quorum, version 1
 * for a dynamic one. Fields that are not known are passed over.
 */

import { findUuid, zeroUuid } from "../bytes/uuid.ts";
import { OttlaError } from "../errors.ts";

/** The file's name in the metadata log's folder. */
export const quorumStateName = "quorum-state";

/** What the file says. */
export interface QuorumState {
  /** Follows `kraft.version`. */
  readonly dataVersion: 0 | 1;
  /** The leader's node id, or -1. */
  readonly leaderId: number;
  readonly leaderEpoch: number;
  /** Whom the node voted for in this epoch, or -1. */
  readonly votedId: number;
  /** The directory of whom the node voted for; all zero in version 0. */
  readonly votedDirectoryId: string;
  /** The node ids of the voters; version 0 alone records them. */
  readonly currentVoters: readonly number[];
}

/**
 * Parses the content of `quorum-state`.
 *
 * @param bytes The whole file.
 * @param path Its name, for messages.
 * @returns What it says.
 * @throws {OttlaError} UNSUPPORTED_VERSION for a version above 1, STORE_INVALID if it is not as it
 *   should be.
 */
export function parseQuorumState(bytes: Uint8Array, path: string): QuorumState {
  const json = parseObject(bytes, path);
  const dataVersion = getInteger(json, "data_version", path);
  if (dataVersion !== 0 && dataVersion !== 1) {
    throw new OttlaError(
      "UNSUPPORTED_VERSION",
      `Cannot read ${path}: data_version ${dataVersion}, wanted 0 or 1`,
      { details: { path, version: dataVersion } },
    );
  }
  return {
    dataVersion,
    leaderId: getInteger(json, "leaderId", path),
    leaderEpoch: getInteger(json, "leaderEpoch", path),
    votedId: getInteger(json, "votedId", path),
    votedDirectoryId: dataVersion === 0 ? zeroUuid : getVotedDirectoryId(json, path),
    currentVoters: dataVersion === 0 ? getVoters(json, path) : [],
  };
}

/**
 * Prints `quorum-state`.
 *
 * @param state What it is to say.
 * @returns The whole file.
 */
export function printQuorumState(state: QuorumState): Uint8Array {
  const { dataVersion, leaderId, leaderEpoch, votedId, votedDirectoryId } = state;
  const currentVoters = state.currentVoters.map((voterId) => ({ voterId }));
  const fields = dataVersion === 0
    ? { clusterId: "", leaderId, leaderEpoch, votedId, appliedOffset: 0, currentVoters }
    : { leaderId, leaderEpoch, votedId, votedDirectoryId };
  return new TextEncoder().encode(JSON.stringify({ ...fields, data_version: dataVersion }));
}

function parseObject(bytes: Uint8Array, path: string): Readonly<Record<string, unknown>> {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder().decode(bytes));
  } catch (cause) {
    throw stateFault(path, "it is not JSON", cause);
  }
  if (isObject(json)) return json;
  throw stateFault(path, "it is not a JSON object");
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function getInteger(json: Readonly<Record<string, unknown>>, name: string, path: string): number {
  const value = json[name];
  // JSON has a zero with a minus; what comes out is the other one.
  if (typeof value === "number" && (value | 0) === value) return value | 0;
  throw stateFault(path, `${name} is ${JSON.stringify(value)}, wanted a whole number`);
}

function getVotedDirectoryId(json: Readonly<Record<string, unknown>>, path: string): string {
  const value = json["votedDirectoryId"];
  const uuid = typeof value === "string" ? findUuid(value) : undefined;
  if (uuid !== undefined) return uuid;
  throw stateFault(path, `votedDirectoryId is ${JSON.stringify(value)}, wanted 22 characters`);
}

function getVoters(json: Readonly<Record<string, unknown>>, path: string): number[] {
  const value = json["currentVoters"];
  if (!Array.isArray(value)) throw stateFault(path, "currentVoters is not an array");
  return value.map((voter: unknown) => {
    if (!isObject(voter)) throw stateFault(path, "a voter is not a JSON object");
    return getInteger(voter, "voterId", path);
  });
}

function stateFault(path: string, reason: string, cause?: unknown): OttlaError {
  const message = `Cannot read ${path}: ${reason}`;
  return new OttlaError("STORE_INVALID", message, { details: { path }, cause });
}
