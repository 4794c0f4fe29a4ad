/**
 * The demo's streaming step: the bytes of a partition, as they lie in its files, through a TCP
 * socket of this machine; the other end decodes what arrives and verifies it.
 */

import { Buffer } from "node:buffer";
import { once } from "node:events";
import type { AddressInfo, Server, Socket } from "node:net";
import { connect, createServer } from "node:net";
import { closeRange, forEachRecord, keyOf, openRange, sendRange, valueOf } from "../../mod.ts";
import { batchesIn, hasValidChecksum } from "../record/batch_view.ts";
import { checksumOfRecord } from "./demo_ledger.ts";
import {
  differenceOf,
  formatChecksum,
  formatDuration,
  printFacts,
  printStep,
  printVerified,
} from "./demo_report.ts";
import { formatBytes, formatCount } from "./format.ts";
import type { DemoRun } from "./demo_run.ts";

/** What arrived at the other end. */
interface Arrival {
  /** The beginning of a batch whose end has not arrived yet. */
  rest: Uint8Array;
  sizeBytes: number;
  batchCount: number;
  damagedCount: number;
  recordCount: number;
  checksum: number;
}

const host = "127.0.0.1";
const noBytes = new Uint8Array(0);

/**
 * Streams the largest partition and verifies what arrives.
 *
 * @param run The run.
 */
export async function streamStep(run: DemoRun): Promise<void> {
  const { report, tallies } = run;
  await printStep(
    report,
    "Stream",
    "Readers elsewhere get the bytes of the files as they are, checksums too.",
  );
  const counts = tallies.map(({ count }) => count);
  const partition = counts.indexOf(Math.max(...counts));
  const tally = tallies[partition]!;
  const { arrival, sentBytes, durationMs } = await streamPartition(run, partition);
  run.rates.push({
    step: "stream over TCP, verify",
    count: arrival.recordCount,
    sizeBytes: sentBytes,
    durationMs,
  });
  const measured = `${formatBytes(sentBytes)} in ${formatDuration(durationMs)}`;
  await printFacts(
    report,
    `partition ${partition} to a socket on ${host}: ${measured}, not decoded here`,
  );
  await printVerified(
    report,
    `${formatCount(arrival.batchCount)} batches arrived, the CRC32C of each is right`,
    differenceOf("bytes", sentBytes, arrival.sizeBytes) ??
      differenceOf("damaged batches", 0, arrival.damagedCount) ??
      differenceOf("bytes of an unfinished batch", 0, arrival.rest.length),
  );
  const found = formatChecksum(arrival.checksum);
  await printVerified(
    report,
    `${formatCount(arrival.recordCount)} records decoded there, checksum ${found}, as read here`,
    differenceOf("records", tally.count, arrival.recordCount) ??
      (tally.checksum === arrival.checksum
        ? undefined
        : `expected checksum ${formatChecksum(tally.checksum)}`),
  );
}

async function streamPartition(
  run: DemoRun,
  partition: number,
): Promise<{ arrival: Arrival; sentBytes: number; durationMs: number }> {
  const range = openRange(run.store, run.topic, partition, { from: 0 });
  const server = createServer();
  try {
    server.listen(0, host);
    await once(server, "listening");
    const startedMs = performance.now();
    const arriving = receive(server);
    const sending = send(run, range, (server.address() as AddressInfo).port);
    const [arrived, sent] = await Promise.allSettled([arriving, sending]);
    // If both failed the receiver knows why, the sender only that nobody takes its bytes.
    if (arrived.status === "rejected") throw arrived.reason;
    if (sent.status === "rejected") throw sent.reason;
    const durationMs = performance.now() - startedMs;
    return { arrival: arrived.value, sentBytes: sent.value, durationMs };
  } finally {
    server.close();
    closeRange(range);
  }
}

async function send(
  run: DemoRun,
  range: ReturnType<typeof openRange>,
  port: number,
): Promise<number> {
  const socket = connect(port, host);
  try {
    await once(socket, "connect");
    const sentBytes = await sendRange(range, socket, { signal: run.signal });
    socket.end();
    await once(socket.resume(), "close");
    return sentBytes;
  } finally {
    socket.destroy();
  }
}

async function receive(server: Server): Promise<Arrival> {
  const [socket] = await once(server, "connection") as [Socket];
  const arrival: Arrival = {
    rest: noBytes,
    sizeBytes: 0,
    batchCount: 0,
    damagedCount: 0,
    recordCount: 0,
    checksum: 0,
  };
  for await (const chunk of socket) takeChunk(arrival, chunk as Uint8Array);
  return arrival;
}

/** Decodes the batches that are there in full by now. */
function takeChunk(arrival: Arrival, chunk: Uint8Array): void {
  arrival.sizeBytes += chunk.length;
  const bytes = arrival.rest.length === 0 ? chunk : Buffer.concat([arrival.rest, chunk]);
  let position = 0;
  for (const batch of batchesIn(bytes)) {
    position += batch.sizeBytes;
    arrival.batchCount++;
    if (!hasValidChecksum(batch)) {
      arrival.damagedCount++;
      continue;
    }
    arrival.recordCount += forEachRecord(batch, (record) => {
      const checksum = checksumOfRecord(
        keyOf(record),
        valueOf(record) ?? noBytes,
        record.timestamp,
      );
      arrival.checksum = (arrival.checksum + checksum) >>> 0;
    });
  }
  arrival.rest = bytes.subarray(position);
}
