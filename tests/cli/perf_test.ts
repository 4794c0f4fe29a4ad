/** `ottla perf`: its statistics, lines and rates to the letter, and small runs against the topic. */

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { append, closeStore, createTopic, describeTopic, openStore, read } from "../../mod.ts";
import type { LatencyStatistics } from "../../src/cli/perf_latency.ts";
import {
  addLatency,
  latencyPercentiles,
  latencySamplesMax,
  latencyStatistics,
  latencyTally,
  noteLatency,
} from "../../src/cli/perf_latency.ts";
import { filePayloads, monotonicPayloads, randomPayloads } from "../../src/cli/perf_payload.ts";
import {
  consumerHeader,
  consumerIntervalLine,
  consumerSummary,
  consumerSummaryLine,
  intervalHeader,
  producerIntervalLine,
  producerSummary,
  producerSummaryLine,
} from "../../src/cli/perf_report.ts";
import { sleep, takeThrottleDelay, throttle } from "../../src/cli/perf_throttle.ts";
import { committedOffsets, listGroups } from "../../src/client/groups.ts";
import { manualClock } from "../../src/testing/manual_clock.ts";
import { assertProperty } from "../support/properties.ts";
import { inFolder, linesOf, runCommand } from "./command_run.ts";

const megabyte = 1024 * 1024;

function statisticsOf(latencies: readonly number[], sizeBytes = 100): LatencyStatistics {
  const statistics = latencyStatistics(latencies.length);
  for (const latencyMs of latencies) noteLatency(statistics, latencyMs, sizeBytes);
  return statistics;
}

/** The numbers from 1 on, in an order that is not theirs. */
function shuffled(count: number): number[] {
  return Array.from({ length: count }, (_, index) => (index * 7919) % count + 1);
}

async function producePerf(path: string, ...options: string[]): Promise<string> {
  const args = ["perf", "produce", path, "t", "--create", "--acks", "os", ...options];
  const { code, output, errors } = await runCommand(args);
  assert.equal(code, 0, errors);
  return output;
}

async function valuesOf(path: string): Promise<string[]> {
  const store = await openStore(path);
  const values: string[] = [];
  for await (const { value } of read(store, "t")) values.push(new TextDecoder().decode(value!));
  await closeStore(store);
  return values;
}

test("percentiles are elements of the sorted sample, cut down as Kafka's", () => {
  const statistics = statisticsOf(shuffled(1000));
  assert.deepEqual(latencyPercentiles(statistics), { p50: 501, p95: 951, p99: 991, p999: 1000 });
  assert.deepEqual(latencyPercentiles(statisticsOf([7])), { p50: 7, p95: 7, p99: 7, p999: 7 });
  assert.deepEqual(latencyPercentiles(statisticsOf([])), { p50: 0, p95: 0, p99: 0, p999: 0 });
});

test("a long run is sampled evenly, and counted in full", () => {
  const statistics = latencyStatistics(3 * latencySamplesMax + 1);
  assert.equal(statistics.sampling, 4);
  for (let index = 0; index < 40; index++) noteLatency(statistics, index, 1);
  assert.deepEqual(
    [...statistics.samples.subarray(0, statistics.sampleCount)],
    [0, 4, 8, 12, 16, 20, 24, 28, 32, 36],
  );
  assert.deepEqual(statistics.tally, { count: 40, sizeBytes: 40, totalMs: 780, maxMs: 39 });
});

test("no run keeps more samples than allowed, nor loses count", () => {
  const property = fc.property(fc.integer({ min: 1, max: 2 ** 40 }), (count) => {
    const { sampling } = latencyStatistics(count);
    const kept = Math.ceil(count / sampling);
    assert.ok(kept <= latencySamplesMax);
    assert.ok(kept > Math.min(count, latencySamplesMax) / 2);
  });
  assertProperty(property, { numRuns: 20 });
});

