/** The command line as a whole: help, version, exit codes, and `ottla` as a program of its own. */

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { test } from "node:test";
import { version } from "../../src/cli/version.ts";
import { inFolder, linesOf, runCommand } from "./command_run.ts";

const processMsMax = 60_000;
const names = ["topics", "produce", "consume", "groups", "dump", "check", "perf", "demo"];

/** How the program is started on the runtime that runs this test. */
function programCommand(): string[] {
  // Compiled, this file lies beside the compiled program; otherwise beside its source.
  const ending = import.meta.url.endsWith(".js") ? "js" : "ts";
  const program = fileURLToPath(new URL(`../../src/cli/main.${ending}`, import.meta.url));
  const isDeno = "deno" in process.versions;
  return [process.execPath, ...(isDeno ? ["run", "-A", "--quiet", "--no-check"] : []), program];
}

/** Runs the program to its end. */
function runProgram(
  args: readonly string[],
  input = "",
): { status: number | null; stdout: string; stderr: string } {
  const [runtime = "", ...runtimeArgs] = programCommand();
  const { status, stdout, stderr } = spawnSync(runtime, [...runtimeArgs, ...args], {
    input,
    encoding: "utf8",
    timeout: processMsMax,
  });
  return { status, stdout, stderr };
}

test("--help lists every command, and each has a help of its own", async () => {
  const { code, output, errors } = await runCommand(["--help"]);
  assert.equal(code, 0);
  assert.equal(errors, "");
  for (const name of names) {
    assert.match(output, new RegExp(`^  ${name} `, "m"));
    const help = await runCommand([name, "--help"]);
    assert.equal(help.code, 0);
    assert.equal(help.errors, "");
    assert.match(help.output, new RegExp(`ottla ${name}`));
    assert.deepEqual(linesOf(help.output).filter((line) => line.length > 120), []);
    assert.deepEqual(await runCommand([name, "-h"]), help);
  }
});

test("--help behind -- is an argument", async () => {
  const { code, output } = await runCommand(["dump", "--", "--help"]);
  assert.equal(code, 1);
  assert.equal(output, "");
});

test("--version prints the version of the package", async () => {
  const { version: ofPackage } = JSON.parse(readFileSync("package.json", "utf8"));
  const { version: ofDeno } = JSON.parse(readFileSync("deno.json", "utf8"));
  assert.deepEqual([ofPackage, ofDeno], [version, version]);
  assert.equal((await runCommand(["--version"])).output, `${version}\n`);
});

test("no command and an unknown one are wrong usage", async () => {
  const none = await runCommand([]);
  assert.equal(none.code, 2);
  assert.equal(none.output, "");
  assert.match(none.errors, /^Usage: /);
  const unknown = await runCommand(["destroy"]);
  assert.equal(unknown.code, 2);
  assert.equal(unknown.errors, 'ottla: There is no command "destroy"; try ottla --help\n');
});

test("missing, surplus and unknown arguments are wrong usage", async () => {
  const wrong = [
    ["topics"],
    ["topics", "rename"],
    ["topics", "list"],
    ["topics", "list", "a", "b"],
    ["topics", "create", "a"],
    ["topics", "create", "a", "b", "--partitions", "0"],
    ["topics", "create", "a", "b", "--config", "retention.ms"],
    ["topics", "create", "a", "b", "--config", "no.such=1"],
    ["topics", "create", "a", "b", "--partitioner", "best"],
    ["topics", "alter", "a", "b"],
    ["produce", "a"],
    ["produce", "a", "b", "--ack", "all"],
    ["produce", "a", "b", "--partitions", "3"],
    ["produce", "a", "b", "--key", "k", "--key-field", "f"],
    ["consume", "a"],
    ["consume", "a", "b", "--from", "yesterday"],
    ["consume", "a", "b", "--to", "latest"],
    ["consume", "a", "b", "--limit", "-1"],
    ["check"],
    ["check", "a", "--fix"],
  ];
  for (const args of wrong) {
    const { code, output, errors } = await runCommand(args);
    assert.equal(code, 2, `${args.join(" ")}: ${errors}`);
    assert.equal(output, "");
    assert.match(errors, new RegExp(`^ottla: [^\\n]+; try ottla ${args[0]} --help\\n$`));
  }
});

