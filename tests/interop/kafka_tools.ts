/**
 * Apache Kafka's own tools, fetched with Maven and run with Java: the judge of what ottla writes.
 *
 * Maven resolves the jars into its local repository. Only the resulting classpath is kept by us, in
 * a cache folder, so that later runs start at once and need no network.
 */
import { Buffer } from "node:buffer";
import { spawn } from "node:child_process";
import type { ChildProcess, SpawnOptions } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { delimiter, join } from "node:path";
import process from "node:process";

/**
 * The Kafka release whose tools and broker judge us; the variable OTTLA_INTEROP_KAFKA names
 * another.
 */
export const kafkaVersion: string = process.env["OTTLA_INTEROP_KAFKA"] ?? "4.1.1";

/** The oldest Java that Kafka 4's tools and broker run on. */
const javaVersionMin = 17;
const fetchTimeoutMs = 10 * 60_000;
const toolTimeoutMs = 60_000;
/** More output than this from one tool is a mistake in the test, not a result. */
const outputBytesMax = 256 * 1024 * 1024;

/** The serial collector and the first compiler only: what starts fastest for a short-lived tool. */
const javaOptions = [
  "-Xms64m",
  "-Xmx512m",
  "-XX:+UseSerialGC",
  "-XX:TieredStopAtLevel=1",
  "-Xshare:auto",
  "-Djava.awt.headless=true",
] as const;

/** The log configuration of tools: warnings and worse on the error stream, nothing else. */
const toolLogProperties = `
rootLogger.level=warn
rootLogger.appenderRef.console.ref=console
appender.console.type=Console
appender.console.name=console
appender.console.target=SYSTEM_ERR
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%p %m (%c)%n
`;

/** The log configuration of a broker: everything on the output stream, one line an event. */
const brokerLogProperties = `
rootLogger.level=info
rootLogger.appenderRef.console.ref=console
appender.console.type=Console
appender.console.name=console
appender.console.target=SYSTEM_OUT
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%p %m (%c)%n
`;

const projectObjectModel = `<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>ottla</groupId>
  <artifactId>interop</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>${kafkaVersion}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka-tools</artifactId>
      <version>${kafkaVersion}</version>
      <exclusions>
        <exclusion>
          <groupId>org.apache.kafka</groupId>
          <artifactId>connect-runtime</artifactId>
        </exclusion>
      </exclusions>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId>
      <artifactId>log4j-slf4j-impl</artifactId>
      <version>2.24.3</version>
    </dependency>
  </dependencies>
</project>
`;

/** Kafka on this machine: what is needed to start any of its programs. */
export interface Kafka {
  /** The `java` program. */
  readonly java: string;
  /** Every jar, separated as Java wants it. */
  readonly classpath: string;
  /** The path of the log configuration of tools. */
  readonly toolLogPath: string;
  /** The path of the log configuration of brokers. */
  readonly brokerLogPath: string;
}

/** What a program left behind when it ended. */
export interface ToolResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** How to run a program. */
export interface ToolOptions {
  /** What the program reads from its input; nothing by default. */
  readonly input?: string;
  /** The program is killed after this many milliseconds; 60,000 by default. */
  readonly timeoutMs?: number;
  /** Return a failing exit code instead of throwing. */
  readonly isFailureAllowed?: boolean;
}

const children = new Set<ChildProcess>();
process.on("exit", () => {
  for (const child of children) child.kill("SIGKILL");
});

/**
 * Finds a Java that Kafka 4 runs on: the one of `JAVA_HOME`, else the first in the path.
 *
 * @returns The program, or undefined where there is none or it is too old.
 */
export async function findJava(): Promise<string | undefined> {
  const home = process.env["JAVA_HOME"];
  const candidates = home ? [join(home, "bin", "java"), "java"] : ["java"];
  for (const candidate of candidates) {
    const result = await runProgram(candidate, ["-version"], { isFailureAllowed: true });
    const version = /version "(?:1\.)?(\d+)/.exec(result.stderr + result.stdout)?.[1];
    if (version !== undefined && Number(version) >= javaVersionMin) return candidate;
  }
  return undefined;
}

