/** Topics with types: a name, and serdes for keys and values. */

import { isOttlaError, OttlaError } from "../errors.ts";
import type { Content } from "../record/record.ts";
import type { StoreInternals, TopicState } from "../store/store.ts";
import { checkObject } from "../store/store_options.ts";
import type { Serde } from "./serde.ts";
import { msgpack } from "./serde.ts";

/** A topic whose keys and values have types. */
export interface Topic<K = Uint8Array | null, V = Uint8Array | null> {
  readonly name: string;
  readonly key: Serde<NonNullable<K>> | undefined;
  readonly value: Serde<NonNullable<V>> | undefined;
}

/** A topic as functions take it: its name for bytes, or with types. */
export type TopicArgument<K = unknown, V = unknown> = string | Topic<K, V>;

/** The half of a serde that writes, whatever type it is for. */
export type Serializer = Pick<Serde<never>, "name" | "serialize">;

/**
 * Gives a topic types.
 *
 * @param name The topic's name.
 * @param serdes One for keys and one for values; MessagePack where none is given.
 * @returns What the functions that read and write take in place of the name.
 * @throws TypeError if an argument is of the wrong kind.
 * @example
 * ```ts
 * import { append, closeStore, createTopic, json, openStore, topicOf, utf8 } from "ottla";
 * const orders = topicOf<string, { amount: number }>("orders", { key: utf8, value: json() });
 * const store = await openStore(":memory:");
 * await createTopic(store, orders.name);
 * await append(store, orders, { key: "ann", value: { amount: 3 } });
 * await closeStore(store);
 * ```
 */
export function topicOf<K = unknown, V = unknown>(
  name: string,
  serdes: {
    readonly key?: Serde<NonNullable<K>>;
    readonly value?: Serde<NonNullable<V>>;
  } = {},
): Topic<K | null, V | null> {
  if (typeof name !== "string") throw new TypeError(`name must be a string, got ${typeof name}`);
  checkObject("serdes", serdes);
  checkSerde("key", serdes.key);
  checkSerde("value", serdes.value);
  return {
    name,
    key: serdes.key ?? msgpack<NonNullable<K>>(),
    value: serdes.value ?? msgpack<NonNullable<V>>(),
  };
}

function checkSerde(what: "key" | "value", serde: unknown): void {
  if (serde === undefined) return;
  const isSerde = typeof serde === "object" && serde !== null &&
    "serialize" in serde && typeof serde.serialize === "function" &&
    "deserialize" in serde && typeof serde.deserialize === "function";
  if (!isSerde) throw new TypeError(`${what} must be a serde with serialize() and deserialize()`);
}

/**
 * The name of a topic that a caller gave.
 *
 * @param topic A name or a topic with types.
 * @returns The name.
 * @throws TypeError if it is neither.
 */
export function nameOfTopic(topic: TopicArgument): string {
  if (typeof topic === "string") return topic;
  if (typeof topic === "object" && topic !== null && typeof topic.name === "string") {
    return topic.name;
  }
  throw new TypeError("topic must be a topic's name or what topicOf() returned");
}

/**
 * What those get who were reading or waiting when their topic was deleted: its logs were closed,
 * the store was not.
 *
 * @param store The inside of a store.
 * @param topic The topic.
 * @param error What they would get.
 * @returns `UNKNOWN_TOPIC_OR_PARTITION` in place of `HANDLE_CLOSED`; any other error as it is.
 */
export function asTopicDeleted(store: StoreInternals, topic: TopicState, error: unknown): unknown {
  const isDeleted = store.state === "open" && isOttlaError(error, "HANDLE_CLOSED");
  if (!isDeleted) return error;
  return new OttlaError(
    "UNKNOWN_TOPIC_OR_PARTITION",
    `Cannot use topic ${JSON.stringify(topic.name)}: it was deleted`,
    { cause: error, details: { topic: topic.name } },
  );
}

/**
 * The bytes or text that a key or value is stored as.
 *
 * @param what "key" or "value", for messages.
 * @param content What a caller gave.
 * @param serde The topic's serde, if it has one.
 * @returns Bytes, text to be stored as UTF-8, or null.
 * @throws TypeError for an object where the topic has no serde, and whatever the serde throws.
 */
export function contentOf(
  what: "key" | "value",
  content: unknown,
  serde: Serializer | undefined,
): Content {
  if (content === null || content === undefined) return null;
  if (serde !== undefined) return contentBySerde(what, content, serde);
  if (content instanceof Uint8Array || typeof content === "string") return content;
  throw new TypeError(
    `${what} must be a Uint8Array, a string or null, got ${typeof content}; for other values give a ` +
      "topic with serdes: topicOf(name, { key, value })",
  );
}

function contentBySerde(what: "key" | "value", content: unknown, serde: Serializer): Uint8Array {
  const stored: unknown = serde.serialize(content as never);
  if (stored instanceof Uint8Array) return stored;
  throw new TypeError(`the serde ${serde.name} made ${typeof stored} of a ${what}, not bytes`);
}
