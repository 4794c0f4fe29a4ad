/**
 * What a user gets: the packed tarball, installed into an empty project, runs the README's first
 * program on each runtime, and its types hold.
 *
 * It tests the package and not a runtime, so `npm test` lets it run in one of its runs only, to
 * which it gives the paths of all runtimes.
 */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import process from "node:process";
import { after, describe, it } from "node:test";

/** Npm may have to download the dependencies. */
const processMsMax = 300_000;

const runtimes = JSON.parse(process.env["OTTLA_RUNTIMES"] ?? "null") as
  | Readonly<Record<"node" | "node24" | "deno" | "bun", string>>
  | null;
const options = {
  skip: runtimes === null && "npm test runs this once, under its first runtime",
  timeout: 2 * processMsMax,
};

/** Where the tarball is installed; made by the first test that needs it. */
let userFolder: string | undefined;

after(() => {
  if (userFolder !== undefined) rmSync(userFolder, { recursive: true });
});

describe("package", () => {
  it("holds what its exports name, and no tests or benchmarks", options, () => {
    const folder = installedPackage();
    const { exports, bin } = readJson(join(folder, "package.json")) as {
      exports: Record<string, string | Record<string, string>>;
      bin: Record<string, string>;
    };
    const paths = [...Object.values(exports), bin].flatMap((entry) =>
      typeof entry === "string" ? [entry] : Object.values(entry)
    );
    assert.deepEqual(paths.filter((path) => !existsSync(join(folder, path))), []);
    for (const path of ["README.md", "LICENSE"]) assert.ok(existsSync(join(folder, path)), path);
    for (const path of ["src", "tests", "dist/tests", "dist/bench"]) {
      assert.ok(!existsSync(join(folder, path)), path);
    }
  });

  it("brings no development dependencies", options, () => {
    const { devDependencies } = readJson("package.json") as {
      devDependencies: Record<string, string>;
    };
    const packages = join(installedPackage(), "..");
    const names = Object.keys(devDependencies).filter((name) => existsSync(join(packages, name)));
    assert.deepEqual(names, []);
  });

  for (const id of ["node", "node24", "deno", "bun"] as const) {
    it(`runs the README's first program on ${id}`, options, () => {
      // A folder for each: the program may leave files behind.
      const folder = programFolder(id, "main.mjs");
      const output = run(
        runtimes![id],
        [...(id === "deno" ? ["run", "-A"] : []), "main.mjs"],
        folder,
      );
      assert.notEqual(output.trim(), "");
    });
  }

  it("exports every sub-path", options, () => {
    const folder = programFolder("exports", "main.mjs");
    const program = 'await import("ottla/testing"); await import("ottla/record");';
    run(runtimes!.node, ["--input-type=module", "--eval", program], folder);
  });

  it("has types for users of Node and Bun", options, () => {
    const folder = programFolder("types", "main.ts");
    const compilerOptions = {
      module: "nodenext",
      target: "es2022",
      lib: ["es2023", "esnext.disposable"],
      strict: true,
      noEmit: true,
      types: ["node"],
      typeRoots: [resolve("node_modules/@types")],
    };
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions }));
    writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "module" }));
    run(process.execPath, [resolve("node_modules/typescript/bin/tsc")], folder);
  });

  it("has types for users of Deno", options, () => {
    run(runtimes!.deno, ["check", "--quiet", "main.ts"], programFolder("deno_types", "main.ts"));
  });

  it("brings the command", options, () => {
    const folder = installedPackage();
    const { bin } = readJson(join(folder, "package.json")) as { bin: Record<string, string> };
    const script = join(folder, bin["ottla"] ?? "");
    assert.match(readFileSync(script, "utf8"), /^#!\/usr\/bin\/env node\n/);
    assert.match(run(runtimes!.node, [script, "--help"], folder), /ottla/);
  });
});

/** Packs the project as it is compiled and installs the tarball, once. */
function installedPackage(): string {
  if (userFolder === undefined) {
    const folder = userFolder = mkdtempSync(join(tmpdir(), "ottla-package-"));
    runNpm(["pack", "--ignore-scripts", "--pack-destination", folder], ".");
    const { name, version } = readJson("package.json") as { name: string; version: string };
    writeFileSync(join(folder, "package.json"), JSON.stringify({ private: true }));
    // No install scripts: many users run without them, and the package must not need any.
    const flags = ["--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund"];
    runNpm(["install", ...flags, `./${name}-${version}.tgz`], folder);
  }
  return join(userFolder, "node_modules", "ottla");
}

/** Makes a folder in the user's project with the README's first program in it. */
function programFolder(name: string, fileName: string): string {
  const folder = join(installedPackage(), "..", "..", name);
  const program = /^```(?:ts|js)\n([^]*?)^```$/m.exec(readFileSync("README.md", "utf8"))?.[1];
  assert.ok(program !== undefined, "README.md has no program");
  mkdirSync(folder);
  writeFileSync(join(folder, fileName), program);
  return folder;
}

function runNpm(args: string[], folder: string): string {
  const script = process.env["npm_execpath"];
  if (script?.endsWith(".js")) return run(process.execPath, [script, ...args], folder);
  return run("npm", args, folder);
}

/** Runs a process and returns what it printed; fails with all of it unless the process succeeds. */
function run(command: string, args: string[], folder: string): string {
  const child = spawnSync(command, args, { cwd: folder, encoding: "utf8", timeout: processMsMax });
  const output = child.error?.message ?? child.stdout + child.stderr;
  assert.equal(child.status, 0, `${command} ${args.join(" ")}\n${output}`);
  return output;
}

function readJson(path: string): unknown {
  return JSON.parse(readFileSync(path, "utf8"));
}
