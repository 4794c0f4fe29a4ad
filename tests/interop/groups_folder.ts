/**
 * A store with all that producers and groups can leave behind, for Kafka to judge.
 */
import {
  append,
  closeConsumer,
  closeProducer,
  closeStore,
  commit,
  commitOffsets,
  createTopic,
  deleteGroup,
  deleteTopic,
  flush,
  openConsumer,
  openProducer,
  openStore,
  poll,
  resetOffsets,
  send,
} from "../../mod.ts";
import type { Consumer, Producer, Store } from "../../mod.ts";
import { logOf } from "../../src/store/partitions.ts";
import { nextProducerId } from "../../src/store/producer_ids.ts";
import { getTopicState, internalsOf } from "../../src/store/store.ts";
import { manualClock } from "../../src/testing/manual_clock.ts";
import { produce } from "../support/produced.ts";
import { committedIn, producersIn } from "./coordinator_state.ts";
import type { CommittedOffset, KnownProducer } from "./coordinator_state.ts";
import { producedPlan } from "./produced_plan.ts";

/** The topic that producers send to and groups read. */
export const ordersTopic = "orders";
/** How many partitions it has. */
export const ordersPartitions = 3;
/** Groups whose consumers go on with a broker, and then with ottla again. */
export const movingGroups = { first: "members", second: "noted" } as const;
/** Groups of which nothing must be left. */
export const goneGroups: readonly string[] = ["deleted", "expired", "of-a-deleted-topic"];

/** What ottla knew of its groups and producers when it closed the store. */
export interface GroupsFolder {
  readonly committed: readonly CommittedOffset[];
  /** By partition of the topic. */
  readonly producers: readonly (readonly KnownProducer[])[];
}

/** Kafka 4 refuses smaller segments. */
const segmentBytes = 1024 * 1024;
const rounds = 60;
const roundRecords = 60;
const minuteMs = 60_000;
const checkpointMs = 10 * minuteMs;
const pollsMax = 10_000;
/** Notes of committers, with all that a decoder could stumble on. */
const notes = ["", "plain", 'Ünï ✓ "quoted" \\ {"json":1}\n\tlines', "x".repeat(4096)] as const;

/**
 * Makes the store and closes it.
 *
 * @param folder The store's folder; must not exist.
 */
export async function makeGroupsFolder(folder: string): Promise<void> {
  // Lately, so that neither the broker nor ottla forgets producers and offsets.
  const clock = manualClock(Date.now() - 120 * minuteMs);
  const store = await openStore(folder, { clock, checkpointMs, offsetsRetentionMinutes: 1 });
  const kept = { retentionMs: -1, segmentBytes } as const;
  await createTopic(store, ordersTopic, {
    ...kept,
    partitions: ordersPartitions,
    indexIntervalBytes: 1024,
  });
  await createTopic(store, producedPlan.topic, {
    ...kept,
    partitions: producedPlan.partitionCount,
  });
  await append(store, ordersTopic, { value: "first", partition: 0 });
  await commitOffsets(store, "expired", [{ topic: ordersTopic, partition: 0, offset: 1 }]);
  await clock.advance(checkpointMs);
  await fillProduced(store, (ms) => clock.advance(ms));
  await fillGroups(store);
  await closeStore(store);
}

/**
 * Opens the store again after a program has been killed on it, and goes on.
 *
 * @param folder The store's folder.
 * @param compare Looks at the store before anything is added.
 * @returns What ottla knows at the end.
 */
export async function finishGroupsFolder(
  folder: string,
  compare: (store: Store) => Promise<void>,
): Promise<GroupsFolder> {
  const store = await openStore(folder);
  await compare(store);
  const producer = openProducer(store);
  await sendEverywhere(producer, 40, "after the crash");
  await closeProducer(producer);
  const known = await knownIn(store);
  await closeStore(store);
  return known;
}

/**
 * What a store knows of its groups, and of the producers of the topic.
 *
 * @param store The open store.
 * @returns What it knows.
 */
export async function knownIn(store: Store): Promise<GroupsFolder> {
  const partitions = Array.from({ length: ordersPartitions }, (_, partition) => partition);
  return {
    committed: await committedIn(store),
    producers: partitions.map((partition) => producersIn(store, ordersTopic, partition)),
  };
}

/**
 * Sends records to every partition of the topic.
 *
 * @param producer The producer.
 * @param count How many to each.
 * @param value What is in them.
 */
export async function sendEverywhere(
  producer: Producer,
  count: number,
  value: string,
): Promise<void> {
  await Promise.all(
    Array.from({ length: count * ordersPartitions }, (_, index) =>
      send(producer, ordersTopic, {
        key: `key-${index}`,
        value,
        partition: index % ordersPartitions,
      })),
  );
}

