// @ts-check
// deno-lint-ignore-file explicit-module-boundary-types -- the types stand in the comments
/**
 * The runtimes that the tests run on: where npm has put each of them, and how each runs test files.
 *
 * npm may have been told not to run install scripts, so none of them is started through its `.bin` link:
 * the executables are looked for where their packages hold them, and the first one that starts is taken.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { projectFolder } from "./prepare.mjs";

/** A test, or for Node a file of tests, that takes longer hangs; Bun's own limit of 5 s is too short. */
const testMsMax = Number(process.env["OTTLA_TEST_MS_MAX"] ?? 300_000);

/**
 * One way to run the tests. `argumentsFor` takes the test files (`tests/…`, from the project
 * root) and the path of the JUnit report to write.
 *
 * @typedef {{
 *   id: "node" | "node24" | "deno" | "bun",
 *   label: string,
 *   executable: string,
 *   argumentsFor: (files: string[], reportPath: string) => string[],
 * }} Runtime
 */

/** The runtimes by the name that `--runtime` takes. */
export const runtimeIds = /** @type {const} */ (["node", "node24", "deno", "bun"]);

/**
 * Finds one runtime.
 *
 * @param {Runtime["id"]} id Which one.
 * @returns {Runtime | undefined} Undefined where no executable of it starts on this machine.
 */
export function findRuntime(id) {
  const { name, candidates, argumentsFor } = kinds[id];
  const chosen = process.env[`OTTLA_${id.toUpperCase()}`];
  for (const executable of chosen === undefined ? candidates() : [chosen]) {
    const { stdout } = spawnSync(executable, ["--version"], { encoding: "utf8" });
    const version = /\d+\.\d+\.\d+/.exec(stdout ?? "")?.[0];
    if (version !== undefined) return { id, label: `${name} ${version}`, executable, argumentsFor };
  }
  return undefined;
}

const suffix = process.platform === "win32" ? ".exe" : "";

/**
 * @type {Record<Runtime["id"], {
 *   name: string,
 *   candidates: () => string[],
 *   argumentsFor: Runtime["argumentsFor"],
 * }>}
 */
const kinds = {
  node: {
    name: "Node",
    candidates: () => [process.execPath],
    // Node 20 cannot read TypeScript: it runs what tsc has compiled.
    argumentsFor: (files, reportPath) => nodeArguments(files.map(compiledPath), reportPath),
  },
  node24: {
    name: "Node",
    candidates: () => [
      ...inPackages("tests/node_24/node_modules", "node-", `bin/node${suffix}`),
      // Not every platform has such a package; a newer Node that runs npm will do.
      ...(Number.parseInt(process.versions.node) >= 24 ? [process.execPath] : []),
    ],
    argumentsFor: nodeArguments,
  },
  deno: {
    name: "Deno",
    candidates: () => [
      ...inPackages("node_modules/@deno", "", `deno${suffix}`),
      ...inPackages("node_modules", "deno", `deno${suffix}`),
    ],
    argumentsFor: (files, reportPath) => [
      "test",
      "--allow-all",
      "--no-check", // `deno check` is a check of its own
      "--quiet",
      `--junit-path=${reportPath}`,
      ...files,
    ],
  },
  bun: {
    name: "Bun",
    candidates: () => [
      ...inPackages("node_modules/@oven", "bun-", `bin/bun${suffix}`),
      ...inPackages("node_modules", "bun", "bin/bun.exe"), // the name on every platform
    ],
    argumentsFor: (files, reportPath) => [
      "test",
      `--timeout=${testMsMax}`,
      "--reporter=junit",
      `--reporter-outfile=${reportPath}`,
      ...files.map((file) => `./${file}`), // without the dot Bun takes it for a pattern
    ],
  },
};

/**
 * @param {string[]} files
 * @param {string} reportPath
 * @returns {string[]}
 */
function nodeArguments(files, reportPath) {
  return [
    "--enable-source-maps",
    "--test",
    `--test-timeout=${testMsMax}`,
    "--test-reporter=spec",
    "--test-reporter-destination=stdout",
    "--test-reporter=junit",
    `--test-reporter-destination=${reportPath}`,
    ...files,
  ];
}

/**
 * @param {string} file A source file, from the project root.
 * @returns {string} What tsc makes of it.
 */
function compiledPath(file) {
  return `dist/${file.replace(/\.ts$/, ".js")}`;
}

/**
 * Lists `<folder>/<package>/<path>` for the packages whose name begins with `prefix`, where it exists.
 *
 * @param {string} folder
 * @param {string} prefix
 * @param {string} path
 * @returns {string[]}
 */
function inPackages(folder, prefix, path) {
  const root = join(projectFolder, folder);
  if (!existsSync(root)) return [];
  return readdirSync(root)
    .filter((name) => name.startsWith(prefix))
    .map((name) => join(root, name, path))
    .filter((executable) => existsSync(executable));
}
