/**
 * What the program sends that is killed in the middle of it, and what must be left of that.
 */
import { committedOffsets } from "../../mod.ts";
import type { AppendRecord, Store } from "../../mod.ts";
import { readAll } from "./compare_records.ts";

/** How much is sent, and to where. Every partition gets as many records in a round. */
export const producedPlan = {
  topic: "killed",
  groupId: "killed-with-it",
  partitionCount: 3,
  producerCount: 3,
  /** By each producer to each partition. */
  roundRecords: 20,
} as const;

/** The record that a producer sends. */
export function makeProducedRecord(
  producer: number,
  round: number,
  place: number,
): AppendRecord {
  const { partitionCount, roundRecords } = producedPlan;
  const number = round * roundRecords + Math.floor(place / partitionCount);
  return {
    key: `producer ${producer}`,
    value: `${number} `.padEnd(60 + number % 50, "abcdef"),
    partition: place % partitionCount,
  };
}

/**
 * Finds what is missing, twice there, or in the wrong order after the program was killed.
 *
 * @param store The store, open again.
 * @param rounds How many rounds the program had acknowledged and committed.
 * @returns One line a difference.
 */
export async function compareProduced(store: Store, rounds: number): Promise<string[]> {
  const { topic, groupId, partitionCount, producerCount, roundRecords } = producedPlan;
  const committed = await committedOffsets(store, groupId);
  const differences: string[] = [];
  for (let partition = 0; partition < partitionCount; partition++) {
    const where = `${topic}-${partition}`;
    const counts = new Map<string, number>();
    const records = await readAll(store, topic, partition);
    for (const { key, value, offset } of records) {
      const producer = textOf(key);
      const wanted = counts.get(producer) ?? 0;
      const found = Number.parseInt(textOf(value), 10);
      if (found !== wanted) {
        differences.push(`${where} offset ${offset}: ${producer} ${found}, expected ${wanted}`);
      }
      counts.set(producer, wanted + 1);
    }
    for (const [producer, count] of counts) {
      if (count >= rounds * roundRecords) continue;
      const wanted = `acknowledged ${rounds * roundRecords}`;
      differences.push(`${where} ${producer}: ${count} records, ${wanted}`);
    }
    const offset = committed.find((entry) => entry.partition === partition)?.offset ?? -1;
    const wantedOffset = rounds * producerCount * roundRecords;
    if (offset < wantedOffset || offset > records.length) {
      const range = `${wantedOffset} to ${records.length}`;
      differences.push(`${where}: ${groupId} committed ${offset}, expected ${range}`);
    }
  }
  return differences;
}

function textOf(content: Uint8Array | null): string {
  return new TextDecoder().decode(content ?? undefined);
}