/** Several producers side by side, over rolls and checkpoints; then other epochs and sequences. */
async function fillProduced(store: Store, advance: (ms: number) => Promise<void>): Promise<void> {
  const producers = [
    openProducer(store),
    openProducer(store, { compression: "lz4" }),
    openProducer(store, { compression: "zstd", ack: "os" }),
    openProducer(store, { idempotent: false }),
  ];
  const value = "0123456789".repeat(90);
  for (let round = 0; round < rounds; round++) {
    await Promise.all(
      producers.map((producer) =>
        Promise.all(Array.from({ length: roundRecords }, (_, index) => {
          // Only the first partition is to have segments.
          const partition = index % 10 === 0 ? 1 + index % 3 % 2 : 0;
          return send(producer, ordersTopic, { key: `key-${index}`, value, partition });
        }))
      ),
    );
    if (round % 20 === 10) await advance(checkpointMs);
    else await advance(1);
  }
  for (const producer of producers) await closeProducer(producer);
  await produceEpochs(store);
  await produceWrapped(store);
  await flush(store);
}

/** A producer whose epoch goes up twice, each epoch with sequences of its own. */
async function produceEpochs(store: Store): Promise<void> {
  const internals = internalsOf(store);
  const topic = getTopicState(internals, ordersTopic);
  const log = logOf(internals, topic, topic.partitions[1]!);
  const producerId = await nextProducerId(internals);
  for (const epoch of [0, 1, 5]) {
    for (const sequence of [0, 2, 4]) {
      const timestamp = internals.clock.now() + epoch;
      produce(log, sequence, { producerId, epoch, timestamp, values: ["a", "b"] });
    }
  }
}

/** A producer whose sequence begins anew behind the largest number, within a batch. */
async function produceWrapped(store: Store): Promise<void> {
  const internals = internalsOf(store);
  const topic = getTopicState(internals, ordersTopic);
  const log = logOf(internals, topic, topic.partitions[2]!);
  const producerId = await nextProducerId(internals);
  const timestamp = internals.clock.now();
  produce(log, 2 ** 31 - 3, { producerId, timestamp, values: ["a", "b", "c", "d", "e"] });
}

async function fillGroups(store: Store): Promise<void> {
  const all = Array.from({ length: ordersPartitions }, (_, partition) => partition);
  const consumers = await Promise.all([1, 2].map(() =>
    openConsumer(store, {
      groupId: movingGroups.first,
      topics: [ordersTopic],
      autoOffsetReset: "earliest",
    })
  ));
  for (const consumer of consumers) await receiveAll(consumer);
  for (const consumer of consumers) await closeConsumer(consumer);
  for (const [index, metadata] of notes.entries()) {
    await commitOffsets(
      store,
      movingGroups.second,
      all.map((partition) => ({ topic: ordersTopic, partition, offset: 10 + index, metadata })),
    );
    const partition = index % ordersPartitions;
    const commits = [{ topic: ordersTopic, partition, offset: 0, metadata }];
    await commitOffsets(store, `note-${index}`, commits);
  }
  const seen = await committedIn(store);
  const ends = seen.filter(({ groupId }) => groupId === movingGroups.first);
  await commitOffsets(
    store,
    movingGroups.second,
    ends.map(({ topic, partition, offset }) => {
      return { topic, partition, offset, metadata: notes[2] };
    }),
  );
  await commitOffsets(store, "reset", [{ topic: ordersTopic, partition: 2, offset: 3 }]);
  await resetOffsets(store, "reset", { topic: ordersTopic, to: 7, partitions: [0, 2] });
  await resetOffsets(store, "reset", { topic: ordersTopic, to: { shiftBy: -2 }, partitions: [2] });
  await fillGone(store);
}

async function fillGone(store: Store): Promise<void> {
  await createTopic(store, "temporary");
  await append(store, "temporary", { value: "x" });
  for (const [groupId, topic] of [["deleted", ordersTopic], ["of-a-deleted-topic", "temporary"]]) {
    await commitOffsets(store, groupId!, [{ topic: topic!, partition: 0, offset: 1 }]);
  }
  const consumer = await openConsumer(store, { groupId: "deleted", topics: [ordersTopic] });
  await commit(consumer);
  await closeConsumer(consumer);
  await deleteGroup(store, "deleted");
  await deleteTopic(store, "temporary");
}

async function receiveAll(consumer: Consumer): Promise<void> {
  for (let polls = 0; polls < pollsMax; polls++) {
    if ((await poll(consumer, { recordsMax: 10_000, waitMs: 0 })).length === 0) return;
  }
}
