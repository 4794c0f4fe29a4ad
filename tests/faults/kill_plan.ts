/** What the program that is killed and the test that kills it agree upon. */

import type { StoreOptions } from "../../mod.ts";

/** Records of all kinds of appends; read by a group. */
export const ordersTopic = "orders";
/** One record a key is kept. */
export const latestTopic = "latest";
/** Reads the orders. */
export const groupId = "readers";
export const ordersPartitions = 4;
/** The partition of the orders whose old records are deleted. */
export const deletedPartition = 3;
export const latestKeys = 5;
/** What a topic that comes and goes is called, with its number behind it. */
export const passingPrefix = "passing-";

/** Small segments, so that a life of a few milliseconds rolls some. */
export const killStoreOptions: StoreOptions = {
  topicOverrides: { segmentBytes: 8_192, indexIntervalBytes: 512 },
};

/**
 * Something that was acknowledged, a line of JSON each:
 *
 * - `open`: the store is.
 * - `record`: where a record of the orders is, and its id.
 * - `latest`: the number that a key has.
 * - `commit`: what the group has committed of a partition.
 * - `start`: where the partition begins whose old records are deleted.
 * - `topic`: whether a topic is there.
 * - `failed`: what must not happen.
 */
export type Acknowledgement =
  | readonly ["open"]
  | readonly ["record", partition: number, offset: number, id: string]
  | readonly ["latest", key: number, value: number]
  | readonly ["commit", partition: number, offset: number]
  | readonly ["start", offset: number]
  | readonly ["topic", number: number, isThere: boolean]
  | readonly ["failed", message: string];

/** Which record of the orders it is. */
export interface OrderId {
  /** The life of the program, and the part of it that appends. */
  readonly stream: string;
  readonly partition: number;
  /** Counts the records of the stream in the partition. */
  readonly number: number;
  readonly sizeBytes: number;
}

/** The text of an id. */
export function printOrderId({ stream, partition, number, sizeBytes }: OrderId): string {
  return `${stream}/${partition}/${number}/${sizeBytes}`;
}

/** The value of a record: its id, then letters that only it has in this order. */
export function makeOrder(id: OrderId): string {
  const text = printOrderId(id) + ";";
  const letter = (index: number): string => String.fromCharCode(97 + (id.number + index * 7) % 26);
  return text + Array.from({ length: id.sizeBytes }, (_, index) => letter(index)).join("");
}

/** Reads the id out of a value, which must be that of its id to the last letter. */
export function parseOrder(value: string): OrderId {
  const [stream = "", partition, number, sizeBytes] = value.slice(0, value.indexOf(";")).split("/");
  const id = {
    stream,
    partition: Number(partition),
    number: Number(number),
    sizeBytes: Number(sizeBytes),
  };
  if (value !== makeOrder(id)) throw new Error(`it is no order: ${value.slice(0, 100)}`);
  return id;
}
