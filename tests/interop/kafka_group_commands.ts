/**
 * Kafka's command-line tools for groups, producers and transactions, against a running broker.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { CommittedOffset, KnownProducer } from "./coordinator_state.ts";
import type { Broker } from "./kafka_broker.ts";
import { runCommand } from "./kafka_commands.ts";
import type { GroupProtocol } from "./kafka_commands.ts";
import { runTool, startTool, waitForExit } from "./kafka_tools.ts";

const groupCommand = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
const waitTimeoutMs = 30_000;
const stopTimeoutMs = 10_000;
/** Long enough to become a member. */
const shareTimeoutMs = 1_500;
/** More often than a test waits. */
const autoCommitIntervalMs = 100;

/** A consumer that goes on until it is killed. */
export interface RunningConsumer {
  /** Waits until it has shown so many records. */
  readonly waitForRecords: (count: number) => Promise<void>;
  /** Kills it: it does not leave its group. */
  readonly kill: () => Promise<void>;
}

/** The committed offsets of all groups, as the broker gives them; it says nothing of metadata. */
export async function describeKafkaGroups(broker: Broker): Promise<CommittedOffset[]> {
  const parameters = ["--describe", "--all-groups", "--offsets"];
  const text = await runCommand(broker, groupCommand, parameters);
  return parseTable(text, "GROUP").flatMap((row) => {
    const offset = Number(row.get("CURRENT-OFFSET"));
    if (Number.isNaN(offset)) return [];
    const [groupId = "", topic = ""] = [row.get("GROUP"), row.get("TOPIC")];
    return [{ groupId, topic, partition: Number(row.get("PARTITION")), offset }];
  });
}

/** Deletes a group without members. */
export async function deleteKafkaGroup(broker: Broker, groupId: string): Promise<void> {
  await runCommand(broker, groupCommand, ["--delete", "--group", groupId]);
}

/** Moves a group without members to an offset in every partition of a topic. */
export async function resetKafkaGroup(
  broker: Broker,
  groupId: string,
  topic: string,
  offset: number,
): Promise<void> {
  const target = ["--group", groupId, "--topic", topic, "--to-offset", String(offset)];
  await runCommand(broker, groupCommand, ["--reset-offsets", "--execute", ...target]);
}

/** What the broker knows of the producers of a partition. */
export async function describeKafkaProducers(
  broker: Broker,
  topic: string,
  partition: number,
): Promise<KnownProducer[]> {
  const mainClass = "org.apache.kafka.tools.TransactionsCommand";
  const target = ["describe-producers", "--topic", topic, "--partition", String(partition)];
  const text = await runCommand(broker, mainClass, target);
  return parseTable(text, "ProducerId").map((row) => ({
    producerId: Number(row.get("ProducerId")),
    producerEpoch: Number(row.get("ProducerEpoch")),
    coordinatorEpoch: Number(row.get("LatestCoordinatorEpoch")),
    lastSequence: Number(row.get("LastSequence")),
    lastTimestamp: Number(row.get("LastTimestamp")),
  }));
}

/**
 * Copies the first records of one partition to another topic, a few a transaction, together with
 * the offsets of a group; some transactions are aborted and tried again.
 */
export async function copyInTransactions(
  broker: Broker,
  options: {
    readonly source: string;
    readonly partition: number;
    readonly target: string;
    readonly groupId: string;
    readonly count: number;
  },
): Promise<void> {
  await runTool(broker.kafka, "org.apache.kafka.tools.TransactionalMessageCopier", [
    "--broker-list",
    broker.address,
    "--input-topic",
    options.source,
    "--input-partition",
    String(options.partition),
    "--output-topic",
    options.target,
    "--consumer-group",
    options.groupId,
    "--max-messages",
    String(options.count),
    "--transaction-size",
    "7",
    "--transactional-id",
    `copy-to-${options.target}`,
    "--enable-random-aborts",
  ]);
}

/** Makes a share group, by a member that joins it and soon leaves. */
export async function makeShareGroup(
  broker: Broker,
  topic: string,
  groupId: string,
): Promise<void> {
  const mainClass = "org.apache.kafka.tools.consumer.ConsoleShareConsumer";
  const target = ["--bootstrap-server", broker.address, "--topic", topic, "--group", groupId];
  // A new share group begins at the end of the log, so there is nothing to read.
  await runTool(broker.kafka, mainClass, [...target, "--timeout-ms", String(shareTimeoutMs)], {
    isFailureAllowed: true,
  });
}

/** Starts a console consumer that commits every moment, and leaves it in its group. */
export function startConsoleConsumer(
  broker: Broker,
  topic: string,
  groupId: string,
  protocol: GroupProtocol,
): RunningConsumer {
  const child = startTool(broker.kafka, "org.apache.kafka.tools.consumer.ConsoleConsumer", [
    "--bootstrap-server",
    broker.address,
    "--topic",
    topic,
    "--from-beginning",
    "--group",
    groupId,
    "--consumer-property",
    `group.protocol=${protocol}`,
    "--consumer-property",
    `auto.commit.interval.ms=${autoCommitIntervalMs}`,
  ]);
  const newline = 10;
  let recordCount = 0;
  let said = "";
  child.stdout?.on("data", (chunk: Uint8Array) => {
    recordCount += chunk.reduce((count, byte) => byte === newline ? count + 1 : count, 0);
  });
  child.stderr?.on("data", (chunk: Uint8Array) => void (said += new TextDecoder().decode(chunk)));
  return {
    waitForRecords: async (count) => {
      const endMs = performance.now() + waitTimeoutMs;
      while (recordCount < count) {
        if (performance.now() > endMs || child.exitCode !== null) {
          throw new Error(`Cannot consume: ${recordCount} records of ${count}\n${said}`);
        }
        await delay(20);
      }
    },
    kill: async () => {
      child.kill("SIGKILL");
      await waitForExit(child, stopTimeoutMs);
    },
  };
}

/** Reads tables whose heading begins with a name: of each row, the cells by the heading. */
function parseTable(text: string, firstName: string): Map<string, string>[] {
  const rows: Map<string, string>[] = [];
  let names: readonly string[] = [];
  for (const line of text.split("\n")) {
    const cells = line.trim().split(/\s+/);
    if (cells[0] === firstName) {
      names = cells;
    } else if (cells.length >= names.length && names.length > 0) {
      rows.push(new Map(names.map((name, index) => [name, cells[index] ?? ""])));
    }
  }
  return rows;
}