test("a folder that is no store fails in one line, and stays as it is", async () => {
  await inFolder(async (folder) => {
    const commands = [
      ["topics", "list", folder],
      ["topics", "describe", folder],
      ["topics", "alter", folder, "a", "--partitions", "2"],
      ["topics", "delete", folder, "a"],
      ["produce", folder, "a"],
      ["consume", folder, "a"],
      ["consume", folder, "a", "--group", "g"],
      ["groups", "list", folder],
      ["groups", "reset", folder, "g", "--topic", "a", "--to-latest"],
      ["groups", "delete", folder, "g"],
      ["perf", "consume", folder, "a"],
      ["check", folder],
      ["check", join(folder, "none")],
      ["check", "package.json"],
    ];
    for (const args of commands) {
      const { code, output, errors } = await runCommand(args);
      assert.equal(code, 1, args.join(" "));
      assert.equal(output, "");
      assert.match(errors, /^ottla: Cannot [^\n]+\n$/);
    }
  });
});

test("as a program: appends standard input, prints it again, and exits with the codes", async () => {
  await inFolder((folder) => {
    const store = join(folder, "store");
    const produced = runProgram(["produce", store, "events", "--create"], "one\ntwo\nthree\n");
    assert.equal(produced.stdout, "events-0 offsets 0 to 2\n");
    assert.match(produced.stderr, /^3 records, 11 bytes in /);
    assert.equal(produced.status, 0);
    const consumed = runProgram(["consume", store, "events"]);
    assert.deepEqual([consumed.status, consumed.stdout, consumed.stderr], [
      0,
      "one\ntwo\nthree\n",
      "",
    ]);
    const failed = runProgram(["consume", store, "other"]);
    assert.equal(failed.status, 1);
    assert.match(failed.stderr, /^ottla: Cannot find topic "other"[^\n]*\n$/);
    assert.equal(runProgram(["consume"]).status, 2);
    return Promise.resolve();
  });
});

test("as a program: a reader who has seen enough is no error", async () => {
  if (process.platform === "win32") return;
  await inFolder((folder) => {
    const store = join(folder, "store");
    const lines = Array.from({ length: 50_000 }, (_, index) => `line ${index} ${"x".repeat(40)}\n`);
    runProgram(["produce", store, "events", "--create", "--ack", "os"], lines.join(""));
    const command = [...programCommand(), "consume", store, "events"].map((part) => `'${part}'`);
    const shell = `${command.join(" ")}; echo $? >&2`;
    const { stdout, stderr } = spawnSync("/bin/sh", ["-c", `(${shell}) | head -n 2`], {
      encoding: "utf8",
      timeout: processMsMax,
    });
    assert.deepEqual(linesOf(stdout).map((line) => line.slice(0, 7)), ["line 0 ", "line 1 "]);
    assert.equal(stderr, "0\n");
    return Promise.resolve();
  });
});

test("as a program: Ctrl+C ends consume --follow cleanly", async () => {
  if (process.platform === "win32") return;
  await inFolder(async (folder) => {
    const store = join(folder, "store");
    runProgram(["produce", store, "events", "--create"], "one\n");
    const [runtime = "", ...runtimeArgs] = programCommand();
    const args = [...runtimeArgs, "consume", store, "events", "--follow"];
    const child = spawn(runtime, args, {
      stdio: ["ignore", "pipe", "pipe"],
      timeout: processMsMax,
    });
    let [output, errors] = ["", ""];
    child.stderr.on("data", (chunk: Uint8Array) => errors += new TextDecoder().decode(chunk));
    child.stdout.on("data", (chunk: Uint8Array) => {
      output += new TextDecoder().decode(chunk);
      // Not child.kill(): after that Deno takes the signal for the end, whatever the exit code is.
      process.kill(child.pid!, "SIGINT");
    });
    const code = await new Promise((resolve) => child.once("close", resolve));
    assert.deepEqual([code, output, errors], [0, "one\n", ""]);
  });
});
