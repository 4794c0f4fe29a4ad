/**
 * Groups and producers that a real broker made, by both protocols and in transactions, some of them
 * alive when it was killed; opened by ottla, and by a broker again.
 */
import {
  closeConsumer,
  closeProducer,
  closeStore,
  commit,
  commitOffsets,
  deleteGroup,
  isOttlaError,
  listGroups,
  openConsumer,
  openProducer,
  openStore,
  poll,
} from "../../mod.ts";
import type { Consumer, Store } from "../../mod.ts";
import { findUnexpectedWarnings, withBroker } from "./boot_checks.ts";
import { check } from "./check.ts";
import type { Checks } from "./check.ts";
import {
  committedIn,
  compareCommitted,
  compareLines,
  compareProducers,
  producersIn,
} from "./coordinator_state.ts";
import type { CommittedOffset, KnownProducer } from "./coordinator_state.ts";
import { checkCoordinatorFiles } from "./groups_checks.ts";
import { ordersPartitions, ordersTopic, sendEverywhere } from "./groups_folder.ts";
import { formatFolder, killBroker, startBroker, stopBroker } from "./kafka_broker.ts";
import type { Broker, BrokerOptions } from "./kafka_broker.ts";
import { consoleConsume, createKafkaTopic, perfProduce } from "./kafka_commands.ts";
import type { GroupProtocol } from "./kafka_commands.ts";
import {
  copyInTransactions,
  deleteKafkaGroup,
  describeKafkaGroups,
  describeKafkaProducers,
  makeShareGroup,
  resetKafkaGroup,
  startConsoleConsumer,
} from "./kafka_group_commands.ts";
import type { RunningConsumer } from "./kafka_group_commands.ts";
import { kafkaVersion } from "./kafka_tools.ts";
import type { Kafka } from "./kafka_tools.ts";
import { checkFolder } from "./ottla_checks.ts";

const clusterId = "4L6g3nShT-eMCtK--X86sw";
/** More than one, so that it matters in which a group is looked for. */
const brokerOptions: BrokerOptions = {
  overrides: {
    "offsets.topic.num.partitions": 3,
    "share.coordinator.state.topic.num.partitions": 1,
  },
};
/** A killed broker counts as there for so long, and keeps its successor from starting. */
const afterKill = { "broker.session.timeout.ms": 3000 } as const;
const producedCount = 300;
const copiesTopic = "copies";
/** Groups that only commit: they were reset, or read without being members. */
const simpleGroups: readonly string[] = ["reset", "copier"];
/** Groups whose consumers are in them when the broker is killed, by their protocol. */
const aliveGroups: Readonly<Record<GroupProtocol, string>> = {
  classic: "classic-alive",
  consumer: "newer-alive",
};
/** A group that is not one of consumers; Kafka 4.0 has no such groups. */
const shareGroup = "shared";
const hasShareGroups = !kafkaVersion.startsWith("4.0.");
/** A group of the newer protocol that ottla deletes. */
const deletedHere = "newer";
const attemptsMax = 10;
/** What ottla sends to each partition, and how many of all its groups read. */
const sentCount = 10;
const receivedCount = 20;

/** What the broker said last. */
interface Described {
  readonly committed: readonly CommittedOffset[];
  /** By topic, of its first partition. */
  readonly producers: ReadonlyMap<string, readonly KnownProducer[]>;
}

/**
 * Makes a folder with a broker that is killed, goes on with ottla, and starts a broker again.
 *
 * @param checks Where the outcome is counted.
 * @param kafka Kafka.
 * @param folder The folder to make.
 */
