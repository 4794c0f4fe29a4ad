/**
 * Takes a lock away that is none: damaged bytes keep everybody out for ever.
 *
 * Who holds a lock writes it anew every `heartbeatMs`, and lets go of the store when it finds other
 * bytes there. So a file that nobody has written for `silenceMsMax` holds nobody's store open.
 */

import { OttlaError } from "../errors.ts";
import { joinPath, readFile } from "../platform/files.ts";
import { silenceMsMax } from "../platform/store_lock.ts";
import { lockBytesMax, parseLock, parseLockName } from "../platform/store_lock_file.ts";
import type { Clock } from "../platform/clock.ts";
import { moveFolderAside, removeKept } from "./repair_aside.ts";
import type { Repair } from "./repair_report.ts";

/**
 * Removes locks that cannot be read, and folders that have the name of one.
 *
 * @param repair The repair.
 * @param clock What time it is.
 * @throws OttlaError `STORE_LOCKED` if one was written lately: whoever holds it is about to find
 * out.
 */
export function repairLocks(repair: Repair, clock: Clock): void {
  const { fs, folder } = repair;
  for (const { name, isFolder } of fs.list(folder)) {
    if (parseLockName(name) === undefined) continue;
    if (isFolder) {
      moveFolderAside(repair, name, "The folder is no lock");
      continue;
    }
    if (isReadable(repair, name)) continue;
    const ageMs = clock.now() - (fs.stat(joinPath(folder, name))?.modifiedMs ?? 0);
    if (Math.abs(ageMs) < silenceMsMax) {
      throw new OttlaError(
        "STORE_LOCKED",
        `Cannot repair ${folder}: the lock ${name} cannot be read and was written ` +
          `${Math.round(Math.abs(ageMs) / 1000)} s ago; after ${silenceMsMax / 1000} s without a ` +
          `change nobody holds it`,
        { details: { folder, name, ageMs } },
      );
    }
    removeKept(repair, name, "It is no lock, and nobody writes it");
  }
}

function isReadable({ fs, folder }: Repair, name: string): boolean {
  const path = joinPath(folder, name);
  try {
    const bytes = readFile(fs, path, lockBytesMax);
    return bytes === undefined || parseLock(path, bytes) !== undefined;
  } catch (error) {
    if (error instanceof OttlaError) return false;
    throw error;
  }
}
