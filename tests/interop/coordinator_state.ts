/**
 * What a folder says of groups and producers, in one form whoever tells it: an open store, Kafka's
 * dump tool, or a broker.
 */
import { committedOffsets, listGroups } from "../../mod.ts";
import type { Store } from "../../mod.ts";
import { logOf } from "../../src/store/partitions.ts";
import { getTopicState, internalsOf } from "../../src/store/store.ts";

/** An offset that a group has committed. */
export interface CommittedOffset {
  readonly groupId: string;
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  /** Undefined where who tells it does not say. */
  readonly metadata?: string;
}

/** What a partition knows of a producer. */
export interface KnownProducer {
  readonly producerId: number;
  readonly producerEpoch: number;
  /** Of the last marker, or -1. */
  readonly coordinatorEpoch: number;
  /** Of the last batch of its epoch, or -1. */
  readonly lastSequence: number;
  readonly lastTimestamp: number;
}

/**
 * The committed offsets of all groups of a store.
 *
 * @param store The open store.
 * @returns The offsets, with their metadata.
 */
export async function committedIn(store: Store): Promise<CommittedOffset[]> {
  const groups = await listGroups(store);
  const offsets = await Promise.all(groups.map(async ({ groupId }) => {
    const committed = await committedOffsets(store, groupId);
    return committed.map(({ topic, partition, offset, metadata }) => {
      return { groupId, topic, partition, offset, metadata };
    });
  }));
  return offsets.flat();
}

/**
 * What a partition of a store knows of its producers.
 *
 * @param store The open store.
 * @param topicName The topic.
 * @param partition The partition's number.
 * @returns The producers.
 */
export function producersIn(store: Store, topicName: string, partition: number): KnownProducer[] {
  const internals = internalsOf(store);
  const topic = getTopicState(internals, topicName);
  const { producers } = logOf(internals, topic, topic.partitions[partition]!);
  return [...producers.byId.values()].map((state) => ({
    producerId: state.producerId,
    producerEpoch: state.epoch,
    coordinatorEpoch: state.coordinatorEpoch,
    lastSequence: state.batches.at(-1)?.lastSequence ?? -1,
    lastTimestamp: state.lastTimestamp,
  }));
}

/**
 * Compares committed offsets, whatever their order; metadata only where both tell it.
 *
 * @param where What messages start with.
 * @param actual The offsets to judge.
 * @param expected The offsets to believe.
 * @returns One line a difference.
 */
export function compareCommitted(
  where: string,
  actual: readonly CommittedOffset[],
  expected: readonly CommittedOffset[],
): string[] {
  const haveMetadata = [...actual, ...expected].every(({ metadata }) => metadata !== undefined);
  const describe = ({ groupId, topic, partition, offset, metadata }: CommittedOffset): string =>
    `${groupId} at ${offset} of ${topic}-${partition}` +
    (haveMetadata ? ` with ${JSON.stringify(metadata)}` : "");
  return compareLines(where, actual.map(describe), expected.map(describe));
}

/**
 * Compares what is known of producers, whatever the order.
 *
 * @param where What messages start with.
 * @param actual The producers to judge.
 * @param expected The producers to believe.
 * @returns One line a difference.
 */
export function compareProducers(
  where: string,
  actual: readonly KnownProducer[],
  expected: readonly KnownProducer[],
): string[] {
  const describe = (producer: KnownProducer): string =>
    `producer ${producer.producerId} epoch ${producer.producerEpoch} coordinator epoch ` +
    `${producer.coordinatorEpoch} sequence ${producer.lastSequence} at ${producer.lastTimestamp}`;
  return compareLines(where, actual.map(describe), expected.map(describe));
}

/**
 * Compares lines, whatever their order.
 *
 * @param where What messages start with.
 * @param actual The lines to judge.
 * @param expected The lines to believe.
 * @returns One line a line that is missing, or is there and should not be.
 */
export function compareLines(
  where: string,
  actual: readonly string[],
  expected: readonly string[],
): string[] {
  return [
    ...expected.filter((line) => !actual.includes(line)).map((line) => `${where}: no ${line}`),
    ...actual.filter((line) => !expected.includes(line))
      .map((line) => `${where}: ${line}, not expected`),
    ...(actual.length === expected.length
      ? []
      : [`${where}: ${actual.length} entries, expected ${expected.length}`]),
  ];
}
