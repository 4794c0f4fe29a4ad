/**
 * For tests of code that uses ottla: time that a test decides, files in memory that outlive their
 * store, and crashes.
 *
 * @example
 * ```ts
 * import { append, closeStore, createTopic, offsetsOf, openStore } from "ottla";
 * import { abandonStore, memoryFileSystem } from "ottla/testing";
 *
 * const fileSystem = memoryFileSystem();
 * const store = await openStore("/data", { fileSystem });
 * await createTopic(store, "orders");
 * await append(store, "orders", { value: "one" });
 * abandonStore(store); // as if the process had been killed
 *
 * const again = await openStore("/data", { fileSystem });
 * console.log(offsetsOf(again, "orders")[0]?.endOffset); // 1
 * await closeStore(again);
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
export { manualClock } from "./manual_clock.ts";
export type { ManualClock } from "./manual_clock.ts";
