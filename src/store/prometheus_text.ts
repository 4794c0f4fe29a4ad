/**
 * Text in Prometheus' exposition format, version 0.0.4: for each metric a line `# HELP`, a line
 * `# TYPE`, and its samples.
 */

/** The labels of a sample, in the order in which they are printed. */
export type MetricLabels = Readonly<Record<string, string>>;

/** One value of a metric. */
export interface MetricSample {
  readonly labels?: MetricLabels;
  readonly value: number;
}

/** A bucket of a histogram: how many values are in it, and not in those before it. */
export interface MetricBucket {
  /** The largest value in it; null for the last, which has no bound. */
  readonly le: number | null;
  readonly count: number;
}

/**
 * Prints a counter or a gauge.
 *
 * @param type Which of the two; the name of a counter ends with `_total`.
 * @param name Its name.
 * @param help What it is, in a sentence.
 * @param samples Its values. Without any there is nothing to print.
 * @returns The lines, each with its end.
 */
export function printMetric(
  type: "counter" | "gauge",
  name: string,
  help: string,
  samples: readonly MetricSample[],
): string {
  if (samples.length === 0) return "";
  const lines = samples.map(({ labels, value }) => sampleLine(name, labels ?? {}, value));
  return headOf(type, name, help) + lines.join("");
}

/**
 * Prints a histogram.
 *
 * @param name Its name.
 * @param help What it is, in a sentence.
 * @param values Its buckets with bounds that rise, and the sum of all values.
 * @returns The lines, each with its end.
 */
export function printHistogram(
  name: string,
  help: string,
  { buckets, sum }: { readonly buckets: readonly MetricBucket[]; readonly sum: number },
): string {
  let count = 0;
  const lines = buckets.map((bucket) => {
    count += bucket.count;
    return sampleLine(
      `${name}_bucket`,
      { le: bucket.le === null ? "+Inf" : String(bucket.le) },
      count,
    );
  });
  return headOf("histogram", name, help) + lines.join("") + sampleLine(`${name}_sum`, {}, sum) +
    sampleLine(`${name}_count`, {}, count);
}

function headOf(type: string, name: string, help: string): string {
  const text = help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
  return `# HELP ${name} ${text}\n# TYPE ${name} ${type}\n`;
}

function sampleLine(name: string, labels: MetricLabels, value: number): string {
  const pairs = Object.entries(labels).map(([label, text]) => `${label}="${escapeLabel(text)}"`);
  const shown = pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
  return `${name}${shown} ${value}\n`;
}

function escapeLabel(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}
