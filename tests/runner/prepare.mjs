// @ts-check
// deno-lint-ignore-file explicit-module-boundary-types -- the types stand in the comments
/**
 * Makes a fresh clone runnable with nothing but Node and npm: installs the dependencies when they are
 * missing or out of date, and compiles to `dist/`. Plain JavaScript, because it runs before either.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join, relative } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

/** The root of the project, where everything is started. */
export const projectFolder = fileURLToPath(new URL("../..", import.meta.url));

/** What one command did. @typedef {{ ok: boolean, output: string }} Outcome */

/**
 * Installs the dependencies of one package folder, unless they are what its lock file asks for.
 *
 * @param {string} folder The folder that holds `package.json` and `package-lock.json`.
 * @returns {Outcome} Whether they are there now; what npm said if not.
 */
export function install(folder) {
  if (isInstalled(folder)) return { ok: true, output: "" };
  const name = relative(projectFolder, join(folder, "package-lock.json"));
  process.stderr.write(`Installing what ${name} lists ...\n`);
  // `ci` never changes the lock file; `install` is for a developer who has just changed package.json.
  const command = lockAgrees(folder) ? "ci" : "install";
  return runNpm([command, "--no-audit", "--no-fund", "--loglevel=error"], folder);
}

/**
 * Compiles `mod.ts`, `src`, `tests` and `bench` to `dist/` and removes what has lost its source.
 *
 * @returns {Outcome} Whether the types are right; what the compiler said if not. It emits either way.
 */
export function build() {
  removeStale(join(projectFolder, "dist"));
  const compiler = join(projectFolder, "node_modules", "typescript", "bin", "tsc");
  return run(process.execPath, [compiler, "--pretty", "false"], projectFolder);
}

/**
 * Runs npm, with the Node that runs this file.
 *
 * @param {string[]} args Its arguments.
 * @param {string} folder Where to run it.
 * @returns {Outcome}
 */
export function runNpm(args, folder) {
  const script = process.env.npm_execpath;
  if (script?.endsWith(".js")) return run(process.execPath, [script, ...args], folder);
  return run("npm", args, folder, process.platform === "win32");
}

/**
 * @param {string} command
 * @param {string[]} args
 * @param {string} folder
 * @param {boolean} [shell] Windows finds `npm.cmd` only through its shell.
 * @returns {Outcome}
 */
function run(command, args, folder, shell = false) {
  const child = spawnSync(command, args, { cwd: folder, encoding: "utf8", shell });
  const output = child.error?.message ?? child.stdout + child.stderr;
  return { ok: child.status === 0, output };
}

/**
 * Says whether `node_modules` holds the versions of the lock file. A package that is missing counts only
 * where it is not optional: of the optional ones npm installs those of this platform.
 *
 * @param {string} folder
 * @returns {boolean}
 */
function isInstalled(folder) {
  const installed = readJson(join(folder, "node_modules", ".package-lock.json"))?.packages;
  const wanted = readJson(join(folder, "package-lock.json"))?.packages;
  if (installed === undefined || wanted === undefined || !lockAgrees(folder)) return false;
  return Object.entries(wanted).every(([path, { version, optional }]) =>
    path === "" || (installed[path]?.version ?? (optional ? version : undefined)) === version
  );
}

/**
 * Says whether the lock file was written for the `package.json` beside it.
 *
 * @param {string} folder
 * @returns {boolean}
 */
function lockAgrees(folder) {
  const wanted = readJson(join(folder, "package.json"));
  const locked = readJson(join(folder, "package-lock.json"))?.packages?.[""];
  return ["dependencies", "optionalDependencies", "devDependencies"].every((kind) =>
    isSame(wanted?.[kind], locked?.[kind])
  );
}

/**
 * @param {Record<string, string>} [left]
 * @param {Record<string, string>} [right]
 * @returns {boolean}
 */
function isSame(left = {}, right = {}) {
  const names = Object.keys(left);
  return names.length === Object.keys(right).length &&
    names.every((name) => left[name] === right[name]);
}

/**
 * @param {string} path
 * @returns {any} Undefined where there is no such file.
 */
function readJson(path) {
  return existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : undefined;
}

/**
 * Removes each compiled file whose source was renamed or deleted: a package must not carry it.
 *
 * @param {string} folder The folder of compiled files; missing before the first build.
 */
function removeStale(folder) {
  if (!existsSync(folder)) return;
  const root = join(projectFolder, "dist");
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) removeStale(path);
    const source = relative(root, path).replace(/(\.d\.ts|\.js|\.js\.map)$/, ".ts");
    const isCompiled = !entry.isDirectory() && source.endsWith(".ts");
    if (isCompiled && !existsSync(join(projectFolder, source))) rmSync(path);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const step of [() => install(projectFolder), build]) {
    const { ok, output } = step();
    if (ok) continue;
    process.stderr.write(output);
    process.exitCode = 1;
    break;
  }
}
