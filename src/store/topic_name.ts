/**
 * The names of topics and of their partitions' folders: what is legal, what collides, and the one
 * place where folder names are made and parsed (src/FORMAT.md, section 2.2).
 */

import { OttlaError } from "../errors.ts";

/** How many characters a topic name may have. */
export const topicNameLengthMax = 249;

/** How many characters the name of a folder may have on the file systems that Kafka runs on. */
const folderNameLengthMax = 255;

/** The highest partition number, a signed 32-bit one. */
const partitionMax = 0x7fff_ffff;

/** The metadata log's own topic, which nobody can create; its folder is `__cluster_metadata-0`. */
export const metadataTopic = "__cluster_metadata";

/** The topics in which Kafka keeps its own state. */
const internalTopics: ReadonlySet<string> = new Set([
  "__consumer_offsets",
  "__transaction_state",
  "__share_group_state",
]);

/** What the name of a partition's folder says. */
export interface PartitionFolder {
  /** The topic; the beginning of its name if it was cut to fit into a "delete" or "stray" name. */
  readonly topic: string;
  /** The partition's number. */
  readonly partition: number;
  /** "live", or what its ending says is being done with it. */
  readonly state: "live" | "delete" | "future" | "stray";
}

/**
 * Checks that a topic may have this name.
 *
 * @param name 1 to 249 characters of `a-zA-Z0-9._-`, and not `.` or `..`.
 * @throws {OttlaError} INVALID_TOPIC_EXCEPTION if not.
 */
export function checkTopicName(name: string): void {
  const reason = findTopicNameFault(name);
  if (reason === undefined) return;
  // A name can be long or hold control characters: the message shows a printable beginning.
  const shown = JSON.stringify(name.length > 60 ? `${name.slice(0, 60)}...` : name);
  throw new OttlaError("INVALID_TOPIC_EXCEPTION", `Cannot name a topic ${shown}: ${reason}`, {
    details: { topic: name },
  });
}

/**
 * Tells whether a topic may have this name.
 *
 * @param name Any text.
 * @returns True if it may.
 */
export function isTopicName(name: string): boolean {
  return findTopicNameFault(name) === undefined;
}

/**
 * Gives the form in which two names collide: Kafka's metrics write `.` as `_`.
 *
 * @param name A topic's name.
 * @returns The name with every `.` replaced; names with the same form cannot both exist.
 */
export function collisionFormOf(name: string): string {
  return name.replaceAll(".", "_");
}

/**
 * Tells whether a topic is one of those in which Kafka keeps its own state.
 *
 * @param name A topic's name.
 * @returns True for `__consumer_offsets`, `__transaction_state` and `__share_group_state`.
 */
export function isInternalTopic(name: string): boolean {
  return internalTopics.has(name);
}

/**
 * Makes sure that a topic is the users' own to write to and to delete.
 *
 * @param name A topic's name.
 * @param action What is to be done, for the message.
 * @throws {OttlaError} INVALID_TOPIC_EXCEPTION if the state of groups or of transactions is kept in
 *   it.
 */
export function checkNotInternal(name: string, action: string): void {
  if (!internalTopics.has(name)) return;
  throw new OttlaError(
    "INVALID_TOPIC_EXCEPTION",
    `Cannot ${action} ${name}: the store keeps its own state in it`,
    { details: { topic: name } },
  );
}

/**
 * Makes the name of a partition's folder.
 *
 * @param topic The topic's name.
 * @param partition The partition's number.
 * @returns For example `orders-0`.
 */
export function partitionFolderName(topic: string, partition: number): string {
  return `${topic}-${partition}`;
}

/**
 * Makes the name that a partition's folder bears while it is being deleted, or when it is nobody's.
 *
 * @param topic The topic's name; its end is cut off if the whole would exceed 255 characters.
 * @param partition The partition's number.
 * @param uniqueId 32 hexadecimal digits.
 * @param state What becomes of the folder.
 * @returns For example `orders-3.<32 digits>-delete`.
 */
export function partitionFolderAsideName(
  topic: string,
  partition: number,
  uniqueId: string,
  state: "delete" | "stray",
): string {
  const ending = `-${partition}.${uniqueId}-${state}`;
  return topic.slice(0, folderNameLengthMax - ending.length) + ending;
}

/**
 * Reads the name of a partition's folder.
 *
 * @param name The folder's own name, without a path.
 * @returns Topic, partition and state.
 * @throws {OttlaError} STORE_INVALID if the name is not one that Kafka gives to a partition.
 */
export function parsePartitionFolderName(name: string): PartitionFolder {
  const ending = /^\S+-\S+\.\S+-(delete|future|stray)$/.exec(name)?.[1];
  const liveName = ending === undefined ? name : name.slice(0, name.lastIndexOf("."));
  const dash = liveName.lastIndexOf("-");
  const topic = liveName.slice(0, Math.max(dash, 0));
  const digits = liveName.slice(dash + 1);
  const isPartition = /^(0|[1-9]\d{0,9})$/.test(digits) && Number(digits) <= partitionMax;
  if (dash < 0 || !isPartition || !isTopicName(topic)) {
    throw new OttlaError(
      "STORE_INVALID",
      `Cannot read folder ${JSON.stringify(name)}: wanted a partition's name such as "orders-0"`,
      { details: { folder: name } },
    );
  }
  return {
    topic,
    partition: Number(digits),
    state: (ending ?? "live") as PartitionFolder["state"],
  };
}

function findTopicNameFault(name: string): string | undefined {
  if (name.length === 0) return "it is empty";
  if (name === "." || name === "..") return 'it is "." or ".."';
  if (name.length > topicNameLengthMax) {
    return `it has ${name.length} characters, the most is ${topicNameLengthMax}`;
  }
  if (!/^[a-zA-Z0-9._-]+$/.test(name)) return "only letters, digits, '.', '_' and '-' are allowed";
  return undefined;
}