/**
 * Finds Maven in the path.
 *
 * @returns The program, or undefined where there is none.
 */
export async function findMaven(): Promise<string | undefined> {
  const candidate = process.platform === "win32" ? "mvn.cmd" : "mvn";
  const result = await runProgram(candidate, ["-version"], { isFailureAllowed: true });
  return result.exitCode === 0 ? candidate : undefined;
}

/**
 * Fetches Kafka's jars with Maven, or takes the classpath that an earlier call found.
 *
 * @param java What `findJava` returned.
 * @param maven What `findMaven` returned.
 * @param cacheFolder The folder, made if missing, where the classpath is kept.
 * @returns Kafka, ready to be started.
 * @throws Error If Maven fails; the message holds what it said.
 */
export async function fetchKafka(
  java: string,
  maven: string,
  cacheFolder: string,
): Promise<Kafka> {
  await mkdir(cacheFolder, { recursive: true });
  const toolLogPath = join(cacheFolder, "tool_log.properties");
  const brokerLogPath = join(cacheFolder, "broker_log.properties");
  await writeFile(toolLogPath, toolLogProperties);
  await writeFile(brokerLogPath, brokerLogProperties);
  const name = createHash("sha256").update(projectObjectModel).digest("hex").slice(0, 16);
  const classpathPath = join(cacheFolder, `classpath-${name}.txt`);
  const classpath = await fetchKafkaFindKept(classpathPath) ??
    await fetchKafkaResolve(maven, cacheFolder, classpathPath);
  return { java, classpath, toolLogPath, brokerLogPath };
}

/**
 * Runs one of Kafka's programs to its end.
 *
 * @param kafka What `fetchKafka` returned.
 * @param mainClass The Java class to start.
 * @param parameters What follows on its command line.
 * @param options Its input and its limits.
 * @returns Its exit code and output.
 * @throws Error If it fails or takes too long; the message holds what it printed.
 */
export function runTool(
  kafka: Kafka,
  mainClass: string,
  parameters: readonly string[],
  options: ToolOptions = {},
): Promise<ToolResult> {
  return runProgram(kafka.java, toolParameters(kafka, mainClass, parameters), options);
}

/**
 * Starts one of Kafka's programs and leaves it running; it is killed when this process ends.
 *
 * @param kafka What `fetchKafka` returned.
 * @param mainClass The Java class to start.
 * @param parameters What follows on its command line.
 * @param options `isBroker`: log as a broker does instead of as a tool does.
 * @returns The running program.
 */
export function startTool(
  kafka: Kafka,
  mainClass: string,
  parameters: readonly string[],
  options: { readonly isBroker?: boolean } = {},
): ChildProcess {
  const logPath = options.isBroker === true ? kafka.brokerLogPath : kafka.toolLogPath;
  return startProgram(kafka.java, toolParameters(kafka, mainClass, parameters, logPath), {
    stdio: ["ignore", "pipe", "pipe"],
  });
}

/**
 * Waits for a program that was started to end, and kills it when that takes too long.
 *
 * @param child The program.
 * @param timeoutMs The longest wait in milliseconds.
 * @returns Its exit code, or -1 if a signal ended it.
 * @throws Error If it had to be killed.
 */
export function waitForExit(child: ChildProcess, timeoutMs: number): Promise<number> {
  if (child.exitCode !== null || child.signalCode !== null) {
    return Promise.resolve(child.exitCode ?? -1);
  }
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill("SIGKILL");
      reject(new Error(`Cannot wait for ${child.spawnfile}: still running after ${timeoutMs} ms`));
    }, timeoutMs);
    child.once("exit", (exitCode) => {
      clearTimeout(timer);
      resolve(exitCode ?? -1);
    });
  });
}

