/** Statistics in Prometheus' text format: what a parser of it reads. */

import assert from "node:assert/strict";
import { test } from "node:test";

import {
  append,
  appendBatch,
  compactTopic,
  createTopic,
  deleteTopic,
  prometheusOf,
  statsOf,
} from "../../mod.ts";
import type { StatsOptions } from "../../mod.ts";
import { printHistogram, printMetric } from "../../src/store/prometheus_text.ts";
import { metricsIn } from "../support/prometheus.ts";
import { withStore } from "../support/store_fixture.ts";

test("labels and help texts are escaped", () => {
  const samples = [{ labels: { topic: 'a"b\\c\nd' }, value: 1.5 }];
  assert.equal(
    printMetric("gauge", "x", "one\\two\nthree", samples),
    '# HELP x one\\\\two\\nthree\n# TYPE x gauge\nx{topic="a\\"b\\\\c\\nd"} 1.5\n',
  );
  const [metric] = metricsIn(printMetric("gauge", "x", "help", samples));
  assert.equal(metric?.samples[0]?.labels["topic"], 'a"b\\c\nd');
});

test("a metric without samples is not printed", () => {
  assert.equal(printMetric("counter", "x_total", "help", []), "");
});

test("the buckets of a histogram are cumulative", () => {
  const buckets = [{ le: 0.5, count: 2 }, { le: 1, count: 0 }, { le: null, count: 3 }];
  assert.equal(
    printHistogram("x", "help", { buckets, sum: 12.25 }),
    [
      "# HELP x help",
      "# TYPE x histogram",
      'x_bucket{le="0.5"} 2',
      'x_bucket{le="1"} 2',
      'x_bucket{le="+Inf"} 5',
      "x_sum 12.25",
      "x_count 5",
      "",
    ].join("\n"),
  );
});

test("all statistics are there, each metric once and with its head", () =>
  withStore(async (store) => {
    await createTopic(store, "orders");
    await append(store, "orders", { value: "x" });
    await append(store, "orders", { value: "x" }, { ack: "os" });
    const stats = statsOf(store, { partitions: true });
    const metrics = metricsIn(prometheusOf(stats));
    const names = metrics.map(({ name }) => name);
    assert.equal(new Set(names).size, names.length);
    for (const { name, type, help, samples } of metrics) {
      assert.match(name, /^ottla_[a-z_]+$/);
      assert.match(help, /^[A-Z].*\.$/);
      assert.equal(type === "counter", name.endsWith("_total"), name);
      assert.ok(samples.length > 0, name);
      for (const { value } of samples) assert.ok(value >= 0, name);
    }
    const valueOf = (name: string, labels: Record<string, string> = {}): number | undefined =>
      metrics.flatMap(({ samples }) => samples).find((sample) =>
        sample.name === name &&
        Object.entries(labels).every(([label, text]) => sample.labels[label] === text)
      )?.value;
    assert.equal(valueOf("ottla_appended_records_total", { topic: "orders", ack: "disk" }), 1);
    assert.equal(valueOf("ottla_appended_records_total", { topic: "orders", ack: "os" }), 1);
    assert.equal(valueOf("ottla_sync_seconds_count"), stats.totals.syncMs.count);
    assert.equal(valueOf("ottla_sync_seconds_sum"), stats.totals.syncMs.sum / 1000);
    assert.equal(valueOf("ottla_batch_size_bytes_bucket", { le: "+Inf" }), 2);
    assert.equal(valueOf("ottla_log_bytes", { topic: "orders" }), stats.totals.logBytes);
    assert.equal(valueOf("ottla_end_offset", { topic: "orders", partition: "0" }), 2);
    assert.equal(valueOf("ottla_free_bytes"), stats.freeBytes);
    assert.equal(valueOf("ottla_groups"), undefined);
  }));

test("the bounds of durations are in seconds, without digits that binary numbers add", () =>
  withStore((store) => {
    const text = prometheusOf(statsOf(store));
    for (const le of ["0.00001", "0.005", "0.05", "10"]) {
      assert.ok(text.includes(`ottla_sync_seconds_bucket{le="${le}"}`), le);
    }
    const bounds = [...text.matchAll(/ottla_sync_seconds_bucket\{le="([^"]+)"\}/g)];
    for (const [, le] of bounds) assert.match(le!, /^(\+Inf|\d(\.\d+)?(e-\d)?|\d+)$/);
    return Promise.resolve();
  }));

test("no counter falls, though a compaction may make a log larger", () =>
  withStore(async (store) => {
    await createTopic(store, "prices", { cleanupPolicy: "compact" });
    const deletions = Array.from({ length: 50 }, (_, key) => ({ key: `${key}`, value: null }));
    await appendBatch(store, "prices", deletions);
    // From then on each deletion has the time at which it may go.
    await compactTopic(store, "prices");
    const stats = statsOf(store);
    const { readBytes, keptBytes } = stats.totals.compaction;
    assert.ok(keptBytes > readBytes);
    const counters = metricsIn(prometheusOf(stats)).filter(({ type }) => type === "counter");
    const samples = counters.flatMap(({ samples }) => samples);
    assert.deepEqual(samples.filter(({ value }) => value < 0), []);
    const valueOf = (wanted: string): number | undefined =>
      samples.find(({ name, labels }) => name === wanted && labels["topic"] === "prices")?.value;
    assert.equal(valueOf("ottla_compaction_read_bytes_total"), readBytes);
    assert.equal(valueOf("ottla_compaction_kept_bytes_total"), keptBytes);
    assert.equal(valueOf("ottla_compaction_read_records_total"), 50);
    assert.equal(valueOf("ottla_compaction_kept_records_total"), 50);
  }));

test("a counter ends with its topic, and no other one takes what it has counted", () =>
  withStore(async (store) => {
    const names = ["orders", "prices", "views"];
    for (const name of names) await createTopic(store, name);
    for (const name of names) await append(store, name, { value: "x" }, { ack: "os" });
    const countedIn = (options: StatsOptions = {}): Record<string, number> =>
      Object.fromEntries(
        metricsIn(prometheusOf(statsOf(store, options))).flatMap(({ samples }) => samples)
          .filter(({ name, labels }) =>
            name === "ottla_appended_records_total" && labels["ack"] === "os"
          )
          .map(({ labels, value }) => [labels["topic"], value]),
      );
    assert.deepEqual(countedIn(), { orders: 1, prices: 1, views: 1 });
    assert.deepEqual(countedIn({ topics: ["views"] }), { "": 2, views: 1 });
    await deleteTopic(store, "orders");
    assert.deepEqual(countedIn(), { prices: 1, views: 1 });
    assert.deepEqual(countedIn({ topics: ["views"] }), { "": 2, views: 1 });
    assert.deepEqual(countedIn({ topics: [] }), { "": 3 });
  }));
