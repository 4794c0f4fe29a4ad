// @ts-check
/**
 * `npm test`: the checks, then the same test files on Node, a newer Node, Deno and Bun.
 *
 *     npm test                                          everything
 *     npm test -- --runtime deno --filter varint        no checks; one runtime, files with this in their path
 *     npm test -- --containing assertProperty           files with this in their text
 *     npm run check                                     the checks alone
 *
 * `tests/project/package_test.ts` packs and installs the package and tries it on all runtimes itself; it
 * runs once, in the first run, and the other runs count it as skipped.
 *
 * What a test file must keep to, because three implementations of `node:test` run it and must come to the
 * same number of tests:
 *
 * - only `test`, `describe`, `it`, the hooks, and the options `skip` (of a test, not of a suite) and
 *   `timeout`; no subtests (`t.test`: Bun counts them as one), no `t.skip()`, `t.assert`, `t.plan`, `todo`,
 *   `only`, mocks or snapshots;
 * - no test has the name of a suite, and no file is without a test;
 * - paths start at the project root, where every runtime is started: beside `import.meta.url` lies, on Node
 *   20, only what tsc has put into `dist/`;
 * - Bun and Deno run all files in one process: no state left in globals, no open handle, no
 *   `process.exitCode`, and a temporary folder of the test's own;
 * - what a test starts, it awaits: a rejection after its end fails the whole file.
 *
 * @module
 */

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { build, install, projectFolder } from "./prepare.mjs";
import { countTests, describeCounts } from "./reports.mjs";
import { findRuntime, runtimeIds } from "./runtimes.mjs";

/** @typedef {import("./reports.mjs").Counts} Counts */
/** @typedef {import("./runtimes.mjs").Runtime} Runtime */
/** What a check or a run came to. @typedef {{ label: string, counts: Counts, output: string }} Result */

/** How many processes run side by side: on two cores more would only take turns. */
const jobCountMax = Math.max(2, Math.min(4, availableParallelism()));

/** A process that takes longer hangs. */
const processMsMax = 20 * 60_000;

/** The checks that Deno makes; the last one type-checks what JSR would get and refuses slow types. */
const denoChecks = [
  ["check", "--quiet"],
  ["lint", "--quiet"],
  ["fmt", "--check"],
  ["publish", "--dry-run", "--allow-dirty", "--quiet"],
];

/** How the reporters print a test that went well; in what is shown of a failed run it would be noise. */
const passedLine =
  /^\s*(✔|▶|﹣|ℹ) |^\((pass|skip)\) |\.\.\. (ok|ignored) \(|^running \d+ tests? from/;

process.exitCode = await main();

/** @returns {Promise<number>} The exit code. */
async function main() {
  const { values } = parseArgs({
    options: {
      runtime: { type: "string", multiple: true },
      filter: { type: "string", default: "" },
      containing: { type: "string", default: "" },
      checks: { type: "boolean", default: false },
    },
  });
  const wantedIds = values.runtime?.flatMap((names) => names.split(",")) ?? [...runtimeIds];
  const ids = values.checks ? [] : runtimeIds.filter((id) => wantedIds.includes(id));
  if (!values.checks && ids.length < wantedIds.length) {
    return stop(`--runtime takes ${runtimeIds.join(", ")}; found ${wantedIds.join(", ")}`);
  }
  const { filter, containing } = values;
  const files = testFiles("tests").filter((file) =>
    file.includes(filter) && readFileSync(join(projectFolder, file), "utf8").includes(containing)
  );
  if (files.length === 0) {
    return stop(`No test file has "${filter}" in its path and "${containing}" in its text`);
  }

  const installed = install(projectFolder);
  if (!installed.ok) return stop(installed.output);
  if (ids.length > 0) {
    const { ok, output } = install(join(projectFolder, "tests", "node_24"));
    if (!ok) console.error(output); // its run fails for want of an executable, the others need not
  }
  const compiled = checkResult("tsc", build());
  show(compiled);

  if (ids.length > 0) console.error(`Running ${files.length} test files on ${ids.join(", ")} ...`);
  const isWhole = values.runtime === undefined && filter === "" && containing === "";
  const jobs = [...testJobs(ids, files, isWhole), ...(isWhole ? denoChecks.map(checkJob) : [])];
  const results = await runJobs(jobs);
  const runs = results.slice(0, ids.length);
  return report([compiled, ...results.slice(ids.length), ...compareRuns(runs)], runs);
}

/**
 * Makes a job of each runtime's run of the test files.
 *
 * @param {Runtime["id"][]} ids
 * @param {string[]} files
 * @param {boolean} isWhole Whether these are all files; some must run then, while of a few all may be
 *   skipped.
 * @returns {(() => Promise<Result>)[]}
 */
function testJobs(ids, files, isWhole) {
  const runtimes = runtimeIds.map((id) => ({ id, runtime: findRuntime(id) }));
  // What tests the package and not a runtime runs once: in the first run, which gets the others' paths.
  const paths = Object.fromEntries(runtimes.map(({ id, runtime }) => [id, runtime?.executable]));
  const forFirst = { OTTLA_RUNTIMES: JSON.stringify(paths) };
  return runtimes.filter(({ id }) => ids.includes(id)).map(({ id, runtime }, index) => async () => {
    if (runtime === undefined) return failure(id, "No executable starts on this machine");
    const { label, executable, argumentsFor } = runtime;
    const folder = mkdtempSync(join(tmpdir(), "ottla-tests-"));
    const reportPath = join(folder, "report.xml");
    const { ok, output } = await run(
      executable,
      argumentsFor(files, reportPath),
      index === 0 ? forFirst : {},
    );
    const xml = existsSync(reportPath) ? readFileSync(reportPath, "utf8") : "";
    rmSync(folder, { recursive: true });
    const counts = countTests(xml, { suitesAreCases: id === "deno" });
    const ranCount = counts.passed + counts.failed + (isWhole ? 0 : counts.skipped);
    if (ranCount === 0) return failure(label, `No test ran\n${output}`);
    // A failure outside any test, such as a file that does not load, is in no report.
    if (!ok && counts.failed === 0) counts.failed = 1;
    return { label, counts, output };
  });
}

/**
 * @param {string[]} args The arguments for Deno.
 * @returns {() => Promise<Result>}
 */
function checkJob(args) {
  return async () => {
    const name = `deno ${args[0]}`;
    const deno = findRuntime("deno");
    if (deno === undefined) return failure(name, "No executable starts on this machine");
    return checkResult(name, await run(deno.executable, args, {}));
  };
}

/**
 * Runs jobs side by side, and shows each result when it is there.
 *
 * @param {(() => Promise<Result>)[]} jobs
 * @returns {Promise<Result[]>} In the order of the jobs.
 */
async function runJobs(jobs) {
  /** @type {Result[]} */
  const results = [];
  const rest = jobs.entries();
  const takeJobs = async () => {
    for (const [index, job] of rest) show(results[index] = await job());
  };
  await Promise.all(Array.from({ length: jobCountMax }, takeJobs));
  return results;
}

/**
 * Runs a process to its end.
 *
 * @param {string} command
 * @param {string[]} args
 * @param {Record<string, string>} variables What it finds in its environment beside the usual.
 * @returns {Promise<{ ok: boolean, output: string }>}
 */
function run(command, args, variables) {
  const { FORCE_COLOR: _, ...env } = process.env; // colours would hide the lines that are filtered
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd: projectFolder,
      env: { ...env, NO_COLOR: "1", ...variables },
      stdio: ["ignore", "pipe", "pipe"],
      timeout: processMsMax,
      killSignal: "SIGKILL",
    });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text) => output += text);
    }
    child.on("error", (error) => resolve({ ok: false, output: error.message }));
    child.on("close", (code, signal) => {
      const ending = signal === null ? "" : `\nEnded by ${signal}\n`;
      resolve({ ok: code === 0, output: output + ending });
    });
  });
}

