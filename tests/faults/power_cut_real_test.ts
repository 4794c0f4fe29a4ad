/**
 * A power cut on a real file system: an ext4 on a loop device loses what it had not written to the
 * device, and what was acknowledged at "disk" is there all the same.
 *
 * A program appends to a store on the ext4. At random moments it is stopped, and the file behind the
 * loop device is copied: that is what the device holds if the power goes now. What was in the page
 * cache alone, or in a transaction of the journal that was not committed, is not in it. The copy is
 * mounted, which replays its journal, and the store on it opened.
 *
 * A copy takes some milliseconds, in which the kernel may write on. So copies are made until two
 * are alike: these are what the device held between them.
 *
 * `dm-log-writes` and `dm-flakey` would let every single write of the file system be the last one.
 * They need a kernel with device mapper; without one `dmsetup create` says "/dev/mapper/control:
 * open failed: No such device". What a device with a cache of its own loses, the simulated disk has
 * to show (`tests/testing`).
 *
 * `npm run test:powercut -- --rounds 50` runs it; it has to be root's, for `mount`.
 */

import assert from "node:assert/strict";
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { describe, it } from "node:test";
import { closeStore, openStore } from "../../mod.ts";
import { seededRandom } from "../../src/testing/mod.ts";
import type { ChildProgram } from "../support/child_program.ts";
import { startChildProgram } from "../support/child_program.ts";
import { runCommand, unmount } from "../support/small_disk.ts";
import type { Acknowledged } from "./kill_check.ts";
import { checkAcknowledged, noteAcknowledged, nothingAcknowledged } from "./kill_check.ts";
import type { Acknowledgement } from "./kill_plan.ts";
import { killStoreOptions } from "./kill_plan.ts";

const roundCount = Number(process.env["OTTLA_POWER_CUT_ROUNDS"] ?? 0);
const firstSeed = Number(process.env["OTTLA_POWER_CUT_SEED"] ?? 1);
/** So many power cuts a life of the program. */
const roundsALife = 10;
const imageBytes = 64 * 1024 * 1024;
const copiesMax = 100;
/** From one power cut to the next there are as many acknowledgements at most. */
const acknowledgementsMax = 300;
/** How the ext4 is mounted: as usual, and with a journal that is committed for nothing but a sync. */
const mountOptions = ["loop", "loop,data=writeback,commit=300,noauto_da_alloc"] as const;

/** Why there are no such file systems here, found out by trying. */
function whyNot(): string | undefined {
  if (roundCount === 0) return "npm run test:powercut runs it";
  if (process.platform !== "linux") return "it needs Linux";
  try {
    withMachine(mountOptions[0], () => {});
    return undefined;
  } catch (error) {
    return `no ext4 can be mounted: ${String(error)}`;
  }
}

/** The folders and files of one machine. */
interface Machine {
  /** The file behind the loop device. */
  readonly image: string;
  /** Where its file system is mounted. */
  readonly mounted: string;
  /** The same for what a power cut leaves. */
  readonly copy: string;
  readonly copyMounted: string;
}

/** Runs with an ext4 of its own; what is mounted then is unmounted afterwards. */
function withMachine<T>(options: string, run: (machine: Machine) => T): T {
  const root = mkdtempSync(join(tmpdir(), "ottla-test-"));
  runCommand("mount", "-t", "tmpfs", "-o", `size=${4 * imageBytes}`, "tmpfs", root);
  const machine = {
    image: join(root, "image"),
    mounted: join(root, "mounted"),
    copy: join(root, "copy"),
    copyMounted: join(root, "copy-mounted"),
  };
  const end = (): void => {
    unmount(machine.mounted);
    unmount(root);
    rmSync(root, { recursive: true });
  };
  mkdirSync(machine.mounted);
  mkdirSync(machine.copyMounted);
  writeFileSync(machine.image, "");
  truncateSync(machine.image, imageBytes);
  runCommand("mkfs.ext4", "-q", "-F", machine.image);
  runCommand("mount", "-o", options, machine.image, machine.mounted);
  let result: T;
  try {
    result = run(machine);
  } catch (error) {
    end();
    throw error;
  }
  if (result instanceof Promise) return result.finally(end) as T;
  end();
  return result;
}

/** What the device holds at a moment. */
function copyImage({ image, copy }: Machine): void {
  copyFileSync(image, copy);
  for (let copies = 1; copies < copiesMax; copies++) {
    if (readFileSync(copy).equals(readFileSync(image))) return;
    copyFileSync(image, copy);
  }
  assert.fail(`the image was written to during ${copiesMax} copies`);
}

/** The machine that starts on the copy has another boot id than the one whose lock is in it. */
function bootAnew(folder: string): void {
  for (const name of readdirSync(folder)) {
    if (!name.startsWith("ottla.lock.")) continue;
    const text = readFileSync(join(folder, name), "utf8");
    const before = /"bootId":"([^"]+)"/.exec(text)?.[1];
    if (before === undefined) continue;
    writeFileSync(join(folder, name), text.replace(before, [...before].reverse().join("")));
  }
}

async function checkCopy(machine: Machine, options: string, known: Acknowledged): Promise<void> {
  runCommand("mount", "-o", options, machine.copy, machine.copyMounted);
  try {
    const folder = join(machine.copyMounted, "store");
    bootAnew(folder);
    const store = await openStore(folder, { ...killStoreOptions, create: false });
    try {
      assert.equal(store.recovery.wasClean, false);
      assert.deepEqual(store.recovery.failedPartitions, []);
      await checkAcknowledged(store, known);
    } finally {
      await closeStore(store);
    }
  } finally {
    unmount(machine.copyMounted);
  }
}

/** Lets a program append, and looks a few times what a power cut would leave. */
async function liveAndLook(
  machine: Machine,
  child: ChildProgram,
  seed: number,
  rounds: number,
  options: string,
): Promise<void> {
  const random = seededRandom(seed).fork("test");
  const known = nothingAcknowledged();
  let lookAfter = random.below(20);
  let looks = 0;
  for await (const line of child.lines) {
    if (!line.endsWith("]")) continue;
    const acknowledgement = JSON.parse(line) as Acknowledgement;
    if (acknowledgement[0] !== "open") noteAcknowledged(known, acknowledgement);
    if (lookAfter-- > 0) continue;
    child.stop();
    copyImage(machine);
    child.goOn();
    await checkCopy(machine, options, known);
    if (++looks === rounds) break;
    lookAfter = random.below(acknowledgementsMax);
  }
  assert.equal(looks, rounds, "the program lived until it was killed");
}

describe("a power cut on ext4", () => {
  const skip = whyNot();
  for (const options of mountOptions) {
    for (let first = 0; first < Math.max(1, roundCount); first += roundsALife) {
      const rounds = Math.min(roundsALife, roundCount - first);
      const seed = firstSeed + first;
      it(
        `takes nothing that was acknowledged (${options}, from seed ${seed})`,
        skip === undefined ? {} : { skip },
        () =>
          withMachine(options, async (machine) => {
            const args = [join(machine.mounted, "store"), String(seed), "disk"];
            const child = startChildProgram(import.meta.url, "kill_child", args);
            try {
              await liveAndLook(machine, child, seed, rounds, options);
            } finally {
              await child.kill();
            }
          }),
      );
    }
  }
});