export async function checkKafkaGroups(
  checks: Checks,
  kafka: Kafka,
  folder: string,
): Promise<void> {
  let described: Described | undefined;
  await check(checks, "Kafka makes groups by both protocols, and is killed", async () => {
    described = await makeKafkaGroups(kafka, folder);
    return [];
  });
  if (described === undefined) return;
  const { committed, producers } = described;
  await check(checks, "ottla finds the groups and producers of a killed broker", async () => {
    const store = await openStore(folder);
    try {
      return [
        ...compareCommitted("ottla", await committedIn(store), committed),
        ...compareListing(await listGroups(store), committed),
        ...[...producers].flatMap(([topic, expected]) =>
          compareProducers(`${topic}-0`, producersIn(store, topic, 0), expected)
        ),
        ...await commitForShareGroup(store),
      ];
    } finally {
      await closeStore(store);
    }
  });
  let taken: CommittedOffset[] = [];
  await check(checks, "ottla takes over the groups that had members", async () => {
    const store = await openStore(folder);
    try {
      const differences = await takeOver(store);
      await deleteGroup(store, deletedHere);
      taken = await committedIn(store);
      return differences;
    } finally {
      await closeStore(store);
    }
  });
  const name = "a folder with groups taken over from Kafka";
  await checkFolder(checks, kafka, folder, name);
  await checkCoordinatorFiles(checks, kafka, folder, name, { committed: taken });
  await check(
    checks,
    "Kafka takes back the groups that ottla took over",
    () =>
      withBroker(kafka, folder, async (broker) => {
        const found = await describeKafkaGroups(broker);
        return [
          ...compareCommitted("the broker", found, taken),
          ...await consumeRest(broker),
          ...findUnexpectedWarnings(broker),
        ];
      }, { overrides: { ...brokerOptions.overrides, ...afterKill } }),
  );
}

async function makeKafkaGroups(kafka: Kafka, folder: string): Promise<Described> {
  const features = hasShareGroups ? ["share.version=1"] : [];
  await formatFolder(kafka, folder, clusterId, { ...brokerOptions, features });
  const broker = await startBroker(kafka, folder, brokerOptions);
  const running: RunningConsumer[] = [];
  try {
    await Promise.all([
      createKafkaTopic(broker, ordersTopic, ordersPartitions),
      createKafkaTopic(broker, copiesTopic, 1),
    ]);
    const properties = { "batch.size": 1000 };
    await perfProduce(broker, ordersTopic, { count: producedCount, valueBytes: 100, properties });
    for (const protocol of ["classic", "consumer"] as const) {
      running.push(startConsoleConsumer(broker, ordersTopic, aliveGroups[protocol], protocol));
    }
    await fillGroups(broker);
    await Promise.all(running.map(({ waitForRecords }) => waitForRecords(producedCount)));
    const committed = await describeWhenCommitted(broker);
    const producers = new Map(
      await Promise.all([ordersTopic, copiesTopic].map(async (topic) => {
        return [topic, await describeKafkaProducers(broker, topic, 0)] as const;
      })),
    );
    await killBroker(broker);
    return { committed, producers };
  } catch (error) {
    await stopBroker(broker).catch(() => {});
    throw error;
  } finally {
    await Promise.all(running.map(({ kill }) => kill()));
  }
}

async function fillGroups(broker: Broker): Promise<void> {
  const consume = (groupId: string, protocol: GroupProtocol, count: number): Promise<unknown> =>
    consoleConsume(broker, ordersTopic, count, { groupId, protocol });
  await Promise.all([
    consume("classic", "classic", 20),
    consume(deletedHere, "consumer", 25),
    consume("deleted", "consumer", 5).then(() => deleteKafkaGroup(broker, "deleted")),
    resetKafkaGroup(broker, "reset", ordersTopic, 7),
    hasShareGroups ? makeShareGroup(broker, ordersTopic, shareGroup) : undefined,
    copyInTransactions(broker, {
      source: ordersTopic,
      partition: 0,
      target: copiesTopic,
      groupId: "copier",
      count: 30,
    }),
  ]);
}

