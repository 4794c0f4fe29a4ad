/**
 * Groups and producers that go from ottla to a broker, back, and to a broker again.
 */
import {
  closeConsumer,
  closeProducer,
  closeStore,
  commit,
  isOttlaError,
  offsetsOf,
  openConsumer,
  openProducer,
  openStore,
  poll,
} from "../../mod.ts";
import type { Store } from "../../mod.ts";
import { logOf } from "../../src/store/partitions.ts";
import { getTopicState, internalsOf } from "../../src/store/store.ts";
import { produce } from "../support/produced.ts";
import { findUnexpectedWarnings, withBroker } from "./boot_checks.ts";
import { check } from "./check.ts";
import type { Checks } from "./check.ts";
import {
  committedIn,
  compareCommitted,
  compareProducers,
  producersIn,
} from "./coordinator_state.ts";
import type { CommittedOffset } from "./coordinator_state.ts";
import { checkCoordinatorFiles } from "./groups_checks.ts";
import {
  knownIn,
  movingGroups,
  ordersPartitions,
  ordersTopic,
  sendEverywhere,
} from "./groups_folder.ts";
import type { GroupsFolder } from "./groups_folder.ts";
import type { Broker } from "./kafka_broker.ts";
import { consoleConsume, perfProduce } from "./kafka_commands.ts";
import type { GroupProtocol } from "./kafka_commands.ts";
import { describeKafkaGroups, describeKafkaProducers } from "./kafka_group_commands.ts";
import type { Kafka } from "./kafka_tools.ts";
import { checkFolder } from "./ottla_checks.ts";

/** How many records of a group are read at a time. */
const consumedCount = 50;
/** What the broker's producer adds, in batches so small that every partition gets some. */
const producedOptions = {
  count: 300,
  valueBytes: 100,
  properties: { "batch.size": 1000 },
} as const;

/** A record's place. */
interface Place {
  readonly partition: number;
  readonly offset: number;
}

/**
 * Starts a broker on ottla's folder, lets consumers of its groups go on there and a producer write,
 * and goes on with ottla; then again with a broker.
 *
 * @param checks Where the outcome is counted.
 * @param kafka Kafka.
 * @param folder A folder of `makeGroupsFolder`, closed.
 * @param known What ottla knows of it.
 */
export async function checkGroupsBoot(
  checks: Checks,
  kafka: Kafka,
  folder: string,
  known: GroupsFolder,
): Promise<void> {
  const { first, second } = movingGroups;
  let committed: CommittedOffset[] = [];
  await check(
    checks,
    "Kafka knows ottla's groups and producers, and its consumers go on where ottla's stopped",
    () =>
      withBroker(kafka, folder, async (broker) => {
        const [groups, producers] = await Promise.all([
          describeKafkaGroups(broker),
          describeKafkaProducers(broker, ordersTopic, 0),
        ]);
        const consumed = await consumeAs(broker, [[first, "classic"], [second, "consumer"]]);
        await perfProduce(broker, ordersTopic, producedOptions);
        committed = await describeKafkaGroups(broker);
        return [
          ...compareCommitted("the broker", groups, known.committed),
          ...compareProducers(`${ordersTopic}-0`, producers, known.producers[0] ?? []),
          ...compareConsumed(consumed, groups, committed),
          ...findUnexpectedWarnings(broker),
        ];
      }),
  );
  let taken: GroupsFolder = known;
  await check(
    checks,
    "ottla's consumers and producers go on where Kafka's stopped",
    async () => {
      const store = await openStore(folder);
      try {
        const differences = [
          ...compareCommitted("ottla", await committedIn(store), committed),
          ...await consumeHere(store, committed),
          ...await compareSequences(store, known),
        ];
        taken = await knownIn(store);
        return differences;
      } finally {
        await closeStore(store);
      }
    },
  );
  const name = "a folder whose groups went to Kafka and back";
  await checkFolder(checks, kafka, folder, name);
  await checkCoordinatorFiles(checks, kafka, folder, name, taken);
  await check(
    checks,
    "Kafka takes the groups over once more, each by the other protocol",
    () =>
      withBroker(kafka, folder, async (broker) => {
        const [groups, producers] = await Promise.all([
          describeKafkaGroups(broker),
          describeKafkaProducers(broker, ordersTopic, 0),
        ]);
        const consumed = await consumeAs(broker, [[second, "classic"], [first, "consumer"]]);
        return [
          ...compareCommitted("the broker", groups, taken.committed),
          ...compareProducers(`${ordersTopic}-0`, producers, taken.producers[0] ?? []),
          ...compareConsumed(consumed, groups, await describeKafkaGroups(broker)),
          ...findUnexpectedWarnings(broker),
        ];
      }),
  );
}

/** Kafka's console consumer for some groups. */
async function consumeAs(
  broker: Broker,
  groups: readonly (readonly [string, GroupProtocol])[],
): Promise<ReadonlyMap<string, readonly Place[]>> {
  return new Map(
    await Promise.all(groups.map(async ([groupId, protocol]) => {
      const options = { groupId, protocol };
      const records = await consoleConsume(broker, ordersTopic, consumedCount, options);
      return [groupId, records] as const;
    })),
  );
}

