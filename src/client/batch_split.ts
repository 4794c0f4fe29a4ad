/**
 * Splits a batch that its topic does not take as it is: it turned out too large since its records
 * do not compress, or the topic was altered while they waited, to smaller batches or compaction.
 */

import { strict as assert } from "node:assert";
import { appendRecord } from "../record/batch_builder.ts";
import { viewBatch } from "../record/batch_view.ts";
import { forEachRecord, headersOf, keyOf, valueOf } from "../record/record_reader.ts";
import type { ProducerBatch, ProducerInternals } from "./producer_state.ts";
import { noteRecord, openBatch } from "./record_accumulator.ts";

/**
 * The records of a batch in two batches or more, each smaller.
 *
 * @param producer The inside of a producer.
 * @param batch A batch with two records or more whose builder holds it finished; nobody has seen
 * it. It stays as it is.
 * @returns Batches that are not finished, to be put in its place.
 */
export function splitBatch(producer: ProducerInternals, batch: ProducerBatch): ProducerBatch[] {
  const { queue, settles, timestamps } = batch;
  const source = batch.builder!;
  const view = viewBatch(source.bytes, 0, source.batchStart, queue.state, source.view);
  assert(view !== undefined && settles.length > 1, "there is a batch to split");
  const recordsMax = Math.ceil(settles.length / 2);
  const parts: ProducerBatch[] = [];
  let part: ProducerBatch | undefined;
  let index = 0;
  forEachRecord(view, (record) => {
    if (part === undefined || part.settles.length === recordsMax) {
      part = openBatch(producer, queue, batch.ack, batch.firstSend, batch.createdMs);
      parts.push(part);
    }
    const timestamp = timestamps[index]!;
    const key = keyOf(record);
    appendRecord(part.builder!, timestamp, key, valueOf(record), headersOf(record));
    noteRecord(producer, part, key !== null, timestamp, settles[index]!);
    index++;
  });
  for (const { settles } of parts) assert(settles.length > 0, "no part is empty");
  return parts;
}
