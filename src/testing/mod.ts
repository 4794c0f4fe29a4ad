/**
 * For tests of code that uses ottla: a disk that crashes, a clock that stands still, chance by seed.
 *
 * `simulatedDisk` stands in for the machine: its files, its clock, its processes. `powerCut` and
 * `killProcess` crash it, `setFaults` fills it up or lets it fail, and `filesOf`, `openHandlesOf`,
 * `syncedContentOf` and `historyOf` tell what came of it. A test is a loop over seeds around the
 * application as it is: whatever fails once fails again with the same seed.
 *
 * @example A shop that must not lose an order it has confirmed, whenever the power goes
 * ```ts
 * import { append, closeStore, createTopic, openStore, read, utf8 } from "ottla";
 * import { historyOf, openHandlesOf, seededRandom, setFaults, simulatedDisk } from "ottla/testing";
 *
 * for (let seed = 0; seed < 50; seed++) {
 *   const confirmed = [];
 *   const runShop = async (machine) => {
 *     const store = await openStore("/shop", machine);
 *     await createTopic(store, "orders", { ifNotExists: true });
 *     for (let number = 0; number < 20; number++) {
 *       await append(store, "orders", { value: `order ${number}` });
 *       confirmed.push(`order ${number}`);
 *     }
 *     await closeStore(store);
 *   };
 *
 *   // The power goes at one operation of the first 180.
 *   const crashAt = 1 + seededRandom(seed).below(180);
 *   const disk = simulatedDisk({
 *     seed,
 *     faults: { rule: ({ number }) => number === crashAt ? { crash: "powerCut" } : undefined },
 *   });
 *   await runShop(disk.process).catch(() => {});
 *   setFaults(disk);
 *
 *   // The machine is on again, and somebody looks what is there.
 *   const store = await openStore("/shop", disk.process);
 *   await createTopic(store, "orders", { ifNotExists: true });
 *   const found = [];
 *   for await (const { value } of read(store, "orders")) found.push(utf8.deserialize(value));
 *   const lost = confirmed.filter((order) => !found.includes(order));
 *   if (lost.length > 0) {
 *     throw new Error(`seed ${seed} lost ${lost.join(", ")}:\n${historyOf(disk).join("\n")}`);
 *   }
 *   await closeStore(store);
 *   if (openHandlesOf(disk).length > 0) throw new Error(`seed ${seed} left files open`);
 * }
 * ```
 *
 * @module
 */

export { abandonStore } from "../store/open_store.ts";
export { memoryFileSystem } from "../platform/memory_file_system.ts";
export type {
  FileHandle,
  FileStatus,
  FileSystem,
  FolderEntry,
  OpenMode,
} from "../platform/file_system.ts";
export type { Clock, Timer } from "../platform/clock.ts";
export type { ProcessIdentity, ProcessStatus, ProcessTable } from "../platform/process_identity.ts";
export type { RandomBytes } from "../platform/random.ts";
export type { Duration } from "./duration.ts";
export { manualClock } from "./manual_clock.ts";
export type { ManualClock } from "./manual_clock.ts";
export { seededRandom } from "./seeded_random.ts";
export type { SeededRandom } from "./seeded_random.ts";
export { killProcess, powerCut, setFaults, simulatedDisk } from "./simulated_disk.ts";
export type {
  PowerCutOptions,
  SimulatedDisk,
  SimulatedDiskOptions,
  SimulatedProcess,
} from "./simulated_disk.ts";
export type { Unsynced } from "./simulated_file.ts";
export type { DiskFault, DiskFaults, DiskOperation, DiskOperationKind } from "./disk_faults.ts";
export {
  filesOf,
  historyOf,
  openHandlesOf,
  operationCountOf,
  syncedContentOf,
} from "./disk_view.ts";
export type { DiskEntry, OpenHandle } from "./disk_view.ts";