test("a producer's lines are those of kafka-producer-perf-test", () => {
  const statistics = statisticsOf(shuffled(1000), 2 * 1024);
  assert.equal(
    producerSummaryLine(statistics, 4000),
    "1000 records sent, 250.000000 records/sec (0.49 MB/sec), 500.50 ms avg latency, " +
      "1000.00 ms max latency, 501 ms 50th, 951 ms 95th, 991 ms 99th, 1000 ms 99.9th.",
  );
  assert.equal(
    producerSummaryLine(statisticsOf([0.4, 1.9]), 3, true),
    "2 steady state records sent, 666.666667 records/sec (0.06 MB/sec), 1.15 ms avg latency, " +
      "1.90 ms max latency, 1 ms 50th, 1 ms 95th, 1 ms 99th, 1 ms 99.9th.",
  );
  assert.equal(
    producerSummaryLine(statisticsOf([]), 0),
    "0 records sent, 0.000000 records/sec (0.00 MB/sec), 0.00 ms avg latency, " +
      "0.00 ms max latency, 0 ms 50th, 0 ms 95th, 0 ms 99th, 0 ms 99.9th.",
  );
  const tally = latencyTally();
  addLatency(tally, 10, megabyte);
  addLatency(tally, 20.25, megabyte);
  assert.equal(
    producerIntervalLine(tally, 5000),
    "2 records sent, 0.4 records/sec (0.40 MB/sec), 15.1 ms avg latency, 20.3 ms max latency.",
  );
});

test("a producer's summary as an object has what its line has", () => {
  assert.deepEqual(producerSummary(statisticsOf([0.4, 1.9]), 4), {
    recordCount: 2,
    sizeBytes: 200,
    durationMs: 4,
    recordsPerSecond: 500,
    megabytesPerSecond: 0.048,
    latencyMs: { average: 1.15, max: 1.9, p50: 1.9, p95: 1.9, p99: 1.9, p999: 1.9 },
  });
});

test("a consumer's lines are those of kafka-consumer-perf-test", () => {
  const columns = "data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, " +
    "rebalance.time.ms, fetch.time.ms, fetch.MB.sec, fetch.nMsg.sec";
  assert.equal(consumerHeader, `start.time, end.time, ${columns}`);
  assert.equal(intervalHeader, `time, threadId, ${columns}`);
  const startMs = new Date(2026, 0, 2, 3, 4, 5, 6).getTime();
  const consumed = {
    recordCount: 1000,
    sizeBytes: 10 * megabyte,
    elapsedMs: 2500,
    rebalanceMs: 500,
  };
  assert.equal(
    consumerSummaryLine(consumed, startMs, startMs + 2500),
    "2026-01-02 03:04:05:006, 2026-01-02 03:04:07:506, 10.0000, 4.0000, 1000, 400.0000, " +
      "500, 2000, 5.0000, 500.0000",
  );
  assert.equal(
    consumerIntervalLine({ recordCount: 5000, sizeBytes: 50 * megabyte }, consumed, startMs),
    "2026-01-02 03:04:05:006, 0, 50.0000, 4.0000, 5000, 400.0000, 500, 2000, 5.0000, 500.0000",
  );
  const nothing = { recordCount: 0, sizeBytes: 0, elapsedMs: 0, rebalanceMs: 0 };
  assert.equal(
    consumerSummaryLine(nothing, startMs, startMs),
    "2026-01-02 03:04:05:006, 2026-01-02 03:04:05:006, 0.0000, 0.0000, 0, 0.0000, " +
      "0, 0, 0.0000, 0.0000",
  );
  assert.deepEqual(consumerSummary(consumed, 1, 2501), {
    startTime: 1,
    endTime: 2501,
    recordCount: 1000,
    sizeBytes: 10 * megabyte,
    durationMs: 2500,
    megabytesPerSecond: 4,
    recordsPerSecond: 400,
    rebalanceMs: 500,
    fetchMs: 2000,
    fetchMegabytesPerSecond: 5,
    fetchRecordsPerSecond: 500,
  });
});

test("a throttle keeps its rate from the first record on, whatever the rate", async () => {
  for (const rate of [0.5, 10, 333, 1000, 20_000, 1_000_000]) {
    const clock = manualClock();
    const startMs = clock.now();
    const limits = throttle(rate, startMs);
    const signal = new AbortController().signal;
    const seconds = rate < 1 ? 20 : 2;
    let sentCount = 0;
    while (clock.now() < startMs + seconds * 1000) {
      const delayMs = takeThrottleDelay(limits, sentCount++, clock.now());
      assert.ok(delayMs === 0 || delayMs >= 2);
      if (delayMs === 0) continue;
      const slept = sleep(clock, delayMs, signal);
      await clock.advance(Math.ceil(delayMs));
      await slept;
    }
    const expected = rate * seconds;
    assert.ok(
      Math.abs(sentCount - expected) <= Math.max(2, expected / 100),
      `${rate}: ${sentCount}`,
    );
  }
});

