/** `ottla stats`. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import {
  append,
  closeStore,
  commitOffsets,
  createTopic,
  deleteRecords,
  flush,
  openStore,
  prometheusOf,
  statsOf,
} from "../../mod.ts";
import type { Store } from "../../mod.ts";
import { metricsIn } from "../support/prometheus.ts";
import { numbered } from "../support/store_fixture.ts";
import { inFolder, linesOf, runCommand } from "./command_run.ts";

async function filledStore(folder: string): Promise<Store> {
  const store = await openStore(folder, { ack: "os", topicOverrides: { segmentBytes: 1000 } });
  await createTopic(store, "orders", { partitions: 2 });
  await createTopic(store, "prices");
  for (const record of numbered(0, 50)) await append(store, "orders", { ...record, partition: 1 });
  await append(store, "prices", { value: "x" });
  await commitOffsets(store, "billing", [
    { topic: "orders", partition: 1, offset: 20 },
    { topic: "prices", partition: 0, offset: 1 },
  ]);
  return store;
}

interface Printed {
  readonly path: string;
  readonly freeBytes: number;
  readonly topics: readonly {
    readonly topic: string;
    readonly segments: number;
    readonly logBytes: number;
    readonly partitions: readonly Record<string, number>[];
  }[];
  readonly groups: readonly Record<string, unknown>[];
}

test("what a store holds, as a table", () =>
  inFolder(async (root) => {
    const folder = join(root, "data");
    await closeStore(await filledStore(folder));
    const { code, output, errors } = await runCommand(["stats", folder]);
    assert.deepEqual([code, errors], [0, ""]);
    const lines = linesOf(output).map((line) => line.replace(/ +/g, " ").trim());
    assert.equal(lines[0], "topic partitions segments size offsets");
    assert.ok(lines.some((line) => /^orders 2 \d+ [\d.]+ kB 50$/.test(line)), output);
    assert.ok(lines.includes("billing orders 1 30"));
    assert.ok(lines.includes("billing prices 1 0"));
    assert.match(lines.at(-1)!, /^3 topics, 53 partitions, [\d.]+ kB, [\d.]+ \wB free$/);
  }));

test("as JSON it is what the store itself tells", () =>
  inFolder(async (root) => {
    const folder = join(root, "data");
    const store = await filledStore(folder);
    await flush(store);
    await deleteRecords(store, "orders", 1, 30);
    const { topics } = statsOf(store, { topics: ["orders"], partitions: true });
    const asked = async (): Promise<Printed> => {
      const { output } = await runCommand(["stats", "--json", "--topic", "orders", folder]);
      return JSON.parse(output) as Printed;
    };
    // It can be asked while somebody has the store open.
    const open = await asked();
    await closeStore(store);
    const closed = await asked();
    assert.deepEqual({ ...open, freeBytes: 0 }, { ...closed, freeBytes: 0 });
    assert.ok(closed.freeBytes > 0);
    assert.equal(closed.path, folder);
    const [orders] = closed.topics;
    assert.deepEqual([orders?.topic, orders?.segments, orders?.logBytes], [
      "orders",
      topics[0]!.segments,
      topics[0]!.logBytes,
    ]);
    const { startOffset, endOffset } = topics[0]!.partitionStats![1]!.offsets!;
    assert.deepEqual(
      [orders?.partitions[1]?.["startOffset"], orders?.partitions[1]?.["endOffset"]],
      [
        startOffset,
        endOffset,
      ],
    );
    assert.deepEqual(closed.groups, [
      { groupId: "billing", topic: "orders", partition: 1, committedOffset: 20, lag: 30 },
    ]);
  }));

test("for Prometheus the names and values are those of prometheusOf", () =>
  inFolder(async (root) => {
    const folder = join(root, "data");
    const store = await filledStore(folder);
    const own = metricsIn(prometheusOf(statsOf(store, { topics: ["orders"], partitions: true })));
    await closeStore(store);
    const { output } = await runCommand(["stats", "--prometheus", "--topic", "orders", folder]);
    const metrics = metricsIn(output);
    for (const name of ["partitions", "segments", "log_bytes", "start_offset", "end_offset"]) {
      const find = (list: typeof metrics): unknown =>
        list.find((metric) => metric.name === `ottla_${name}`);
      assert.ok(find(metrics) !== undefined, name);
      assert.deepEqual(find(metrics), find(own));
    }
    const lag = metrics.find(({ name }) => name === "ottla_group_lag");
    assert.deepEqual(lag?.samples, [
      {
        name: "ottla_group_lag",
        labels: { group: "billing", topic: "orders", partition: "1" },
        value: 30,
      },
    ]);
  }));

test("what is wrong is said", () =>
  inFolder(async (root) => {
    const folder = join(root, "data");
    await closeStore(await filledStore(folder));
    const failing: [string[], number, RegExp][] = [
      [[], 2, /<folder> is missing/],
      [["--json", "--prometheus", folder], 2, /exclude each other/],
      [["--topic", "none", folder], 1, /none/],
      [[join(root, "nowhere")], 1, /there is no such folder/],
    ];
    for (const [args, wanted, pattern] of failing) {
      const { code, errors, output } = await runCommand(["stats", ...args]);
      assert.deepEqual([code, output], [wanted, ""], errors);
      assert.match(errors, pattern);
    }
  }));
