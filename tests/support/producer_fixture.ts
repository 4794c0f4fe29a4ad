/** A producer on a store whose disk and clock a test decides about. */

import { flushProducer, openProducer, send } from "../../src/client/producer.ts";
import type { ProducerOptions } from "../../src/client/producer_options.ts";
import type { Producer } from "../../src/client/producer_state.ts";
import type { Store, StoreOptions } from "../../src/store/store.ts";
import { createTopic } from "../../src/store/topics.ts";
import type { ManualClock } from "../../src/testing/manual_clock.ts";
import type { FaultyDisk } from "./faulty_file_system.ts";
import { faultyDisk } from "./faulty_file_system.ts";
import { withStore } from "./store_fixture.ts";

/** What a test gets: "orders" has one record, and the producer its id. */
export interface ProducerFixture<C extends ManualClock = ManualClock> {
  readonly store: Store;
  readonly clock: C;
  readonly disk: FaultyDisk;
  readonly producer: Producer;
}

/** How the producer and the store are opened. */
export interface ProducerSetting<C extends ManualClock> {
  readonly clock: C;
  readonly producer: ProducerOptions;
  readonly partitions?: number;
  readonly store?: StoreOptions;
}

/** Runs with a producer that has its id already, so that what is full is written at once. */
export async function withProducerOn<C extends ManualClock>(
  { clock, producer: options, partitions = 1, store: storeOptions }: ProducerSetting<C>,
  run: (fixture: ProducerFixture<C>) => Promise<void>,
): Promise<void> {
  const disk = faultyDisk();
  await withStore(async (store) => {
    await createTopic(store, "orders", { partitions });
    const producer = openProducer(store, options);
    const first = send(producer, "orders", { value: "first" });
    await flushProducer(producer);
    await first;
    await run({ store, clock, disk, producer });
  }, { clock, fileSystem: disk.fs, ...storeOptions });
}
