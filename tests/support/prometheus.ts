/** Reads Prometheus' text format as strictly as Prometheus does. */

import assert from "node:assert/strict";

/** One sample. */
export interface ReadSample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** One metric with its head. */
export interface ReadMetric {
  readonly name: string;
  readonly type: string;
  readonly help: string;
  readonly samples: ReadSample[];
}

/** The metrics of a text; fails if it is none. */
export function metricsIn(text: string): ReadMetric[] {
  assert.ok(text.endsWith("\n"), "the last line has its end");
  const metrics: ReadMetric[] = [];
  const lines = text.slice(0, -1).split("\n");
  for (let index = 0; index < lines.length; index++) {
    const line = lines[index]!;
    const help = /^# HELP ([a-zA-Z_:][\w:]*) (.*)$/.exec(line);
    if (help !== null) {
      const [, name = "", words = ""] = help;
      const type = new RegExp(`^# TYPE ${name} (counter|gauge|histogram)$`).exec(lines[++index]!);
      assert.ok(type !== null, `${name} has its type: ${lines[index]}`);
      metrics.push({ name, type: type[1]!, help: words, samples: [] });
      continue;
    }
    const sample = sampleOf(line);
    const metric = metrics.at(-1)!;
    const suffixes = metric.type === "histogram" ? ["_bucket", "_sum", "_count"] : [""];
    assert.ok(suffixes.some((suffix) => sample.name === metric.name + suffix), line);
    metric.samples.push(sample);
  }
  return metrics;
}

function sampleOf(line: string): ReadSample {
  const match = /^([a-zA-Z_:][\w:]*)(?:\{((?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (\S+)$/
    .exec(line);
  assert.ok(match !== null, `a sample: ${line}`);
  const [, name = "", pairs = "", value = ""] = match;
  const labels: Record<string, string> = {};
  for (const [, label = "", text = ""] of pairs.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) {
    labels[label] = text.replace(/\\(.)/g, (_, letter: string) => letter === "n" ? "\n" : letter);
  }
  assert.ok(Number.isFinite(Number(value)), `a number: ${line}`);
  return { name, labels, value: Number(value) };
}