/** The kept classpath, unless a jar that it names has gone. */
async function fetchKafkaFindKept(classpathPath: string): Promise<string | undefined> {
  if (!existsSync(classpathPath)) return undefined;
  const classpath = (await readFile(classpathPath, "utf8")).trim();
  return classpath.split(delimiter).every((jar) => existsSync(jar)) ? classpath : undefined;
}

async function fetchKafkaResolve(
  maven: string,
  cacheFolder: string,
  classpathPath: string,
): Promise<string> {
  const modelPath = join(cacheFolder, "pom.xml");
  await writeFile(modelPath, projectObjectModel);
  await runProgram(maven, [
    "--batch-mode",
    "--quiet",
    "--file",
    modelPath,
    "dependency:build-classpath",
    "-DincludeScope=runtime",
    `-Dmdep.outputFile=${classpathPath}.new`,
  ], { timeoutMs: fetchTimeoutMs });
  await rename(`${classpathPath}.new`, classpathPath);
  return (await readFile(classpathPath, "utf8")).trim();
}

function toolParameters(
  kafka: Kafka,
  mainClass: string,
  parameters: readonly string[],
  logPath: string = kafka.toolLogPath,
): string[] {
  const logOption = `-Dlog4j2.configurationFile=${logPath}`;
  return [...javaOptions, logOption, "-cp", kafka.classpath, mainClass, ...parameters];
}

function startProgram(
  program: string,
  parameters: readonly string[],
  options: SpawnOptions,
): ChildProcess {
  const child = spawn(program, parameters, options);
  children.add(child);
  child.once("close", () => children.delete(child));
  return child;
}

/**
 * Runs any program to its end; one that cannot be started has exit code 127 if failing is allowed.
 */
function runProgram(
  program: string,
  parameters: readonly string[],
  options: ToolOptions,
): Promise<ToolResult> {
  const timeoutMs = options.timeoutMs ?? toolTimeoutMs;
  return new Promise((resolve, reject) => {
    const child = startProgram(program, parameters, { stdio: ["pipe", "pipe", "pipe"] });
    const stdout: Uint8Array[] = [];
    const stderr: Uint8Array[] = [];
    let sizeBytes = 0;
    let failure: string | undefined;
    const timer = setTimeout(() => {
      failure = `still running after ${timeoutMs} ms`;
      child.kill("SIGKILL");
    }, timeoutMs);
    const collect = (chunks: Uint8Array[], chunk: Uint8Array): void => {
      chunks.push(chunk);
      sizeBytes += chunk.length;
      if (sizeBytes <= outputBytesMax) return;
      failure = `more than ${outputBytesMax} bytes of output`;
      child.kill("SIGKILL");
    };
    child.stdout?.on("data", (chunk: Uint8Array) => collect(stdout, chunk));
    child.stderr?.on("data", (chunk: Uint8Array) => collect(stderr, chunk));
    // A program that ends before it has read its input closes the pipe; its exit code tells the
    // rest.
    child.stdin?.on("error", () => {});
    child.stdin?.end(options.input ?? "");
    child.once("error", (error) => {
      clearTimeout(timer);
      children.delete(child);
      if (options.isFailureAllowed === true) {
        resolve({ exitCode: 127, stdout: "", stderr: error.message });
      } else {
        reject(error);
      }
    });
    child.once("close", (code) => {
      clearTimeout(timer);
      const result: ToolResult = {
        exitCode: code ?? -1,
        stdout: Buffer.concat(stdout).toString("utf8"),
        stderr: Buffer.concat(stderr).toString("utf8"),
      };
      const isRefused = code !== 0 && options.isFailureAllowed !== true;
      if (failure === undefined && isRefused) failure = `exit code ${result.exitCode}`;
      if (failure === undefined) return resolve(result);
      const said = `${result.stderr}\n${result.stdout}`.trim().slice(0, 4000);
      reject(new Error(`Cannot run ${parameters.join(" ").slice(-300)}: ${failure}\n${said}`));
    });
  });
}
