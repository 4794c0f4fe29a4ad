/** Finds out who has a store open, without taking its lock or changing anything. */

import { isOttlaError } from "../errors.ts";
import { checkNoBroker } from "./broker_lock.ts";
import type { FileSystem } from "./file_system.ts";
import { joinPath, readFile } from "./files.ts";
import { judgeProcess, systemProcesses } from "./process_identity.ts";
import type { ProcessTable } from "./process_identity.ts";
import { lockBytesMax, lockName, parseLock, parseLockName } from "./store_lock_file.ts";

/**
 * Finds who has a store open.
 *
 * @param fs Where it is.
 * @param folder The store's folder.
 * @param processes This process and those that it can see.
 * @returns In words, such as `process 4711 on host a`; undefined if nobody has, as far as can be
 * seen from here.
 * @throws OttlaError `STORE_INVALID` if something else has the name of a lock.
 */
export function findStoreHolder(
  fs: FileSystem,
  folder: string,
  processes: ProcessTable = systemProcesses(),
): string | undefined {
  const broker = findBroker(fs, folder);
  if (broker !== undefined) return broker;
  const generation = Math.max(0, ...fs.list(folder).map(({ name }) => parseLockName(name) ?? 0));
  if (generation === 0) return undefined;
  const path = joinPath(folder, lockName(generation));
  const bytes = readFile(fs, path, lockBytesMax);
  const content = bytes === undefined ? undefined : parseLock(path, bytes);
  if (content?.state !== "held") return undefined;
  const { holder } = content;
  const liveness = judgeProcess(holder, processes);
  if (liveness === "dead") return undefined;
  const where = holder.host === "" ? "" : ` on host ${holder.host}`;
  const doubt = liveness === "unknown" ? ", which cannot be asked from here," : "";
  return `process ${holder.pid}${where}${doubt} has its lock`;
}

function findBroker(fs: FileSystem, folder: string): string | undefined {
  try {
    checkNoBroker(fs, folder);
    return undefined;
  } catch (error) {
    if (!isOttlaError(error, "STORE_LOCKED")) throw error;
    return `a Kafka broker, process ${error.details["pid"]}, runs on it`;
  }
}
