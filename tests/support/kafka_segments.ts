/** The segments that Apache Kafka itself wrote, in `tests/fixtures`. */

import { readdirSync, readFileSync } from "node:fs";

const fixtures = "tests/fixtures/kafka_4_1_1";

/** A segment of Kafka's. */
export interface KafkaSegment {
  /** From the project root, without the suffix of a file. */
  readonly path: string;
  /** The file with a suffix, or no bytes if there is none. */
  readonly read: (suffix: "log" | "index" | "timeindex") => Uint8Array;
}

/**
 * All segments that hold batches.
 *
 * @returns The segments, in a steady order.
 */
export function kafkaSegments(): KafkaSegment[] {
  const names = readdirSync(fixtures, { recursive: true }).map(String)
    .filter((name) => /\d{20}\.log$/.test(name)).sort();
  return names.map((name) => {
    const path = `${fixtures}/${name.replaceAll("\\", "/")}`.replace(/\.log$/, "");
    const read: KafkaSegment["read"] = (suffix) => {
      try {
        return new Uint8Array(readFileSync(`${path}.${suffix}`));
      } catch {
        return new Uint8Array(0);
      }
    };
    return { path, read };
  }).filter(({ read }) => read("log").length > 0);
}
