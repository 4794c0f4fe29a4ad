/**
 * Settings of a topic on the command line: `--config name=value`, by Kafka's names or by ours, with
 * Kafka's values.
 */

import { configTable } from "../store/topic_config_table.ts";
import { topicConfigOf } from "../store/topic_config.ts";
import type { TopicConfigOptions } from "../store/topic_config.ts";
import { usageError } from "./command.ts";

type ConfigName = keyof typeof configTable;

const namesOfKafka: ReadonlyMap<string, ConfigName> = new Map(
  (Object.keys(configTable) as ConfigName[]).map((name) => [configTable[name].config, name]),
);

/**
 * Reads settings.
 *
 * @param texts For example `retention.ms=1000`, `retentionMs=1000` or `retentionHours=2`.
 * @returns The settings, as `createTopic` and `alterTopic` take them.
 * @throws Error If one has no value or names no setting; OttlaError `INVALID_CONFIG` if its value
 * is none of Kafka's.
 */
export function parseConfigs(texts: readonly string[]): TopicConfigOptions {
  const options: Record<string, unknown> = {};
  for (const text of texts) {
    const end = text.indexOf("=");
    if (end < 1) throw usageError(`--config takes name=value, got ${JSON.stringify(text)}`);
    const name = text.slice(0, end);
    const value = text.slice(end + 1);
    if (name === "retentionHours") {
      options[name] = Number(value === "" ? NaN : value);
      continue;
    }
    const option = findConfigName(name);
    options[option] = topicConfigOf(new Map([[configTable[option].config, value]]))[option];
  }
  // `createTopic` and `alterTopic` check what they get, whatever its type is here.
  return options;
}

/**
 * Finds the setting that a name stands for.
 *
 * @param name Kafka's name or ours.
 * @returns Our name.
 * @throws Error If it names no setting.
 */
export function findConfigName(name: string): ConfigName {
  const found = namesOfKafka.get(name) ??
    (Object.hasOwn(configTable, name) ? name as ConfigName : undefined);
  if (found !== undefined) return found;
  throw usageError(`There is no topic setting ${JSON.stringify(name)}`);
}
