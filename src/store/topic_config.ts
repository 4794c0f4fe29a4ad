/**
 * The configuration of a topic: ottla's options, and Kafka's names and text values for the same
 * (src/FORMAT.md, section 7). `topic_config_table.ts` has a row for each.
 *
 * Kafka's largest 64-bit integer, which stands for "never" and "no limit", is `Infinity` here, and
 * so is any value beyond what a number holds exactly. For retention, -1 means no limit, as in
 * Kafka.
 */

import { OttlaError } from "../errors.ts";
import { batchBytesMax } from "../limits.ts";
import type { ConfigRow, TopicConfig } from "./topic_config_table.ts";
import { configTable, longMax } from "./topic_config_table.ts";

export type { TopicConfig };

/** The settings that a caller may name, each as in `TopicConfig`. */
export type TopicConfigOptions =
  & { readonly [Name in keyof TopicConfig]?: Exclude<TopicConfig[Name], ""> }
  & {
    /** `retentionMs` in hours; -1: for ever. Not both. */
    readonly retentionHours?: number;
  };

/** Settings to be changed; null goes back to the default. */
export type TopicConfigChanges = {
  readonly [Name in keyof TopicConfigOptions]?: TopicConfigOptions[Name] | null;
};

/** One entry of a topic's configuration, as Kafka describes it. */
export interface ConfigDescription {
  /** Kafka's name. */
  readonly name: string;
  /** Kafka's text. */
  readonly value: string;
  /** Who says so: the topic, the brokers' configuration in the metadata log, or nobody. */
  readonly source: "topic" | "broker" | "default";
}

const rows = Object.entries(configTable) as [keyof TopicConfig, ConfigRow][];

/** Kafka's hidden entry by which its tests make segments smaller than `segment.bytes` allows. */
const internalSegmentBytes = "internal.segment.bytes";

/** What a new topic states even where it is the default, so that no broker's own deletes it. */
const explicitOptions: readonly (keyof TopicConfig)[] = [
  "cleanupPolicy",
  "retentionMs",
  "retentionBytes",
];

/**
 * Gives the entries of a new topic's configuration: what the options say, and always what decides
 * when records are deleted.
 *
 * @param options The caller's options.
 * @returns Kafka's text values by Kafka's names.
 * @throws {TypeError} If an option is unknown or of the wrong type.
 * @throws {OttlaError} INVALID_CONFIG if a value is outside of Kafka's range.
 */
export function configEntriesOf(options: TopicConfigOptions): Map<string, string> {
  const entries = new Map(
    explicitOptions.map((name) => [configTable[name].config, configTable[name].default]),
  );
  for (const [config, value] of configChangesOf(options)) {
    if (value !== null) entries.set(config, value);
  }
  checkTopicConfig(topicConfigOf(entries));
  return entries;
}

/**
 * Gives the entries that a change of options changes.
 *
 * @param changes The caller's options; null goes back to the default.
 * @returns Kafka's text values by Kafka's names; null where the entry is to be taken away.
 * @throws {TypeError} If an option is unknown or of the wrong type.
 * @throws {OttlaError} INVALID_CONFIG if a value is outside of Kafka's range. What they must fulfil
 *   together is for `checkTopicConfig`, of the settings as they will be.
 */
export function configChangesOf(changes: TopicConfigChanges): Map<string, string | null> {
  const entries = new Map<string, string | null>();
  for (const [name, value] of Object.entries(retentionInMs(changes))) {
    if (value === undefined) continue;
    if (!Object.hasOwn(configTable, name)) throw new TypeError(`Unknown topic option ${name}`);
    const option = name as keyof TopicConfig;
    const row = configTable[option];
    if (value !== null) entries.set(row.config, printOption(option, row, value));
    else entries.set(row.config, explicitOptions.includes(option) ? row.default : null);
  }
  return entries;
}