test("without a rate nothing sleeps, and who is behind catches up", () => {
  const free = throttle(Infinity, 0);
  for (let index = 0; index < 100; index++) assert.equal(takeThrottleDelay(free, index, 0), 0);
  const late = throttle(100, 0);
  for (let index = 0; index <= 100; index++) assert.equal(takeThrottleDelay(late, index, 1000), 0);
  assert.equal(takeThrottleDelay(late, 101, 1000), 10);
});

test("a sleep ends with its time or its signal", async () => {
  const clock = manualClock();
  const stop = new AbortController();
  const first = sleep(clock, 5, stop.signal);
  await clock.advance(5);
  await first;
  const second = sleep(clock, 1_000_000, stop.signal);
  stop.abort();
  await second;
  await sleep(clock, 1_000_000, stop.signal);
});

test("random payloads are capital letters, differ, and are the same in every run", () => {
  const [one, other] = [randomPayloads(1000), randomPayloads(1000)];
  const values = Array.from({ length: 3 }, (_, index) => new TextDecoder().decode(one(index)));
  for (const value of values) assert.match(value, /^[A-Z]{1000}$/);
  assert.equal(new Set(values).size, 3);
  assert.deepEqual(
    values,
    values.map((_, index) => new TextDecoder().decode(other(index))),
  );
  const large = randomPayloads(5_000_000);
  assert.deepEqual([large(0).length, large(1).length], [5_000_000, 5_000_000]);
});

test("payloads of a file are its parts, those of numbers count", async () => {
  await inFolder((folder) => {
    const file = join(folder, "payloads");
    writeFileSync(file, "one\n\ntwo\n");
    const payloads = filePayloads(file, "\n");
    const seen = new Set(
      Array.from({ length: 200 }, (_, index) => new TextDecoder().decode(payloads(index))),
    );
    assert.deepEqual([...seen].sort(), ["", "one", "two"]);
    const whole = filePayloads(file, "::");
    assert.equal(new TextDecoder().decode(whole(0)), "one\n\ntwo\n");
    writeFileSync(file, "");
    assert.throws(() => filePayloads(file, "\n"), /^OttlaError: Cannot take payloads .* is empty$/);
    assert.equal(new TextDecoder().decode(monotonicPayloads()(42)), "42");
    return Promise.resolve();
  });
});

test("produce sends what it says, and sums it up", async () => {
  await inFolder(async (path) => {
    const options = ["--num-records", "2000", "--record-size", "50", "--partitions", "3"];
    assert.match(
      await producePerf(path, ...options, "--batch-bytes", "1000"),
      /^2000 records sent, [\d.]+ records\/sec \([\d.]+ MB\/sec\), [\d.]+ ms avg latency, [\d.]+ ms max latency, \d+ ms 50th, \d+ ms 95th, \d+ ms 99th, \d+ ms 99\.9th\.\n$/,
    );
    const values = await valuesOf(path);
    assert.equal(values.length, 2000);
    assert.ok(values.every((value) => /^[A-Z]{50}$/.test(value)));
  });
});

test("produce sums up what followed the warm-up, as JSON too", async () => {
  await inFolder(async (path) => {
    const options = ["--num-records", "100", "--payload-monotonic", "--warmup-records", "40"];
    assert.match(
      await producePerf(path, ...options),
      /^100 records sent, .*\n60 steady state records sent, .*\n$/,
    );
    const text = await producePerf(path, ...options, "--json", "--linger-ms", "2");
    const { topic, ack, recordCount, sizeBytes, steadyState, latencyMs } = JSON.parse(text);
    assert.deepEqual([topic, ack, recordCount, sizeBytes], ["t", "os", 100, 190]);
    assert.deepEqual([steadyState.recordCount, steadyState.sizeBytes], [60, 120]);
    assert.ok(latencyMs.max >= latencyMs.p50);
    const numbers = Array.from({ length: 100 }, (_, index) => String(index));
    assert.deepEqual(await valuesOf(path), [...numbers, ...numbers]);
  });
});

