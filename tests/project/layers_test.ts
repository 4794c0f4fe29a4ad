/**
 * Each folder of `src` imports only from the folders that the design puts above it, and only
 * `src/platform` and the programs know which runtime they run on, what time it is, and chance.
 */

import assert from "node:assert/strict";
import { posix } from "node:path";
import { describe, it } from "node:test";
import { parseSource, readSources } from "./source_text.ts";
import type { SourceText } from "./source_text.ts";

/** What each folder may import from, beside itself and the files directly in `src`. */
const layers: Readonly<Record<string, readonly string[]>> = {
  platform: [],
  bytes: [],
  record: ["platform", "bytes"],
  segment: ["platform", "bytes", "record"],
  log: ["platform", "bytes", "record", "segment"],
  store: ["platform", "bytes", "record", "segment", "log"],
  coordinator: ["platform", "bytes", "record", "segment", "log", "store"],
  client: ["platform", "bytes", "record", "segment", "log", "store", "coordinator"],
  server: ["platform", "bytes", "record", "segment", "log", "store", "coordinator"],
  testing: ["platform", "bytes", "record", "segment", "log", "store", "coordinator"],
  cli: ["*"],
  ui: ["*"],
};

/** Modules directly in `src`: layer 0, they import one another only. */
const baseModules = ["errors.ts", "limits.ts"];

/** Where a program begins: it has a terminal, arguments and a clock. */
const programs = ["cli", "ui"];

/**
 * Modules of `node:` that are the same on every runtime and reach nothing but memory and packages.
 */
const harmlessModules = [
  "assert",
  "assert/strict",
  "buffer",
  "events",
  "module",
  "path",
  "url",
  "util",
  "zlib",
];