/**
 * Makes sure that no runtime has silently passed over tests: all must have met the same number.
 *
 * @param {Result[]} runs
 * @returns {Result[]} A check, or none where there is nothing to compare.
 */
function compareRuns(runs) {
  if (runs.length < 2 || runs.some(({ counts }) => counts.failed > 0)) return [];
  const sums = new Set(runs.map(({ counts }) => counts.passed + counts.skipped));
  const output = "The runtimes met different numbers of tests";
  const result = checkResult("same tests", { ok: sums.size === 1, output });
  show(result);
  return [result];
}

/**
 * Prints the closing lines.
 *
 * @param {Result[]} checks
 * @param {Result[]} runs
 * @returns {number} The exit code.
 */
function report(checks, runs) {
  const closing = [{ label: "Checks", counts: sumOf(checks) }, ...runs];
  const total = sumOf(closing);
  for (const { label, counts } of closing) console.log(`${label}: ${describeCounts(counts)}`);
  console.log(`${total.passed} passed, ${total.failed} failed`);
  return total.failed === 0 ? 0 : 1;
}

/**
 * @param {{ counts: Counts }[]} results
 * @returns {Counts}
 */
function sumOf(results) {
  const sum = { passed: 0, failed: 0, skipped: 0 };
  for (const { counts } of results) {
    sum.passed += counts.passed;
    sum.failed += counts.failed;
    sum.skipped += counts.skipped;
  }
  return sum;
}

/** @param {Result} result What failed is printed in full but for the lines of the tests that passed. */
function show({ label, counts, output }) {
  if (counts.failed === 0) return;
  const lines = output.split("\n").filter((line) => !passedLine.test(line));
  console.log(`--- ${label} failed ---\n${lines.join("\n").trim()}\n`);
}

/**
 * @param {string} label
 * @param {{ ok: boolean, output: string }} outcome
 * @returns {Result}
 */
function checkResult(label, { ok, output }) {
  return { label, counts: { passed: ok ? 1 : 0, failed: ok ? 0 : 1, skipped: 0 }, output };
}

/**
 * @param {string} label
 * @param {string} output
 * @returns {Result}
 */
function failure(label, output) {
  return checkResult(label, { ok: false, output });
}

/**
 * Lists the test files of a folder and those inside it. `interop` needs Java and has its own command.
 *
 * @param {string} folder From the project root, as are the results.
 * @returns {string[]}
 */
function testFiles(folder) {
  const passedOver = ["interop", "node_modules"];
  return readdirSync(join(projectFolder, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory()) return passedOver.includes(entry.name) ? [] : testFiles(path);
    return entry.name.endsWith("_test.ts") ? [path] : [];
  }).sort();
}

/**
 * @param {string} message
 * @returns {number} The exit code.
 */
function stop(message) {
  console.error(message);
  return 1;
}