test("produce keeps to a small buffer, also with batches that would wait for more", async () => {
  await inFolder(async (path) => {
    await producePerf(
      path,
      ...["--num-records", "60", "--record-size", "500", "--buffer-bytes", "4000"],
      ...["--linger-ms", "100000", "--acks", "disk"],
    );
    assert.equal((await valuesOf(path)).length, 60);
  });
});

test("produce compresses, and keeps its rate", async () => {
  await inFolder(async (path) => {
    const options = ["--num-records", "300", "--record-size", "200", "--throughput", "3000"];
    const text = await producePerf(path, ...options, "--compression", "gzip", "--json");
    const { recordCount, durationMs } = JSON.parse(text);
    assert.equal(recordCount, 300);
    assert.ok(durationMs >= 80);
    const store = await openStore(path);
    assert.ok(describeTopic(store, "t").partitions[0]!.sizeBytes < 300 * 200);
    await closeStore(store);
  });
});

test("produce tells of intervals on standard error, and draws on a terminal", async () => {
  await inFolder(async (path) => {
    const args = ["perf", "produce", path, "t", "--create", "--payload-monotonic", "--acks", "os"];
    const options = ["--num-records", "40", "--throughput", "1000", "--reporting-interval", "1"];
    const { output, errors } = await runCommand([...args, ...options]);
    assert.equal(linesOf(output).length, 1);
    assert.ok(linesOf(errors).length > 1);
    for (const line of linesOf(errors)) {
      assert.match(line, /^\d+ records sent, [\d.]+ records\/sec \(.*\), .* ms max latency\.$/);
    }
    const drawn = await runCommand([...args, "--num-records", "40", "--throughput", "1000"], {
      isTerminal: true,
    });
    assert.match(drawn.errors, /░ \d+ % {2}\d+ records/);
    assert.ok(drawn.errors.endsWith("\r\x1b[K"));
  });
});

test("an abort ends a run with the summary of what was done", async () => {
  await inFolder(async (path) => {
    const controller = new AbortController();
    const args = ["perf", "produce", path, "t", "--create", "--payload-monotonic"];
    const options = ["--num-records", "1000000", "--throughput", "500", "--json"];
    const { code, output } = await runCommand([...args, ...options, "--reporting-interval", "10"], {
      signal: controller.signal,
      onErrors: () => controller.abort(),
    });
    assert.equal(code, 0);
    const { recordCount } = JSON.parse(output);
    assert.ok(recordCount > 0 && recordCount < 1_000_000);
    assert.equal((await valuesOf(path)).length, recordCount);
    const consumed = await runCommand(["perf", "consume", path, "t", "--json"], {
      signal: controller.signal,
    });
    assert.deepEqual([consumed.code, JSON.parse(consumed.output).recordCount], [0, 0]);
  });
});

test("a send that fails ends the run with the summary and its error", async () => {
  await inFolder(async (path) => {
    await runCommand(["topics", "create", path, "t", "--config", "max.message.bytes=1000"]);
    const args = ["perf", "produce", path, "t", "--num-records", "10", "--record-size", "2000"];
    const { code, output, errors } = await runCommand(args);
    assert.equal(code, 1);
    assert.match(output, /^0 records sent, 0\.000000 records\/sec /);
    assert.match(errors, /^ottla: Cannot [^\n]+\n$/);
  });
});

test("consume counts what there is, and leaves no group behind", async () => {
  await inFolder(async (path) => {
    await producePerf(path, "--num-records", "1200", "--record-size", "10", "--partitions", "2");
    const { code, output, errors } = await runCommand(["perf", "consume", path, "t"]);
    assert.deepEqual([code, errors], [0, ""]);
    const [header, line = ""] = linesOf(output);
    assert.equal(header, consumerHeader);
    const cells = line.split(", ");
    assert.equal(cells.length, 10);
    assert.match(cells[0]!, /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d:\d{3}$/);
    assert.deepEqual([cells[2], cells[4]], [(12_000 / megabyte).toFixed(4), "1200"]);
    const latest = await runCommand(["perf", "consume", path, "t", "--from-latest", "--json"]);
    assert.equal(JSON.parse(latest.output).recordCount, 0);
    const store = await openStore(path);
    assert.deepEqual(await listGroups(store), []);
    await closeStore(store);
  });
});

