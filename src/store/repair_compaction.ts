/**
 * Completes or undoes the compactions that a crash has broken off, as an opening does. It comes
 * before anything is judged: what is about to be swapped in looks lost.
 */

import { settleLogFolder } from "../log/log_folder.ts";
import { hasErrorCode } from "../platform/file_system.ts";
import type { FileSystem } from "../platform/file_system.ts";
import { joinPath } from "../platform/files.ts";
import { parseSegmentFileName } from "../segment/segment_file_name.ts";
import type { MetadataImage } from "./metadata_image.ts";
import { moveFileAside } from "./repair_aside.ts";
import type { Repair } from "./repair_report.ts";
import { addStep } from "./repair_report.ts";
import { markUnclean } from "./repair_root.ts";
import { partitionFolderName } from "./topic_name.ts";

/**
 * Completes or undoes compactions; the files that go are kept.
 *
 * @param repair The repair.
 * @param image What the metadata says.
 * @throws What the file system throws.
 */
export function settleCompactions(repair: Repair, image: MetadataImage): void {
  const { fs, folder } = repair;
  for (const { name: topic, partitions } of image.topicsByName.values()) {
    for (const partition of partitions.keys()) {
      const name = partitionFolderName(topic, partition);
      if (!isBrokenOff(fs, joinPath(folder, name))) continue;
      addStep(repair, name, "A compaction that was broken off is completed or undone");
      markUnclean(repair);
      const remove = (path: string): void =>
        moveFileAside(repair, path.slice(joinPath(folder, "").length));
      settleLogFolder({ ...fs, remove }, joinPath(folder, name));
    }
  }
}

function isBrokenOff(fs: FileSystem, folder: string): boolean {
  try {
    return fs.list(folder).some(({ name }) => {
      const suffix = parseSegmentFileName(name)?.suffix;
      return suffix === "cleaned" || suffix === "swap";
    });
  } catch (error) {
    if (hasErrorCode(error, "ENOENT")) return false;
    throw error;
  }
}