/** The groups' offsets as soon as those who are in them have committed all that they read. */
async function describeWhenCommitted(broker: Broker): Promise<CommittedOffset[]> {
  for (let attempts = 0; attempts < attemptsMax; attempts++) {
    const committed = await describeKafkaGroups(broker);
    const isReached = Object.values(aliveGroups).every((groupId) => {
      const offsets = committed.filter((entry) => entry.groupId === groupId);
      return offsets.reduce((sum, { offset }) => sum + offset, 0) === producedCount;
    });
    if (isReached) return committed;
  }
  throw new Error(`Cannot wait for the consumers to commit: looked ${attemptsMax} times`);
}

function compareListing(
  groups: Awaited<ReturnType<typeof listGroups>>,
  committed: readonly CommittedOffset[],
): string[] {
  const ids = new Set(committed.map(({ groupId }) => groupId));
  return compareLines(
    "listGroups",
    groups.map(({ groupId, state, protocolType }) => `${groupId} ${state} ${protocolType}`),
    [...ids].map((groupId) =>
      `${groupId} Empty ${simpleGroups.includes(groupId) ? "null" : "consumer"}`
    ),
  );
}

/** The id of a group of another kind is not for consumers. */
async function commitForShareGroup(store: Store): Promise<string[]> {
  if (!hasShareGroups) return [];
  try {
    await commitOffsets(store, shareGroup, [{ topic: ordersTopic, partition: 0, offset: 1 }]);
    return [`${shareGroup}: committed an offset, expected a refusal`];
  } catch (error) {
    return isOttlaError(error, "INCONSISTENT_GROUP_PROTOCOL") ? [] : [String(error)];
  }
}

/** Consumers of ottla's in the groups whose members went with the broker. */
async function takeOver(store: Store): Promise<string[]> {
  const differences: string[] = [];
  const consumers = await Promise.all(
    Object.values(aliveGroups).map((groupId) =>
      openConsumer(store, {
        groupId,
        topics: [ordersTopic],
        autoOffsetReset: "none",
        autoCommit: false,
      })
    ),
  );
  for (const consumer of consumers) {
    const early = await poll(consumer, { waitMs: 0 });
    if (early.length === 0) continue;
    differences.push(`${consumer.groupId}: ${early.length} records again, expected none`);
  }
  const producer = openProducer(store);
  await sendEverywhere(producer, sentCount, "after the broker");
  await closeProducer(producer);
  for (const consumer of consumers) {
    const values = await receive(consumer, receivedCount);
    if (values.length !== receivedCount || values.some((value) => value !== "after the broker")) {
      differences.push(`${consumer.groupId}: ${values.length} records, ${values[0]}`);
    }
    await commit(consumer);
    await closeConsumer(consumer);
  }
  return differences;
}

async function receive(consumer: Consumer, count: number): Promise<string[]> {
  const values: string[] = [];
  while (values.length < count) {
    const records = await poll(consumer, { recordsMax: count - values.length });
    if (records.length === 0) break;
    values.push(...records.map(({ value }) => new TextDecoder().decode(value ?? undefined)));
  }
  return values;
}

/** Whether the broker's consumers get exactly what ottla's have left in each group. */
async function consumeRest(broker: Broker): Promise<string[]> {
  const wanted = sentCount * ordersPartitions - receivedCount;
  const counts = await Promise.all(
    Object.entries(aliveGroups).map(async ([protocol, groupId]) => {
      const options = { groupId, protocol: protocol as GroupProtocol };
      const records = await consoleConsume(broker, ordersTopic, wanted, options);
      return [groupId, records] as const;
    }),
  );
  const differences = counts.filter(([, records]) =>
    records.length !== wanted || records.some(({ value }) => value !== "after the broker")
  ).map(([groupId, records]) => `${groupId}: ${records.length} records, expected ${wanted}`);
  const committed = await describeKafkaGroups(broker);
  for (const groupId of Object.values(aliveGroups)) {
    const sum = committed.filter((entry) => entry.groupId === groupId)
      .reduce((total, { offset }) => total + offset, 0);
    const end = producedCount + sentCount * ordersPartitions;
    if (sum !== end) differences.push(`${groupId}: committed up to ${sum}, expected ${end}`);
  }
  return differences;
}
