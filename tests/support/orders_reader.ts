/** A consumer of one partition, whose polls do not wait. */

import { openConsumer, poll } from "../../src/client/consumer.ts";
import type { ConsumerOptions } from "../../src/client/consumer_options.ts";
import type { Consumer } from "../../src/client/consumer_state.ts";
import type { Store } from "../../src/store/store.ts";
import { textOf } from "./store_fixture.ts";

/** Has a poll give what there is. */
export const now = { waitMs: 0 };
/** The partition that `reader` reads unless told otherwise. */
export const orders = { topic: "orders", partition: 0 };

/** A consumer of the group `billing` that begins at the start. */
export function reader(store: Store, options: Partial<ConsumerOptions> = {}): Promise<Consumer> {
  return openConsumer(store, {
    groupId: "billing",
    partitions: [orders],
    autoOffsetReset: "earliest",
    ...options,
  });
}

/** The values of the records that a consumer has now. */
export async function polled(consumer: Consumer): Promise<string[]> {
  return (await poll(consumer, now)).map(({ value }) => textOf(value));
}
