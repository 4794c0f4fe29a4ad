/**
 * Which transactions of a partition were committed, as its files tell from outside. Whether one was
 * stands in its marker, and that lies ahead: so a second place moves through the files in front of
 * the reader's, and what it finds is kept in mind until the reader has come there.
 */

import { markerOf } from "../log/committed_reader.ts";
import type { BatchView } from "../record/batch_view.ts";
import { isControlBatch, isTransactional, producerIdOf } from "../record/batch_view.ts";
import type { EndTransactionMarker } from "../record/control_record.ts";
import type { PartitionTail } from "./partition_tail.ts";
import { advanceTail } from "./partition_tail.ts";

/** A marker ahead of the reader. */
interface MarkerAhead {
  readonly type: EndTransactionMarker["type"];
  readonly offset: number;
}

/** What is known of the transactions ahead of a reader. */
export interface CommittedTail {
  /** The reader's place. */
  readonly tail: PartitionTail;
  /** How far it was looked ahead; undefined before the first transaction. */
  ahead: PartitionTail | undefined;
  /** The markers up to there, by producer and in order. */
  readonly markers: Map<number, MarkerAhead[]>;
  markerCount: number;
  /** Whether there were too many markers to keep all in mind. */
  isIncomplete: boolean;
  /** How many are kept in mind. */
  readonly markersMax: number;
}

/** Each takes some 100 bytes. */
const markersMaxDefault = 1_000_000;

/**
 * A look ahead from where a reader stands.
 *
 * @param tail The reader's place.
 * @param markersMax How many markers are kept in mind; beyond that files are read more than once.
 * @returns What is known of its transactions: nothing yet.
 */
export function committedTail(
  tail: PartitionTail,
  markersMax: number = markersMaxDefault,
): CommittedTail {
  const markers = new Map<number, MarkerAhead[]>();
  return { tail, ahead: undefined, markers, markerCount: 0, isIncomplete: false, markersMax };
}

/**
 * What became of the batch that a reader has come to.
 *
 * @param committed What is known; batches must be asked for in their order.
 * @param batch The batch, of data or with a marker.
 * @returns "commit" if its records are to be seen, "abort" if they are not, "open" if that is not
 * known before the log has grown.
 */
export function outcomeOf(committed: CommittedTail, batch: BatchView): "commit" | "abort" | "open" {
  const producerId = producerIdOf(batch);
  if (isControlBatch(batch)) {
    forgetMarkers(committed, producerId, batch.lastOffset);
    return "abort";
  }
  if (!isTransactional(batch) || producerId < 0) return "commit";
  const known = committed.markers.get(producerId)?.[0];
  return known?.type ?? lookAhead(committed, producerId, batch.lastOffset);
}

/** Those up to an offset tell nothing of what is behind. */
function forgetMarkers(committed: CommittedTail, producerId: number, offset: number): void {
  const { markers } = committed;
  const ofProducer = markers.get(producerId);
  if (ofProducer === undefined) return;
  const kept = ofProducer.filter((marker) => marker.offset > offset);
  committed.markerCount -= ofProducer.length - kept.length;
  if (kept.length > 0) markers.set(producerId, kept);
  else markers.delete(producerId);
}

function lookAhead(
  committed: CommittedTail,
  producerId: number,
  lastOffset: number,
): "commit" | "abort" | "open" {
  if (committed.ahead === undefined || committed.isIncomplete) startAhead(committed);
  let outcome: "commit" | "abort" | "open" = "open";
  advanceTail(committed.ahead!, {
    batch: (batch) => {
      if (outcome !== "open") return false;
      const marker = batch.lastOffset > lastOffset && isControlBatch(batch)
        ? markerOf(batch)
        : undefined;
      if (marker === undefined) return true;
      const endedId = producerIdOf(batch);
      noteMarker(committed, endedId, { type: marker.type, offset: batch.lastOffset });
      if (endedId === producerId) outcome = marker.type;
      return true;
    },
    // The reader tells of it when it comes there.
    gap: () => {},
  });
  return outcome;
}

/** Begins to look ahead where the reader stands. */
function startAhead(committed: CommittedTail): void {
  committed.ahead = { ...committed.tail };
  committed.markers.clear();
  committed.markerCount = 0;
  committed.isIncomplete = false;
}

function noteMarker(committed: CommittedTail, producerId: number, marker: MarkerAhead): void {
  if (committed.markerCount >= committed.markersMax) {
    committed.isIncomplete = true;
    return;
  }
  const ofProducer = committed.markers.get(producerId);
  if (ofProducer === undefined) committed.markers.set(producerId, [marker]);
  else ofProducer.push(marker);
  committed.markerCount++;
}
