/** `appendBatch` against a bare framed file, and one `append` against one bare write. */

import * as fs from "node:fs";
import { join } from "node:path";
import { append, appendBatch, closeStore, createTopic, openStore } from "../mod.ts";
import type { Store } from "../mod.ts";
import type { FramedFile } from "./fixture.ts";
import { benchFolder, benchRecords, framedFile, removeFolder } from "./fixture.ts";
import type { BenchScale, Outcome } from "./harness.ts";
import { compare } from "./harness.ts";

const batchRecords = 1000;
/** Where the disk is waited for, the sides take so many turns in a measurement. */
const diskTurns = 10;
/**
 * So many batches are synced in a measurement. With 200 the warm-up was too short: what runs once a
 * batch was not compiled yet, and the ratio came out at 0.66 in place of 0.75.
 */
const diskBatches = 1000;
/** The size of a batch of one record with a key of 12 bytes and a value of 100. */
const oneRecordBytes = 61 + 2 + 1 + 1 + 1 + 1 + 12 + 2 + 100 + 1;

/**
 * Batches of 1,000 records.
 *
 * @param scale How large and how often.
 * @param valueBytes How long each value is.
 * @param ack What to wait for; "disk" is held against a write with an fdatasync behind it.
 * @param ratioMin What the ratio must be at least.
 * @returns The medians.
 */
export async function benchAppendBatch(
  scale: BenchScale,
  valueBytes: number,
  ack: "os" | "disk",
  ratioMin: number,
): Promise<Outcome> {
  const folder = benchFolder("append");
  const records = benchRecords(batchRecords, valueBytes);
  const runs = scale.isSmoke
    ? 5
    : ack === "disk"
    ? diskBatches
    : Math.ceil(200_000 / (valueBytes + 20));
  let framed: FramedFile | undefined;
  let store: Store | undefined;
  let round = 0;
  try {
    return await compare({
      title: `appendBatch, ack "${ack}", ${valueBytes} B values`,
      unit: "records",
      unitsPerRun: batchRecords,
      runs,
      turns: ack === "disk" && !scale.isSmoke ? diskTurns : 1,
      ratioMin,
      baseline: {
        name: "framed file",
        before() {
          framed = framedFile(join(folder, "framed"), 2 * 1024 * 1024);
        },
        run() {
          const count = framed!.append(records);
          if (ack === "disk") framed!.sync();
          return count;
        },
        after: () => framed!.close(),
      },
      ottla: {
        name: "ottla",
        async before() {
          store = await openStore(join(folder, `store-${round++}`));
          await createTopic(store, "bench");
          await append(store, "bench", { value: "first" });
        },
        async run() {
          const [batch] = await appendBatch(store!, "bench", records, { ack });
          return batch!.lastOffset;
        },
        async after() {
          await closeStore(store!);
          removeFolder(store!.path);
        },
      },
    }, scale);
  } finally {
    removeFolder(folder);
  }
}

/**
 * One awaited append after the other, against bare writes of as many bytes.
 *
 * @param scale How large and how often.
 * @param ack What to wait for.
 * @param ratioMin What the ratio must be at least.
 * @returns The medians.
 */
export async function benchAppend(
  scale: BenchScale,
  ack: "os" | "disk",
  ratioMin: number,
): Promise<Outcome> {
  const folder = benchFolder("append-one");
  const [record] = benchRecords(1, 100);
  const bytes = new Uint8Array(oneRecordBytes).fill(7);
  const perRun = ack === "disk" ? 10 : 500;
  const runs = scale.isSmoke ? 2 : 100;
  const store = await openStore(join(folder, "store"));
  let file = -1;
  let position = 0;
  try {
    await createTopic(store, "bench");
    return await compare({
      title: `append, ack "${ack}", one after another`,
      unit: "records",
      unitsPerRun: perRun,
      runs,
      turns: ack === "disk" && !scale.isSmoke ? diskTurns : 1,
      ratioMin,
      baseline: {
        name: "bare write",
        before() {
          file = fs.openSync(join(folder, "bare"), "w+");
          position = 0;
        },
        run() {
          for (let n = 0; n < perRun; n++) {
            fs.writeSync(file, bytes, 0, bytes.length, position);
            position += bytes.length;
            if (ack === "disk") fs.fdatasyncSync(file);
          }
          return position;
        },
        after: () => fs.closeSync(file),
      },
      ottla: {
        name: "ottla",
        async run() {
          let offset = 0;
          for (let n = 0; n < perRun; n++) {
            offset = (await append(store, "bench", record!, { ack })).offset;
          }
          return offset;
        },
      },
    }, scale);
  } finally {
    await closeStore(store);
    removeFolder(folder);
  }
}

/**
 * 64 appends at once at "disk", against one after another.
 *
 * @param scale How large and how often.
 * @param ratioMin What the ratio must be at least.
 * @returns The medians.
 */
export async function benchAppendAtOnce(scale: BenchScale, ratioMin: number): Promise<Outcome> {
  const folder = benchFolder("append-many");
  const [record] = benchRecords(1, 100);
  const atOnce = 64;
  const store = await openStore(join(folder, "store"));
  try {
    await createTopic(store, "bench");
    const appendOne = (): Promise<{ offset: number }> => append(store, "bench", record!);
    return await compare({
      title: `append, ack "disk", ${atOnce} at once`,
      unit: "records",
      unitsPerRun: [10, 10 * atOnce],
      runs: scale.isSmoke ? 2 : 30,
      turns: scale.isSmoke ? 1 : diskTurns,
      ratioMin,
      baseline: {
        name: "one after another",
        async run() {
          let offset = 0;
          for (let n = 0; n < 10; n++) offset = (await appendOne()).offset;
          return offset;
        },
      },
      ottla: {
        name: "at once",
        async run() {
          let offset = 0;
          for (let n = 0; n < 10; n++) {
            const appended = await Promise.all(Array.from({ length: atOnce }, appendOne));
            offset = appended.at(-1)!.offset;
          }
          return offset;
        },
      },
    }, scale);
  } finally {
    await closeStore(store);
    removeFolder(folder);
  }
}