test("consume with a group goes on where it stopped, and says if there was too little", async () => {
  await inFolder(async (path) => {
    await producePerf(path, "--num-records", "30", "--payload-monotonic");
    const args = ["perf", "consume", path, "t", "--group", "g", "--messages", "20", "--json"];
    const first = await runCommand(args);
    const second = await runCommand(args);
    const counts = [first, second].map(({ output }) => JSON.parse(output).recordCount);
    assert.deepEqual(counts, [20, 10]);
    assert.equal(JSON.parse(first.output).groupId, "g");
    assert.equal(second.code, 0);
    assert.equal(second.errors, "Consumed 10 of 20 records: there are no more\n");
    const store = await openStore(path);
    assert.equal((await committedOffsets(store, "g"))[0]!.offset, 30);
    await closeStore(store);
  });
});

test("consume prints intervals in place of the summary, the last one too", async () => {
  await inFolder(async (path) => {
    const store = await openStore(path);
    await createTopic(store, "t");
    for (let index = 0; index < 3; index++) await append(store, "t", { key: "k", value: "12345" });
    await closeStore(store);
    const args = ["perf", "consume", path, "t", "--show-detailed-stats"];
    const { output } = await runCommand(args);
    const [header, line = "", ...more] = linesOf(output);
    assert.equal(header, intervalHeader);
    assert.deepEqual(line.split(", ").slice(1, 5).filter((_, index) => index !== 2), [
      "0",
      "0.0000",
      "3",
    ]);
    assert.deepEqual(more, []);
    const bare = await runCommand([...args, "--hide-header"]);
    assert.equal(linesOf(bare.output).length, 1);
  });
});

test("what makes no sense is wrong usage, what is not there fails", async () => {
  await inFolder(async (path) => {
    const count = ["--num-records", "10"];
    const wrong = [
      [],
      ["measure"],
      ["produce", path],
      ["produce", path, "t", "--record-size", "1"],
      ["produce", path, "t", ...count],
      ["produce", path, "t", ...count, "--record-size", "1", "--payload-monotonic"],
      ["produce", path, "t", ...count, "--record-size", "0"],
      ["produce", path, "t", ...count, "--record-size", "1", "--acks", "all"],
      ["produce", path, "t", ...count, "--record-size", "1", "--throughput", "0"],
      ["produce", path, "t", ...count, "--record-size", "1", "--throughput", "-2"],
      ["produce", path, "t", ...count, "--record-size", "1", "--compression", "zip"],
      ["produce", path, "t", ...count, "--record-size", "1", "--warmup-records", "10"],
      ["produce", path, "t", ...count, "--record-size", "1", "--partitions", "2"],
      ["produce", path, "t", ...count, "--record-size", "1", "--payload-delimiter", ","],
      ["consume", path],
      ["consume", path, "t", "--messages", "0"],
      ["consume", path, "t", "--reporting-interval", "0"],
    ];
    for (const args of wrong) {
      const { code, errors } = await runCommand(["perf", ...args]);
      assert.equal(code, 2, `${args.join(" ")}: ${errors}`);
      assert.match(errors, /^ottla: [^\n]+; try ottla perf --help\n$/);
    }
    const send = ["perf", "produce", path, "t", ...count, "--record-size", "1"];
    assert.match((await runCommand(send)).errors, /^ottla: Cannot open [^\n]+\n$/);
    await runCommand(["topics", "create", path, "other"]);
    for (const args of [send, ["perf", "consume", path, "t"]]) {
      const { code, errors } = await runCommand([...args, "--json"]);
      assert.equal(code, 1);
      assert.match(errors, /^ottla: Cannot find topic "t"[^\n]*\n$/);
    }
    assert.equal(
      (await runCommand(["perf", "produce", path, "other", ...count, "--throughput", "-1"])).code,
      2,
    );
  });
});
