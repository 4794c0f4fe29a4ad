/** Who a process is, whether it runs, and what the machine prints about it. */

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { describe, it } from "node:test";
import type { ProcessIdentity } from "../../src/platform/process_identity.ts";
import {
  judgeProcess,
  parseProcessStat,
  parsePsLine,
  systemProcesses,
} from "../../src/platform/process_identity.ts";

const isLinux = process.platform === "linux";

/** A line of `/proc/<pid>/stat` that says nothing but what is given. */
function statLine(name: string, state: string, threadCount: number): string {
  const before = Array.from({ length: 16 }, (_, index) => index).join(" ");
  return `4711 (${name}) ${state} ${before} ${threadCount} 0 28004200 1 2 3\n`;
}

describe("process identity", () => {
  it("this process finds itself", () => {
    const processes = systemProcesses();
    assert.equal(processes.own.pid, process.pid);
    assert.ok(Math.abs(processes.own.beganMs - Date.now()) < 24 * 3_600_000);
    assert.deepEqual(processes.find(process.pid), { startTime: processes.own.startTime });
    const isKnown = processes.own.startTime !== undefined;
    assert.equal(judgeProcess(processes.own, processes), isKnown ? "alive" : "unknown");
  });

  it("a process that has ended is not found", async () => {
    const child = spawn(process.execPath, ["--version"], { stdio: "ignore" });
    const ended = once(child, "exit");
    const pid = child.pid!;
    await ended;
    assert.equal(systemProcesses().find(pid), undefined);
  });

  it("knows on Linux what makes a process id unique", { skip: !isLinux }, () => {
    const { own } = systemProcesses();
    assert.match(own.startTime ?? "", /^\d+$/);
    assert.match(own.bootId ?? "", /^[0-9a-f-]{36}$/);
    assert.match(own.pidNamespace ?? "", /^pid:\[\d+\]$/);
  });

  it("reads /proc/<pid>/stat, whatever the name of the program", () => {
    for (const name of ["node", "a b", ") Z 1", "(((", ""]) {
      assert.deepEqual(parseProcessStat(statLine(name, "S", 11)), { startTime: "28004200" });
    }
  });

  it("who only waits for a parent to notice has ended, unless threads still run", () => {
    assert.equal(parseProcessStat(statLine("node", "Z", 1)), undefined);
    assert.equal(parseProcessStat(statLine("node", "X", 1)), undefined);
    assert.deepEqual(parseProcessStat(statLine("node", "Z", 2)), { startTime: "28004200" });
    assert.equal(parsePsLine("Z+   Sat Nov 21 08:23:23 2026\n"), undefined);
  });

  it("reads what ps prints", () => {
    const status = { startTime: "Sun Nov 1 08:23:23 2026" };
    assert.deepEqual(parsePsLine("Ss+  Sun Nov  1 08:23:23 2026    \n"), status);
    assert.deepEqual(parsePsLine("\n"), { startTime: undefined });
    const own = ["-o", "stat=", "-o", "lstart=", "-p", String(process.pid)];
    const ps = spawnSync("ps", own, { encoding: "utf8", env: { ...process.env, LC_ALL: "C" } });
    // Small systems have a ps that knows no times, or none.
    if (ps.status !== 0) return;
    assert.match(parsePsLine(ps.stdout)?.startTime ?? "", /^\w{3} \w{3} \d+ \d\d:\d\d:\d\d \d{4}$/);
  });

  it("judges by one row of a table", () => {
    const own: ProcessIdentity = {
      pid: 1,
      startTime: "5",
      bootId: "boot",
      pidNamespace: "pids",
      machineId: "machine",
      host: "host",
      beganMs: 0,
    };
    const judge = (
      holder: Partial<ProcessIdentity>,
      found: { startTime: string | undefined } | undefined,
      self: Partial<ProcessIdentity> = {},
    ): string =>
      judgeProcess({ ...own, ...holder }, { own: { ...own, ...self }, find: () => found });
    const same = { startTime: "5" };
    const other = { startTime: "6" };
    const hidden = { startTime: undefined };
    // The same boot and process ids: the process itself tells, whatever its machine is called.
    assert.equal(judge({}, same), "alive");
    assert.equal(judge({ host: "renamed" }, same), "alive");
    assert.equal(judge({}, other), "dead");
    assert.equal(judge({}, undefined), "dead");
    assert.equal(judge({}, hidden), "unknown");
    assert.equal(judge(hidden, same), "unknown");
    assert.equal(judge(hidden, undefined), "dead");
    // Other process ids.
    assert.equal(judge({ pidNamespace: "others" }, undefined), "unknown");
    assert.equal(judge({ pidNamespace: undefined }, undefined), "unknown");
    // Another boot, of this machine or of another one.
    assert.equal(judge({ bootId: "former" }, same), "dead");
    assert.equal(judge({ bootId: "former", pidNamespace: "others" }, same), "dead");
    assert.equal(judge({ bootId: "former", host: "another" }, undefined), "unknown");
    assert.equal(judge({ bootId: "former", machineId: "another" }, undefined), "unknown");
    assert.equal(judge({ bootId: "former", host: "" }, undefined, { host: "" }), "unknown");
    // Boots without names, where nothing but the machine's name is known.
    const bootless = { bootId: undefined, pidNamespace: undefined, machineId: undefined };
    assert.equal(judge(bootless, same), "unknown");
    assert.equal(judge(bootless, same, bootless), "alive");
    assert.equal(judge(bootless, undefined, bootless), "dead");
    assert.equal(judge({ ...bootless, host: "another" }, undefined, bootless), "unknown");
  });
});
