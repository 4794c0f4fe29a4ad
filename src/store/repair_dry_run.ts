/**
 * What a repair would see that has taken something out: in a dry run that is hidden, in place of
 * being removed, so that what follows from it is told too.
 */

import type { FileSystem } from "../platform/file_system.ts";
import { joinPath } from "../platform/files.ts";

/**
 * A file system without some of its files and folders.
 *
 * @param inner Where the files are; it is only read from.
 * @param hidden Their paths; more may be added any time.
 * @returns The rest of it.
 */
export function withoutHidden(inner: FileSystem, hidden: ReadonlySet<string>): FileSystem {
  return {
    ...inner,
    open(path, mode) {
      if (!hidden.has(path)) return inner.open(path, mode);
      throw Object.assign(new Error(`ENOENT: ${path}`), { code: "ENOENT" });
    },
    stat: (path) => hidden.has(path) ? undefined : inner.stat(path),
    list: (folder) => inner.list(folder).filter(({ name }) => !hidden.has(joinPath(folder, name))),
  };
}
