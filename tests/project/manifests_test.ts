/**
 * The project is described twice, for npm and for JSR, and compiled by two compilers: what stands
 * in two places must agree.
 */

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { describe, it } from "node:test";

type Manifest = Readonly<Record<string, unknown>>;

const npm = readManifest("package.json");
const jsr = readManifest("deno.json");

describe("manifests", () => {
  it("name the same version and license", () => {
    assert.equal(jsr["version"], npm["version"]);
    assert.equal(jsr["license"], npm["license"]);
    const lock = readManifest("package-lock.json");
    assert.equal(lock["version"], npm["version"]);
  });

  it("export the same modules", () => {
    const sources = Object.entries(jsr["exports"] as Record<string, string>);
    for (const [, path] of sources) assert.ok(existsSync(path), path);
    const compiled = sources.map(([name, path]) => [name, {
      types: path.replace("./", "./dist/").replace(/\.ts$/, ".d.ts"),
      default: path.replace("./", "./dist/").replace(/\.ts$/, ".js"),
    }]);
    const { "./package.json": self, ...exported } = npm["exports"] as Manifest;
    assert.equal(self, "./package.json");
    assert.deepEqual(exported, Object.fromEntries(compiled));
  });

  it("hold both compilers to the same rules", () => {
    const rules = jsr["compilerOptions"] as Manifest;
    const options = readManifest("tsconfig.json")["compilerOptions"] as Manifest;
    const shared = Object.keys(rules).map((name) => [name, options[name]]);
    assert.deepEqual(Object.fromEntries(shared), rules);
  });

  it("lock no registry's address", () => {
    for (const path of ["package-lock.json", "tests/node_24/package-lock.json"]) {
      assert.doesNotMatch(readFileSync(path, "utf8"), /"resolved"/);
    }
  });
});

function readManifest(path: string): Manifest {
  return JSON.parse(readFileSync(path, "utf8")) as Manifest;
}
