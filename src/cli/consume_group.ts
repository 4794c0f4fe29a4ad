/**
 * `ottla consume --group`: prints records as a member of a group, which goes on where it has stopped.
 * What was printed is committed once it has been written, never before: who is interrupted may see a
 * record again, and misses none.
 */

import { closeConsumer, commit, openConsumer, poll } from "../client/consumer.ts";
import type { Consumer } from "../client/consumer_state.ts";
import type { IsolationLevel } from "../log/committed_reader.ts";
import type { LogRecord } from "../record/record.ts";
import { describeTopic } from "../store/topics.ts";
import { exitCode, messageOf } from "./command.ts";
import type { CliIo } from "./io.ts";
import { addLine, flushLines, isFull, lineOutput } from "./output.ts";
import type { LineOutput } from "./output.ts";
import { logRecordLine } from "./record_line.ts";
import type { RecordLineOptions } from "./record_line.ts";
import { changeStore } from "./store_access.ts";

/** What to print as a member of a group. */
export interface MemberConsumption {
  readonly topic: string;
  readonly groupId: string;
  /** Where partitions begin of which nothing was committed. */
  readonly from: "earliest" | "latest";
  readonly isolation: IsolationLevel;
  /** How many records at most; Infinity for all. */
  readonly limit: number;
  /** Whether to wait for records when there are none. */
  readonly isFollowing: boolean;
  readonly format: RecordLineOptions;
}

interface MemberRun {
  readonly io: CliIo;
  readonly options: MemberConsumption;
  readonly output: LineOutput;
  /** What is to be said of damage. */
  readonly messages: string[];
  damageCount: number;
}

const pollRecordsMax = 500;

/**
 * Prints records as a member of a group.
 *
 * @param io The surroundings.
 * @param folder The store's folder.
 * @param options What to print.
 * @returns The exit code: 1 if there was damage.
 * @throws OttlaError `STORE_LOCKED`, `UNKNOWN_TOPIC_OR_PARTITION`, and as `openConsumer`, `poll` and
 * `commit`.
 */
export async function consumeAsMember(
  io: CliIo,
  folder: string,
  options: MemberConsumption,
): Promise<number> {
  const run: MemberRun = { io, options, output: lineOutput(io), messages: [], damageCount: 0 };
  const { topic, groupId, from, isolation } = options;
  await changeStore(folder, false, async (store) => {
    // A consumer would wait for the topic to be made.
    describeTopic(store, topic);
    const consumer = await openConsumer(store, {
      groupId,
      topics: topic,
      autoOffsetReset: from,
      isolation,
      autoCommit: false,
      onGap: ({ error }) => void run.messages.push(messageOf(error)),
    });
    try {
      await printRecords(run, consumer);
    } finally {
      await closeConsumer(consumer);
    }
  });
  return run.damageCount > 0 ? exitCode.failed : exitCode.fine;
}

async function printRecords(run: MemberRun, consumer: Consumer): Promise<void> {
  const { io, options, output } = run;
  let left = options.limit;
  let isAtEnd = false;
  while (left > 0 && !io.signal.aborted) {
    const waitMs = isAtEnd ? Infinity : 0;
    const records = await pollUntilAborted(
      consumer,
      Math.min(left, pollRecordsMax),
      waitMs,
      io.signal,
    );
    for (const record of records) addLine(output, logRecordLine(record, options.format));
    left -= records.length;
    isAtEnd = records.length === 0;
    if (isAtEnd && !options.isFollowing) break;
    if (isAtEnd || isFull(output)) await deliver(run, consumer);
  }
  await deliver(run, consumer);
}

/**
 * Polls for a user who may want to stop.
 *
 * @param consumer The consumer.
 * @param recordsMax How many records at most.
 * @param waitMs How long to wait for records; Infinity is fine.
 * @param signal Ends the waiting.
 * @returns Resolves with the records; none if there are none or the signal was aborted.
 * @throws OttlaError as `poll`.
 */
export async function pollUntilAborted(
  consumer: Consumer,
  recordsMax: number,
  waitMs: number,
  signal: AbortSignal,
): Promise<LogRecord[]> {
  try {
    return await poll(consumer, { recordsMax, waitMs, signal });
  } catch (error) {
    if (signal.aborted && error === signal.reason) return [];
    throw error;
  }
}

/** Writes what was gathered, and then commits it. */
async function deliver(run: MemberRun, consumer: Consumer): Promise<void> {
  await flushLines(run.output);
  const messages = run.messages.splice(0);
  run.damageCount += messages.length;
  for (const message of messages) await run.io.stderr.write(`ottla: ${message}\n`);
  await commit(consumer);
}