/** Whether the records of each group are all those between what it had committed and has now. */
function compareConsumed(
  consumed: ReadonlyMap<string, readonly Place[]>,
  before: readonly CommittedOffset[],
  after: readonly CommittedOffset[],
): string[] {
  return [...consumed].flatMap(([groupId, records]) => {
    const differences = records.length === consumedCount
      ? []
      : [`${groupId}: ${records.length} records, expected ${consumedCount}`];
    for (let partition = 0; partition < ordersPartitions; partition++) {
      const offsets = records.filter((record) => record.partition === partition)
        .map(({ offset }) => offset);
      const start = committedOf(before, groupId, partition);
      const end = committedOf(after, groupId, partition);
      const wanted = Array.from({ length: end - start }, (_, index) => start + index);
      if (offsets.join() === wanted.join()) continue;
      const range = `${offsets[0]} to ${offsets.at(-1)}, expected ${start} to ${end - 1}`;
      differences.push(`${groupId} of ${ordersTopic}-${partition}: ${range}`);
    }
    return differences;
  });
}

function committedOf(
  offsets: readonly CommittedOffset[],
  groupId: string,
  partition: number,
): number {
  const found = offsets.find((entry) =>
    entry.groupId === groupId && entry.topic === ordersTopic && entry.partition === partition
  );
  return found?.offset ?? -1;
}

/** ottla's consumers of the groups that the broker's consumers have left. */
async function consumeHere(
  store: Store,
  before: readonly CommittedOffset[],
): Promise<string[]> {
  const consumed = new Map<string, Place[]>();
  for (const groupId of Object.values(movingGroups)) {
    const consumer = await openConsumer(store, {
      groupId,
      topics: [ordersTopic],
      autoOffsetReset: "none",
      autoCommit: false,
    });
    const records: Place[] = [];
    while (records.length < consumedCount) {
      const more = await poll(consumer, { recordsMax: consumedCount - records.length });
      if (more.length === 0) break;
      records.push(...more);
    }
    await commit(consumer);
    await closeConsumer(consumer);
    consumed.set(groupId, records);
  }
  return compareConsumed(consumed, before, await committedIn(store));
}

/**
 * Whether ids go on behind the broker's, and a batch that the broker's producer has sent is known:
 * stored once, and held to its sequence.
 */
async function compareSequences(store: Store, known: GroupsFolder): Promise<string[]> {
  const differences: string[] = [];
  const largest = Math.max(...known.producers.flat().map(({ producerId }) => producerId));
  let largestOfBroker = -1;
  for (let partition = 0; partition < ordersPartitions; partition++) {
    const where = `${ordersTopic}-${partition}`;
    const brokers = producersIn(store, ordersTopic, partition)
      .filter(({ producerId }) => producerId > largest);
    const [producer] = brokers;
    if (producer === undefined || brokers.length > 1) {
      differences.push(`${where}: ${brokers.length} producers of the broker, expected 1`);
      continue;
    }
    largestOfBroker = Math.max(largestOfBroker, producer.producerId);
    differences.push(...compareSequence(store, partition, producer.producerId));
  }
  const ours = openProducer(store);
  await sendEverywhere(ours, consumedCount, "after the broker");
  await closeProducer(ours);
  const ids = producersIn(store, ordersTopic, 0).map(({ producerId }) => producerId);
  const ownId = Math.max(...ids);
  if (ownId <= largestOfBroker) differences.push(`id ${ownId}, the broker gave ${largestOfBroker}`);
  return differences;
}

function compareSequence(store: Store, partition: number, producerId: number): string[] {
  const where = `producer ${producerId} of ${ordersTopic}-${partition}`;
  const internals = internalsOf(store);
  const topic = getTopicState(internals, ordersTopic);
  const log = logOf(internals, topic, topic.partitions[partition]!);
  const last = log.producers.byId.get(producerId)?.batches.at(-1);
  if (last === undefined) return [`${where}: no batch is known`];
  const { epoch } = log.producers.byId.get(producerId)!;
  const { baseSequence, lastSequence, baseOffset } = last;
  const values = Array.from({ length: lastSequence - baseSequence + 1 }, () => "again");
  const plan = { producerId, epoch, values, timestamp: internals.clock.now() };
  const endOffset = offsetsOf(store, ordersTopic)[partition]?.endOffset;
  const again = produce(log, baseSequence, plan);
  const differences: string[] = [];
  if (!again.isDuplicate || again.baseOffset !== baseOffset) {
    differences.push(`${where}: stored again at ${again.baseOffset}, it is at ${baseOffset}`);
  }
  try {
    produce(log, lastSequence + 2, plan);
    differences.push(`${where}: a sequence was left out, and the batch was stored`);
  } catch (error) {
    if (!isOttlaError(error, "OUT_OF_ORDER_SEQUENCE_NUMBER")) differences.push(String(error));
  }
  const next = produce(log, lastSequence + 1, plan);
  if (next.isDuplicate || next.baseOffset !== endOffset) {
    differences.push(`${where}: the next batch is at ${next.baseOffset}, expected ${endOffset}`);
  }
  return differences;
}
