/**
 * What a repair would see of its own changes: a dry run notes them in memory instead of making them,
 * so that what follows from them is told too.
 */

import type { FileHandle, FileSystem } from "../platform/file_system.ts";
import { folderOf, joinPath } from "../platform/files.ts";

/**
 * What a file or folder would be: of another content, the file of another name, a folder that was
 * not there, or gone.
 */
export type DryRunChange = Uint8Array | { readonly source: string } | "folder" | "gone";

/**
 * A file system as it would be after some changes.
 *
 * @param inner Where the files are; it is only read from.
 * @param changes What would be different, by paths; more may be added any time.
 * @returns The file system. Of what changes one it knows how to rename files.
 */
export function dryRunFileSystem(
  inner: FileSystem,
  changes: Map<string, DryRunChange>,
): FileSystem {
  const open = new Map<FileHandle, Uint8Array>();
  // No file system gives negative ones.
  let lastHandle = 0;
  return {
    ...inner,
    open(path, mode) {
      const change = changes.get(path);
      if (change === undefined) return inner.open(path, mode);
      if (typeof change === "string") {
        const code = change === "gone" ? "ENOENT" : "EISDIR";
        throw Object.assign(new Error(`${code}: ${path}`), { code });
      }
      if ("source" in change) return inner.open(change.source, mode);
      open.set(--lastHandle, change);
      return lastHandle;
    },
    read(file, target, position) {
      const content = open.get(file);
      if (content === undefined) return inner.read(file, target, position);
      const bytes = content.subarray(position, position + target.length);
      target.set(bytes);
      return bytes.length;
    },
    sizeOf: (file) => open.get(file)?.length ?? inner.sizeOf(file),
    close(file) {
      if (!open.delete(file)) inner.close(file);
    },
    stat(path) {
      const change = changes.get(path);
      if (change === undefined) return inner.stat(path);
      if (change === "gone") return undefined;
      if (change === "folder") return { sizeBytes: 0, modifiedMs: 0, isFolder: true };
      if ("source" in change) return inner.stat(change.source);
      return { sizeBytes: change.length, modifiedMs: 0, isFolder: false };
    },
    rename(source, target) {
      changes.set(target, changes.get(source) ?? { source });
      changes.set(source, "gone");
    },
    syncFolder() {},
    list(folder) {
      const isNew = changes.get(folder) === "folder";
      const entries = (isNew ? [] : inner.list(folder))
        .filter(({ name }) => !changes.has(joinPath(folder, name)));
      for (const [path, change] of changes) {
        if (change === "gone" || folderOf(path) !== folder) continue;
        const name = path.slice(joinPath(folder, "").length);
        entries.push({ name, isFolder: change === "folder" });
      }
      return entries;
    },
  };
}
