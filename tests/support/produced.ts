/** Batches of idempotent and transactional producers, for the tests of what is known of them. */

import type { Ack, Log } from "../../src/log/log.ts";
import type { ProducedBatch } from "../../src/log/producer_append.ts";
import { appendProduced } from "../../src/log/producer_append.ts";
import type { BatchBuilder } from "../../src/record/batch_builder.ts";
import { appendRecord, batchBuilder, finishBatch } from "../../src/record/batch_builder.ts";
import { buildEndTransactionMarker } from "../../src/record/control_record.ts";

/** What a batch of a test says; everything has a plain default. */
export interface ProducedPlan {
  /** 7 unless given. */
  readonly producerId?: number;
  readonly epoch?: number;
  readonly values?: readonly string[];
  readonly timestamp?: number;
  readonly transactional?: boolean;
  readonly ack?: Ack;
  readonly origin?: "client" | "coordinator";
}

/** When the batches of the tests were made unless they say otherwise. */
export const producedTime = 1_000_000;

/** Appends a batch with a sequence number. */
export function produce(log: Log, baseSequence: number, plan: ProducedPlan = {}): ProducedBatch {
  const { values = [`s${baseSequence}`], timestamp = producedTime, ack = "os" } = plan;
  const builder = batchBuilder();
  for (const value of values) appendRecord(builder, timestamp, null, value);
  finishBatch(builder, {
    baseOffset: log.endOffset,
    partitionLeaderEpoch: log.leaderEpoch,
    producerId: plan.producerId ?? 7,
    producerEpoch: plan.epoch ?? 0,
    baseSequence,
    transactional: plan.transactional,
  });
  return appendProduced(log, builder, log.endOffset + values.length, ack, plan.origin);
}

/** What a marker of a test says. */
export interface MarkerPlan {
  readonly producerId?: number;
  readonly epoch?: number;
  readonly coordinatorEpoch?: number;
  readonly timestamp?: number;
  readonly ack?: Ack;
}

/** Ends the transaction of a producer. */
export function endTransaction(
  log: Log,
  type: "abort" | "commit",
  plan: MarkerPlan = {},
): ProducedBatch {
  const builder = markerAt(log, type, plan);
  return appendProduced(log, builder, log.endOffset + 1, plan.ack ?? "os");
}

function markerAt(log: Log, type: "abort" | "commit", plan: MarkerPlan): BatchBuilder {
  const builder = batchBuilder();
  buildEndTransactionMarker(builder, {
    type,
    baseOffset: log.endOffset,
    partitionLeaderEpoch: log.leaderEpoch,
    producerId: plan.producerId ?? 7,
    producerEpoch: plan.epoch ?? 0,
    coordinatorEpoch: plan.coordinatorEpoch ?? 0,
    timestamp: plan.timestamp ?? producedTime,
  });
  return builder;
}
