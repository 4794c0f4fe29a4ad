/** What a check says of `meta.properties`, which no checksum covers. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { readFile } from "../../src/platform/files.ts";
import { allProblems, at, check, filledStore, replace } from "./check_fixture.ts";

const cases: readonly {
  readonly name: string;
  readonly change: (text: string) => string;
  readonly severity: "error" | "warning";
  readonly message: RegExp;
}[] = [
  {
    name: "no version, and so no node",
    change: (text) => text.replace("version=1", "versio=1"),
    severity: "error",
    message: /^It names no cluster\.id and node\.id; the store cannot be opened$/,
  },
  {
    name: "another node",
    change: (text) => text.replace("node.id=1", "node.id=3"),
    severity: "warning",
    message: /^It says node\.id 3, the metadata has partitions of node 1$/,
  },
  {
    name: "another directory",
    change: (text) => text.replace(/directory\.id=.*/, "directory.id=KCkqKywtTi-wMTIzNDU2Nw"),
    severity: "warning",
    message:
      /^It says directory\.id KCkqKywtTi-wMTIzNDU2Nw, the metadata has partitions in \S{22}$/,
  },
];

for (const { name, change, severity, message } of cases) {
  test(`found: ${name}`, async () => {
    const fs = await filledStore();
    const text = new TextDecoder().decode(readFile(fs, at("meta.properties")));
    assert.notEqual(change(text), text);
    replace(fs, "meta.properties", new TextEncoder().encode(change(text)));
    const found = allProblems(await check(fs));
    assert.deepEqual(found.map((one) => [one.severity, one.path]), [[severity, "meta.properties"]]);
    assert.match(found[0]!.message, message);
  });
}

test("a store that was not closed has the file under its other name", async () => {
  const fs = await filledStore("crashed");
  replace(fs, "ottla.meta.properties", new TextEncoder().encode("version=1\n"));
  const found = allProblems(await check(fs)).filter(({ severity }) => severity === "error");
  assert.deepEqual(found.map(({ path }) => path), ["ottla.meta.properties"]);
});