/**
 * Resolves a topic's configuration: its own entries, behind them the brokers', behind them Kafka's
 * defaults. Entries of names that are not known are passed over.
 *
 * @param entries The topic's entries, Kafka's text by Kafka's names.
 * @param brokerEntries The brokers' entries, by the brokers' names.
 * @returns Every setting.
 * @throws {OttlaError} INVALID_CONFIG if a value cannot be read or is outside of Kafka's range.
 */
export function topicConfigOf(
  entries: ReadonlyMap<string, string>,
  brokerEntries: ReadonlyMap<string, string> = new Map(),
): TopicConfig {
  const settings: Record<string, number | boolean | string> = {};
  for (const [option, row] of rows) {
    const text = entries.get(row.config) ?? brokerEntries.get(row.broker) ?? row.default;
    settings[option] = parseEntry(row, text);
  }
  const smallSegment = entries.get(internalSegmentBytes);
  if (smallSegment !== undefined) {
    settings["segmentBytes"] = parseEntry(
      { ...configTable.segmentBytes, config: internalSegmentBytes },
      smallSegment,
    );
  }
  // The table has a row for every setting, and each row's parser gives its type.
  return settings as unknown as TopicConfig;
}

/**
 * Checks what settings must fulfil together. Kafka does so when they are changed, not when a folder
 * is opened.
 *
 * @param config Every setting.
 * @throws {OttlaError} INVALID_CONFIG if they contradict each other.
 */
export function checkTopicConfig(config: TopicConfig): void {
  const { maxMessageBytes, minCompactionLagMs, maxCompactionLagMs } = config;
  if (maxMessageBytes > batchBytesMax) {
    const wanted = `at most ${batchBytesMax}, the largest batch that ottla reads`;
    throw invalidConfig(configTable.maxMessageBytes.config, `${maxMessageBytes}`, wanted);
  }
  if (minCompactionLagMs <= maxCompactionLagMs) return;
  const wanted = `at least min.compaction.lag.ms, ${minCompactionLagMs}`;
  throw invalidConfig(configTable.maxCompactionLagMs.config, `${maxCompactionLagMs}`, wanted);
}

/**
 * Describes a topic's configuration as Kafka's tools do.
 *
 * @param entries The topic's entries, Kafka's text by Kafka's names.
 * @param brokerEntries The brokers' entries, by the brokers' names.
 * @returns Every known entry in the table's order, then the topic's entries of other names.
 */
export function describeConfig(
  entries: ReadonlyMap<string, string>,
  brokerEntries: ReadonlyMap<string, string> = new Map(),
): ConfigDescription[] {
  const known = new Set(rows.map(([, row]) => row.config));
  const descriptions = rows.map(([, row]): ConfigDescription => {
    const name = row.config;
    const ofTopic = entries.get(name);
    if (ofTopic !== undefined) return { name, value: ofTopic, source: "topic" };
    const ofBroker = brokerEntries.get(row.broker);
    if (ofBroker !== undefined) return { name, value: ofBroker, source: "broker" };
    return { name, value: row.default, source: "default" };
  });
  for (const [name, value] of entries) {
    if (!known.has(name)) descriptions.push({ name, value, source: "topic" });
  }
  return descriptions;
}

/** The same options with `retentionHours` turned into `retentionMs`. */
function retentionInMs(changes: TopicConfigChanges): TopicConfigChanges {
  const { retentionHours, ...others } = changes;
  if (retentionHours === undefined) return others;
  if (others.retentionMs !== undefined) {
    throw new TypeError("Wanted retentionHours or retentionMs, found both");
  }
  if (retentionHours === null) return { ...others, retentionMs: null };
  if (typeof retentionHours !== "number" || Number.isNaN(retentionHours)) {
    throw wrongType("retentionHours", retentionHours, "a number");
  }
  if (retentionHours < 0 && retentionHours !== -1) {
    throw invalidConfig("retentionHours", `${retentionHours}`, "-1 or more");
  }
  const retentionMs = retentionHours === -1 ? -1 : Math.round(retentionHours * 3_600_000);
  return { ...others, retentionMs };
}

