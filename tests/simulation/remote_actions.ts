/**
 * Producers that live elsewhere and send their batches again when nobody has answered: over the
 * deaths of the store, and now and then even if somebody has.
 *
 * They number their batches themselves and have one under way in each partition, as clients of a
 * broker do. So whatever a snapshot or a replay forgets of them shows: a batch that is stored twice,
 * or one that is refused.
 */

import type { ErrorCode } from "../../mod.ts";
import { appendProduced } from "../../src/log/producer_append.ts";
import type { ProducedBatch } from "../../src/log/producer_append.ts";
import { appendRecord, batchBuilder, finishBatch } from "../../src/record/batch_builder.ts";
import { logOf } from "../../src/store/partitions.ts";
import { internalsOf } from "../../src/store/store.ts";
import { newRecord } from "./append_actions.ts";
import { demand } from "./invariant.ts";
import type { ModelRecord, PartitionModel } from "./partition_model.ts";
import { noteStored } from "./partition_model.ts";
import { countSent } from "./stats_actions.ts";
import type { World } from "./world.ts";
import { attempt, openStoreOf, pickPartition, start } from "./world.ts";

const remotesMax = 3;
const batchRecordsMax = 4;
/** Far from those that a store gives out. */
const firstProducerId = 1_000_000;

/** A batch that a remote producer has sent last to a partition. */
interface SentBatch {
  readonly baseSequence: number;
  readonly records: readonly ModelRecord[];
  isUnderWay: boolean;
  /** Whether somebody has answered that it is stored. */
  isAcknowledged: boolean;
  /** Whether it has come in the place of one that a crash has taken. */
  readonly isReplaced: boolean;
  /** Whether no segment takes it. */
  isTooLarge: boolean;
}

/** A producer that survives every store. */
export interface RemoteProducer {
  readonly name: string;
  readonly producerId: number;
  readonly batches: Map<PartitionModel, SentBatch>;
}

/** A topic may be deleted, and a small segment may not take what is large. */
const codes: readonly ErrorCode[] = [
  "UNKNOWN_TOPIC_OR_PARTITION",
  "RECORD_LIST_TOO_LARGE",
  "HANDLE_CLOSED",
];
/** With these nothing was stored. */
const refusals: readonly ErrorCode[] = ["DISK_FULL", "RECORD_LIST_TOO_LARGE"];

/** A remote producer sends its next batch to a partition, or the last one again. */
export function sendFromRemote(world: World): void {
  const model = pickPartition(world);
  if (model === undefined) return;
  const remote = pickRemote(world);
  const last = remote.batches.get(model);
  if (last?.isUnderWay) return;
  const sendsAgain = last !== undefined && (!last.isAcknowledged || world.random.chance(0.3));
  const batch = sendsAgain
    ? again(world, remote, model, last)
    : nextBatch(world, remote, model, last);
  remote.batches.set(model, batch);
  const first = batch.records[0]!.id;
  const name = `produce ${first} to ${batch.records.at(-1)!.id} with ${remote.name} to ` +
    `${model.name}, sequence ${batch.baseSequence}${sendsAgain ? ", again" : ""}`;
  batch.isUnderWay = true;
  start(world, name, async () => {
    const { process } = world;
    const outcome = await attempt(world, name, codes, async () => {
      const produced = produce(world, remote, model, batch);
      await produced.done;
      return produced;
    });
    if (process === world.disk.process) batch.isUnderWay = false;
    if (outcome.kind === "done") noteProduced(model, batch, name, outcome.value);
    else if (outcome.kind === "failed") noteFailed(batch, outcome.code);
  });
}

/** Whoever was answered by a process that has died was not answered. */
export function loseAnswers({ remotes }: World): void {
  for (const { batches } of remotes) {
    for (const batch of batches.values()) batch.isUnderWay = false;
  }
}

function pickRemote({ random, remotes }: World): RemoteProducer {
  const number = random.below(remotesMax);
  const known = remotes[number];
  if (known !== undefined) return known;
  const remote = {
    name: `remote${remotes.length}`,
    producerId: firstProducerId + remotes.length,
    batches: new Map<PartitionModel, SentBatch>(),
  };
  remotes.push(remote);
  return remote;
}

function nextBatch(
  world: World,
  remote: RemoteProducer,
  model: PartitionModel,
  last: SentBatch | undefined,
): SentBatch {
  const count = 1 + world.random.below(batchRecordsMax);
  const records = Array.from({ length: count }, () => newRecord(world, model, remote.name, "disk"));
  const baseSequence = last === undefined ? 0 : last.baseSequence + last.records.length;
  return {
    baseSequence,
    records,
    isUnderWay: false,
    isAcknowledged: false,
    isReplaced: false,
    isTooLarge: false,
  };
}

/** What comes in the place of a batch that a crash has taken has its numbers. */
function again(
  world: World,
  remote: RemoteProducer,
  model: PartitionModel,
  last: SentBatch,
): SentBatch {
  const isReplaced = last.isTooLarge || last.records.some(({ state }) => state === "lost");
  if (!isReplaced) {
    for (const record of last.records) {
      if (record.state === "refused") record.state = "pending";
      countSent(world, record);
    }
    return last;
  }
  const records = last.records.map(() => newRecord(world, model, remote.name, "disk"));
  return { ...last, records, isReplaced: true, isTooLarge: false };
}

function produce(
  world: World,
  { producerId }: RemoteProducer,
  model: PartitionModel,
  { baseSequence, records }: SentBatch,
): ProducedBatch {
  const internals = internalsOf(openStoreOf(world));
  const topic = internals.topics.get(model.topic);
  demand(topic !== undefined, () => `${model.topic} is there`);
  const log = logOf(internals, topic, topic.partitions[model.partition]!);
  const builder = batchBuilder();
  for (const { record: { timestamp, key = null, value = null, headers } } of records) {
    appendRecord(builder, timestamp, key, value, headers);
  }
  finishBatch(builder, {
    baseOffset: log.endOffset,
    partitionLeaderEpoch: log.leaderEpoch,
    producerId,
    producerEpoch: 0,
    baseSequence,
  });
  return appendProduced(log, builder, log.endOffset + records.length, "disk");
}

function noteProduced(
  model: PartitionModel,
  batch: SentBatch,
  name: string,
  { baseOffset, isDuplicate }: ProducedBatch,
): void {
  const { records } = batch;
  batch.isAcknowledged = true;
  const isNew = records.every(({ offset }) => offset < 0);
  // What was removed before anybody had seen it counts as lost here, and as stored there.
  const mayBeRemoved = model.rules.isCompacted || baseOffset < model.startOffsetMax;
  if (isDuplicate && isNew && batch.isReplaced) {
    demand(mayBeRemoved, () => `${name} was taken for a batch at ${baseOffset} that was lost`);
    for (const record of records) record.state = "lost";
    return;
  }
  for (const [index, record] of records.entries()) noteStored(record, baseOffset + index);
}

/** What has been answered before stays as it is. */
function noteFailed(batch: SentBatch, code: ErrorCode): void {
  const { records } = batch;
  batch.isTooLarge = code === "RECORD_LIST_TOO_LARGE";
  const state = refusals.includes(code) ? "refused" : "uncertain";
  for (const record of records) if (record.state === "pending") record.state = state;
}
