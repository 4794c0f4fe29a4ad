/** Consumers that handle jobs and chores as group `workers`, and what they have committed. */

import { openConsumer } from "../../src/client/consumer.ts";
import type { ConsumerOptions } from "../../src/client/consumer_options.ts";
import type { Consumer } from "../../src/client/consumer_state.ts";
import { committedOffsets } from "../../src/client/groups.ts";
import type { Store } from "../../src/store/store.ts";

/** Opens a consumer of topics `jobs` and `chores`, from their beginning unless told otherwise. */
export function worker(store: Store, options: Partial<ConsumerOptions> = {}): Promise<Consumer> {
  return openConsumer(store, {
    groupId: "workers",
    topics: ["jobs", "chores"],
    autoOffsetReset: "earliest",
    ...options,
  });
}

/** What is committed of a partition of `jobs`. */
export async function committed(store: Store, partition = 0): Promise<number | undefined> {
  const offsets = await committedOffsets(store, "workers");
  return offsets.find((entry) => entry.topic === "jobs" && entry.partition === partition)?.offset;
}

/** All that is committed, as `jobs 3`, by topic and partition. */
export async function committedTexts(store: Store): Promise<string[]> {
  const offsets = await committedOffsets(store, "workers");
  return offsets.map(({ topic, offset }) => `${topic} ${offset}`);
}