/** Checks an option's type, then its range, and prints it for Kafka. */
function printOption(option: string, row: ConfigRow, value: unknown): string {
  switch (row.kind) {
    case "boolean":
      if (typeof value !== "boolean") throw wrongType(option, value, "a boolean");
      return String(value);
    case "choice":
    case "policy":
      if (typeof value !== "string") throw wrongType(option, value, "a string");
      if (value === "") throw invalidConfig(row.config, value, wantedOf(row));
      return String(parseEntry(row, value));
    case "double":
      if (typeof value !== "number" || Number.isNaN(value)) {
        throw wrongType(option, value, "a number");
      }
      return String(checkRange(row, value, row.min, String(value)));
    case "int":
    case "long":
      if (typeof value !== "number" || (!Number.isInteger(value) && Math.abs(value) !== Infinity)) {
        throw wrongType(option, value, "a whole number");
      }
      checkRange(row, value, row.min, String(value));
      if (value === Infinity) return longMax;
      // Beyond this a number is no longer the one that was written.
      if (!Number.isSafeInteger(value)) throw invalidConfig(row.config, `${value}`, wantedOf(row));
      return String(value);
  }
}

/** Parses Kafka's text as Kafka does, spaces around it allowed. */
function parseEntry(row: ConfigRow, text: string): number | boolean | string {
  const value = text.trim();
  switch (row.kind) {
    case "boolean":
      if (!/^(true|false)$/i.test(value)) throw invalidConfig(row.config, text, wantedOf(row));
      return value.toLowerCase() === "true";
    case "choice":
      if (!row.choices?.includes(value)) throw invalidConfig(row.config, text, wantedOf(row));
      return value;
    case "policy":
      return parsePolicy(row, value);
    case "double":
      if (!/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(value)) {
        throw invalidConfig(row.config, text, wantedOf(row));
      }
      return checkRange(row, Number(value), row.min, text);
    case "int":
    case "long": {
      const isLong = /^[+-]?\d{1,19}$/.test(value) &&
        BigInt.asIntN(64, BigInt(value)) === BigInt(value);
      if (!isLong) throw invalidConfig(row.config, text, wantedOf(row));
      const number = Number(value);
      const rounded = number > Number.MAX_SAFE_INTEGER ? Infinity : number;
      return checkRange(row, rounded, row.minRead ?? row.min, text);
    }
  }
}

function parsePolicy(row: ConfigRow, value: string): string {
  const policies = value === "" ? [] : value.split(/\s*,\s*/);
  for (const policy of policies) {
    if (policy !== "compact" && policy !== "delete") {
      throw invalidConfig(row.config, value, wantedOf(row));
    }
  }
  return [...new Set(policies)].sort().join(",");
}

function checkRange(row: ConfigRow, value: number, min: number | undefined, text: string): number {
  const isInRange = value >= (min ?? -Infinity) && value <= (row.max ?? Infinity);
  if (isInRange || value === row.also) return value;
  throw invalidConfig(row.config, text, wantedOf(row));
}

function wantedOf(row: ConfigRow): string {
  if (row.kind === "boolean") return "true or false";
  if (row.kind === "policy") return '"delete", "compact" or "compact,delete"';
  if (row.choices !== undefined) return `one of ${row.choices.join(", ")}`;
  const also = row.also === undefined ? "" : `, or ${row.also}`;
  return `a${row.kind === "double" ? "" : " whole"} number from ${row.min} to ` +
    `${row.max ?? longMax}${also}`;
}

function wrongType(option: string, value: unknown, wanted: string): TypeError {
  const found = typeof value === "number" ? String(value) : typeof value;
  return new TypeError(`Topic option ${option} must be ${wanted}, found ${found}`);
}

function invalidConfig(config: string, found: string, wanted: string): OttlaError {
  const message = `Cannot set ${config} to ${JSON.stringify(found)}: wanted ${wanted}`;
  return new OttlaError("INVALID_CONFIG", message, { details: { config, found } });
}
