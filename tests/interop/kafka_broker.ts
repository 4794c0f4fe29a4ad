/**
 * One Kafka broker, its own controller, on free ports of the loopback interface.
 */
import type { ChildProcess } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { runTool, startTool, waitForExit } from "./kafka_tools.ts";
import type { Kafka } from "./kafka_tools.ts";

const bootTimeoutMs = 90_000;
const stopTimeoutMs = 60_000;
/** The lines of a broker's log that are kept to explain a failure. */
const logLinesMax = 20_000;
const loopback = "127.0.0.1";

/** How a log folder is formatted and its broker configured. */
export interface BrokerOptions {
  /**
   * True: the quorum's voters are in the folder. False, the default: they are in the configuration.
   */
  readonly isStandalone?: boolean;
  /** Lines for server.properties that differ from the ones below. */
  readonly overrides?: Readonly<Record<string, string | number>>;
}

/** A running broker. */
export interface Broker {
  readonly kafka: Kafka;
  /** The log folder it runs on. */
  readonly folder: string;
  /** What clients connect to. */
  readonly address: string;
  /** The time from its start until it took requests, in milliseconds. */
  readonly bootMs: number;
  /** Its log so far, a line an event, the level first. */
  readonly logLines: readonly string[];
  readonly process: ChildProcess;
}

/**
 * Formats a log folder with Kafka's storage tool.
 *
 * @param kafka Kafka.
 * @param folder The folder, made if missing.
 * @param clusterId Its cluster id, 22 characters.
 * @param options The same options that its broker will be started with; `releaseVersion`, the Kafka
 * release whose features it gets, the newest by default; and `features` that differ, as
 * `share.version=1`.
 * @throws Error If the tool refuses.
 */
export async function formatFolder(
  kafka: Kafka,
  folder: string,
  clusterId: string,
  options: BrokerOptions & {
    readonly releaseVersion?: string;
    readonly features?: readonly string[];
  } = {},
): Promise<void> {
  const propertiesPath = await writeServerProperties(folder, options, [9092, 9093]);
  await runTool(kafka, "kafka.tools.StorageTool", [
    "format",
    "--cluster-id",
    clusterId,
    "--config",
    propertiesPath,
    ...(options.releaseVersion === undefined ? [] : ["--release-version", options.releaseVersion]),
    ...(options.features ?? []).flatMap((feature) => ["--feature", feature]),
    ...(options.isStandalone === true ? ["--standalone"] : []),
  ]);
}

/**
 * Starts a broker on a formatted folder and waits until it takes requests.
 *
 * @param kafka Kafka.
 * @param folder The log folder.
 * @param options How it is configured.
 * @returns The running broker.
 * @throws Error If it ends or does not come up in time; the message holds the end of its log.
 */
export async function startBroker(
  kafka: Kafka,
  folder: string,
  options: BrokerOptions = {},
): Promise<Broker> {
  const ports = await findFreePorts(2);
  const propertiesPath = await writeServerProperties(folder, options, ports);
  const startMs = performance.now();
  const child = startTool(kafka, "kafka.Kafka", [propertiesPath], { isBroker: true });
  const logLines: string[] = [];
  await waitForBoot(child, logLines);
  return {
    kafka,
    folder,
    address: `${loopback}:${ports[0]}`,
    bootMs: performance.now() - startMs,
    logLines,
    process: child,
  };
}

/**
 * Stops a broker cleanly, as its service manager would.
 *
 * @param broker The broker.
 * @throws Error If it has to be killed.
 */
export async function stopBroker(broker: Broker): Promise<void> {
  broker.process.kill("SIGTERM");
  await waitForExit(broker.process, stopTimeoutMs);
}

/**
 * Kills a broker, as a crash would.
 *
 * @param broker The broker.
 */
export async function killBroker(broker: Broker): Promise<void> {
  broker.process.kill("SIGKILL");
  await waitForExit(broker.process, stopTimeoutMs);
}

/**
 * What a broker warned of so far.
 *
 * @param broker The broker.
 * @returns The lines of its log above the level of information.
 */
export function warningsOf(broker: Broker): string[] {
  return broker.logLines.filter((line) => /^(WARN|ERROR|FATAL) /.test(line));
}

/** Resolves when the broker says that it is up; rejects when it ends or stays silent. */
function waitForBoot(child: ChildProcess, logLines: string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (reason: string): void => {
      clearTimeout(timer);
      child.kill("SIGKILL");
      reject(new Error(`Cannot start a broker: ${reason}\n${logLines.slice(-40).join("\n")}`));
    };
    const timer = setTimeout(() => fail(`not up after ${bootTimeoutMs} ms`), bootTimeoutMs);
    const visit = (line: string): void => {
      if (logLines.length < logLinesMax) logLines.push(line);
      if (!line.includes("Kafka Server started")) return;
      clearTimeout(timer);
      resolve();
    };
    child.stdout?.on("data", splitLines(visit));
    child.stderr?.on("data", splitLines((line) => visit(`ERROR ${line}`)));
    child.once("error", (error) => fail(error.message));
    child.once("exit", (code) => fail(`it ended with exit code ${code}`));
  });
}

/** Makes a listener for chunks of UTF-8 that calls back for every full line. */
function splitLines(visit: (line: string) => void): (chunk: Uint8Array) => void {
  const decoder = new TextDecoder();
  let rest = "";
  return (chunk) => {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) visit(line);
  };
}

/** Ports that were free a moment ago, all different. */
async function findFreePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(Array.from({ length: count }, async () => {
    const server = createServer();
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(0, loopback, resolve);
    });
    return server;
  }));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** Writes the configuration beside the log folder, and returns its path. */
async function writeServerProperties(
  folder: string,
  options: BrokerOptions,
  ports: readonly number[],
): Promise<string> {
  const plaintext = `PLAINTEXT://${loopback}:${ports[0]}`;
  const controller = `${loopback}:${ports[1]}`;
  const quorum: Record<string, string> = options.isStandalone === true
    ? { "controller.quorum.bootstrap.servers": controller }
    : { "controller.quorum.voters": `1@${controller}` };
  const properties: Record<string, string | number> = {
    "process.roles": "broker,controller",
    "node.id": 1,
    ...quorum,
    "listeners": `${plaintext},CONTROLLER://${controller}`,
    "advertised.listeners": plaintext,
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    "log.dirs": folder,
    "offsets.topic.replication.factor": 1,
    "offsets.topic.num.partitions": 1,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "transaction.state.log.num.partitions": 1,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    "group.initial.rebalance.delay.ms": 0,
    // A member of the newer protocol learns of its partitions by its next heartbeat.
    "group.consumer.heartbeat.interval.ms": 500,
    "group.consumer.min.heartbeat.interval.ms": 500,
    "num.network.threads": 2,
    "num.io.threads": 4,
    "background.threads": 2,
    "log.cleaner.dedupe.buffer.size": 33_554_432,
    // Nothing is aged out unless a topic says so.
    "log.retention.ms": -1,
    ...options.overrides,
  };
  const path = `${folder}.server.properties`;
  const lines = Object.entries(properties).map(([key, value]) => `${key}=${value}\n`);
  await writeFile(path, lines.join(""));
  return path;
}
