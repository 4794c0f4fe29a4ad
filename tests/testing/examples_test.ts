/** The examples in the documentation of `ottla/testing` run, and print what they say they print. */

import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { pathToFileURL } from "node:url";
import { inspect } from "node:util";

/** Node 20 runs what was compiled. */
const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
const urls: Readonly<Record<string, string>> = {
  "ottla": new URL(`../../mod.${extension}`, import.meta.url).href,
  "ottla/testing": new URL(`../../src/testing/mod.${extension}`, import.meta.url).href,
};

interface Example {
  readonly file: string;
  readonly code: string;
}

function findExamples(file: string): Example[] {
  const text = readFileSync(join("src/testing", file), "utf8");
  return Array.from(
    text.matchAll(/@example[^\n]*\n \* ```ts\n([^]*?)\n \* ```/g),
    ([, body = ""]) => ({
      file,
      code: body.replaceAll(/^ \* ?/gm, ""),
    }),
  );
}

/** What an example says that it prints: the first sentence behind each `console.log`. */
function wantedOutput(code: string): string[] {
  return Array.from(
    code.matchAll(/console\.log\(.*\/\/ (.*)$/gm),
    ([, comment = ""]) => comment.replace(/;.*/, ""),
  );
}

/** All quotes alike, as runtimes print values with either. */
function printed(value: unknown): string {
  return (typeof value === "string" ? value : inspect(value)).replaceAll("'", '"');
}

async function runExample(folder: string, number: number, { code }: Example): Promise<string[]> {
  const path = join(folder, `example_${number}.mjs`);
  const names = /(?<=from )"(ottla(?:\/testing)?)"/g;
  writeFileSync(path, code.replaceAll(names, (_, name: string) => JSON.stringify(urls[name])));
  const lines: string[] = [];
  const { log } = console;
  console.log = (value: unknown) => void lines.push(printed(value));
  try {
    await import(pathToFileURL(path).href);
  } finally {
    console.log = log;
  }
  return lines;
}

describe("examples", () => {
  const examples = readdirSync("src/testing").flatMap(findExamples);

  it("are found", () => {
    assert.ok(examples.length >= 10, `${examples.length}`);
    assert.ok(examples.flatMap(({ code }) => wantedOutput(code)).length >= 10);
  });

  for (const [number, example] of examples.entries()) {
    it(`${number} of ${example.file} runs`, async () => {
      const folder = mkdtempSync(join(tmpdir(), "ottla-test-"));
      try {
        const lines = await runExample(folder, number, example);
        assert.deepEqual(lines, wantedOutput(example.code));
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    });
  }
});