const runtimeNames = /(?<![.\w$])(?:Deno|Bun|globalThis)\b|(?<![.\w$])process\s*\./g;
const timeAndChance =
  /(?<![.\w$])(?:Date\.now|performance\.now|Math\.random|new Date\(\)|crypto\.\w+|set(?:Timeout|Interval|Immediate)(?=\())/g;

describe("layers", () => {
  it("src imports downwards only", () => {
    assert.deepEqual(
      [...readSources("src"), ...readSources("mod.ts")].flatMap(findLayerBreaks),
      [],
    );
  });

  it("only src/platform and programs name a runtime", () => {
    assert.deepEqual(readSources("src").flatMap(findRuntimeNames), []);
  });

  it("only src/platform and programs read the clock or throw dice", () => {
    assert.deepEqual(readSources("src").flatMap(findTimeAndChance), []);
  });

  it("finds an import from a layer below", () => {
    const breaksOf = (path: string, text: string): string[] =>
      findLayerBreaks(parseSource(path, text));
    assert.deepEqual(breaksOf("src/log/a.ts", 'import { b } from "../segment/b.ts";'), []);
    assert.deepEqual(breaksOf("src/log/a.ts", 'import { b } from "./b.ts";'), []);
    assert.deepEqual(breaksOf("src/log/a.ts", 'import { b } from "../errors.ts";'), []);
    assert.deepEqual(breaksOf("src/log/a.ts", '// import { b } from "../client/b.ts";'), []);
    assert.deepEqual(breaksOf("src/log/a.ts", '/"/; import type { b } from "../store/b.ts";'), [
      "src/log/a.ts imports src/store/b.ts",
    ]);
    assert.deepEqual(breaksOf("src/log/a.ts", 'const b = await import("../client/b.ts");'), [
      "src/log/a.ts imports src/client/b.ts",
    ]);
    assert.deepEqual(breaksOf("src/server/a.ts", 'export {\n  b,\n} from "../client/b.ts";'), [
      "src/server/a.ts imports src/client/b.ts",
    ]);
    assert.deepEqual(breaksOf("src/bytes/a.ts", 'import "../platform/b.ts";'), [
      "src/bytes/a.ts imports src/platform/b.ts",
    ]);
    assert.deepEqual(breaksOf("src/errors.ts", 'import { b } from "./bytes/b.ts";'), [
      "src/errors.ts imports src/bytes/b.ts",
    ]);
    assert.deepEqual(breaksOf("src/cli/a.ts", 'import { b } from "../../tests/b.ts";'), [
      "src/cli/a.ts imports tests/b.ts",
    ]);
    assert.deepEqual(breaksOf("src/cli/a.ts", 'import { b } from "../../mod.ts";'), []);
    assert.deepEqual(breaksOf("mod.ts", 'export { b } from "./src/cli/b.ts";'), [
      "mod.ts imports src/cli/b.ts",
    ]);
    assert.deepEqual(breaksOf("src/other/a.ts", ""), ["src/other/a.ts lies in no layer"]);
  });

  it("finds the name of a runtime", () => {
    const namesOf = (text: string): string[] =>
      findRuntimeNames(parseSource("src/log/a.ts", text)).map((line) => line.split(" names ")[1]!);
    assert.deepEqual(namesOf('import { readSync } from "node:fs";'), ["node:fs"]);
    assert.deepEqual(namesOf('import type { Socket } from "node:net";'), []);
    assert.deepEqual(namesOf('import { gzipSync } from "node:zlib";'), []);
    assert.deepEqual(namesOf("if (Deno.version) Bun.gc();"), ["Deno", "Bun"]);
    assert.deepEqual(namesOf("const a = `${process.pid}`;"), ["process."]);
    assert.deepEqual(namesOf('const a = "process." + b.process.c; // Deno'), []);
  });

  it("finds the clock", () => {
    const timesOf = (text: string): number =>
      findTimeAndChance(parseSource("src/log/a.ts", text)).length;
    assert.equal(timesOf("const a = Date.now() + Math.random();"), 2);
    assert.equal(timesOf("setTimeout(a, 1);"), 1);
    assert.equal(timesOf("clock.setTimeout(a, 1); new Date(5); // Date.now"), 0);
  });
});

function findLayerBreaks({ path, imports }: SourceText): string[] {
  const [root, folder = "", rest] = path.split("/");
  const isBase = root === "src" && rest === undefined;
  const isKnown = root !== "src" || (isBase ? baseModules.includes(folder) : folder in layers);
  if (!isKnown) return [`${path} lies in no layer`];
  return imports
    .filter(({ specifier }) => specifier.startsWith("."))
    .map(({ specifier }) => posix.join(posix.dirname(path), specifier))
    .filter((target) => !mayImport(root === "src" ? folder : "mod.ts", target))
    .map((target) => `${path} imports ${target}`);
}

function mayImport(from: string, target: string): boolean {
  if (target === "mod.ts") return programs.includes(from);
  const [root, folder = "", rest] = target.split("/");
  if (root !== "src") return false;
  if (rest === undefined) return baseModules.includes(folder);
  if (from === "mod.ts") return !programs.includes(folder);
  const allowed = layers[from] ?? [];
  if (allowed.includes("*")) return folder === from || !programs.includes(folder);
  return folder === from || allowed.includes(folder);
}

function findRuntimeNames(source: SourceText): string[] {
  if (isRuntimeCode(source)) return [];
  const modules = source.imports
    .filter(({ specifier, isTypeOnly }) => specifier.startsWith("node:") && !isTypeOnly)
    .map(({ specifier }) => specifier)
    .filter((specifier) => !harmlessModules.includes(specifier.slice("node:".length)));
  const globals = Array.from(source.code.matchAll(runtimeNames), ([name]) => name);
  return [...modules, ...globals].map((name) => `${source.path} names ${name}`);
}

function findTimeAndChance(source: SourceText): string[] {
  if (isRuntimeCode(source)) return [];
  return Array.from(
    source.code.matchAll(timeAndChance),
    ([name]) => `${source.path} calls ${name}, which the platform should hand in`,
  );
}

function isRuntimeCode({ path }: SourceText): boolean {
  return ["platform", ...programs].some((folder) => path.startsWith(`src/${folder}/`));
}
