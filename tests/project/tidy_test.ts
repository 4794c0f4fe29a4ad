/**
 * The rules of style that a text can be held to, for every TypeScript file of the project. What the
 * type checkers and linters already refuse is not repeated here.
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { posix } from "node:path";
import { describe, it } from "node:test";
import { parseSource, readSources } from "./source_text.ts";
import type { SourceText } from "./source_text.ts";

const lineCountMax = 450;
/** Tests are lists of cases; what is hard to read in them is not their number. */
const testLineCountMax = 550;

/** Rules that are one pattern in the code; comments and literals are spaces there. */
const refusedCode: Readonly<Record<string, RegExp>> = {
  "a default export": /\bexport\s+default\b/,
  "export *": /\bexport\s*(?:type\s*)?\*/,
  "an enum": /(?<![.\w$])enum\s+\w/,
  "a namespace": /(?<![.\w$])(?:namespace|module)\s+[\w.]+\s*\{/,
  "cases that are not those of assertProperty": /\bfc\.(?:assert|check)\b/,
};

/** Rules that are one pattern in the whole text. The brackets keep this file from breaking them. */
const refusedText: Readonly<Record<string, RegExp>> = {
  "unfinished work": /\b(?:TOD[O]|FIXM[E]|XX[X])\b/,
  "a silenced checker": /@ts-(?:ignore|nocheck)|deno-lint-ignore-fil[e]|no-explicit-[a]ny/,
};

describe("tidy", () => {
  it("every file keeps the rules", () => {
    const sources = ["mod.ts", "src", "tests", "bench"].flatMap(readSources);
    assert.ok(sources.length > 0);
    assert.deepEqual(sources.flatMap(findUntidiness), []);
  });

  it("finds each kind of untidiness", () => {
    const ruleOf = (text: string, path = "src/log/a.ts"): string[] =>
      findUntidiness(parseSource(path, `/** A module. */\n${text}`)).map((line) =>
        line.slice(path.length + 2)
      );
    assert.deepEqual(ruleOf("export default 1;"), ["a default export"]);
    assert.deepEqual(ruleOf('export * from "./b.ts";'), ["export *"]);
    assert.deepEqual(ruleOf("const enum A { b }"), ["an enum"]);
    assert.deepEqual(ruleOf("namespace A {}"), ["a namespace"]);
    assert.deepEqual(ruleOf("fc.assert(property, { numRuns: 5 });"), [
      "cases that are not those of assertProperty",
    ]);
    assert.deepEqual(ruleOf("// TO" + "DO: more"), ["unfinished work"]);
    assert.deepEqual(ruleOf("", "src/log/aB.ts"), ["a name that is not snake_case"]);
    assert.deepEqual(ruleOf('import { a } from "./a.js";'), ["./a.js without .ts"]);
    assert.deepEqual(ruleOf('import { a } from "fs";'), ["fs, which package.json does not name"]);
    assert.deepEqual(ruleOf('import { a } from "typescript";'), [
      "typescript, which package.json does not name",
    ]);
    assert.deepEqual(ruleOf("\n".repeat(lineCountMax)), [
      `${lineCountMax + 1} lines, more than ${lineCountMax}`,
    ]);
    assert.deepEqual(ruleOf('import a from "node:assert";', "tests/a_test.ts"), [
      "node:assert in place of node:assert/strict",
    ]);
  });

  it("finds a missing module comment", () => {
    assert.equal(findUntidiness(parseSource("src/a.ts", "const a = 1;")).length, 1);
    assert.equal(
      findUntidiness(parseSource("src/a.ts", "#!/usr/bin/env node\n/** A. */")).length,
      0,
    );
  });

  it("leaves alone what only looks untidy", () => {
    const text = `/** export * from the enum A. */
      import { a } from "./a.ts";
      import { pack } from "msgpackr/pack";
      import type { b } from "node:fs";
      const text = "export default enum" + \`namespace a {\${a.enum()} enum b;\`;
      a.enum(/export default [/"]/); // export * from "./b.js"
    `;
    assert.deepEqual(findUntidiness(parseSource("src/log/a_b.ts", text)), []);
  });
});

function findUntidiness(source: SourceText): string[] {
  const { path, text, code } = source;
  const found = [
    ...matchesOf(refusedCode, code),
    ...matchesOf(refusedText, text),
    ...source.imports.flatMap(({ specifier }) => findSpecifierFault(path, specifier)),
  ];
  if (!/^(?:[a-z0-9_]+\/)*[a-z0-9_]+\.ts$/.test(path)) found.push("a name that is not snake_case");
  if (!/^(?:#!.*\n)?\/\*\*\s/.test(text)) found.push("no module comment");
  const lineCount = text.replace(/\n$/, "").split("\n").length;
  const countMax = path.startsWith("tests/") ? testLineCountMax : lineCountMax;
  if (lineCount > countMax) found.push(`${lineCount} lines, more than ${countMax}`);
  return found.map((fault) => `${path}: ${fault}`);
}

function matchesOf(rules: Readonly<Record<string, RegExp>>, text: string): string[] {
  return Object.keys(rules).filter((name) => rules[name]?.test(text));
}

function findSpecifierFault(path: string, specifier: string): string[] {
  if (specifier.startsWith(".")) {
    return posix.extname(specifier) === ".ts" ? [] : [`${specifier} without .ts`];
  }
  if (specifier.startsWith("node:")) {
    const isLoose = path.startsWith("tests/") && specifier === "node:assert";
    return isLoose ? [`${specifier} in place of node:assert/strict`] : [];
  }
  const name = specifier.split("/").slice(0, specifier.startsWith("@") ? 2 : 1).join("/");
  const isPublished = path === "mod.ts" || path.startsWith("src/");
  const isNamed = packageNames(isPublished).includes(name);
  return isNamed ? [] : [`${specifier}, which package.json does not name`];
}

function packageNames(isPublished: boolean): string[] {
  const { dependencies, optionalDependencies, devDependencies } = JSON.parse(
    readFileSync("package.json", "utf8"),
  ) as Readonly<Record<string, Readonly<Record<string, string>>>>;
  const kinds = [dependencies, optionalDependencies, ...(isPublished ? [] : [devDependencies])];
  return kinds.flatMap((kind) => Object.keys(kind ?? {}));
}
