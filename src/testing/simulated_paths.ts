/** Finds what a path of a simulated disk stands for, and says what is wrong where nothing does. */

import type { SimulatedFile } from "./simulated_file.ts";
import type {
  NameEdit,
  SimulatedFolder,
  SimulatedNode,
  SimulatedTree,
} from "./simulated_folders.ts";

/**
 * An error as those of `node:fs`.
 *
 * @param code For example `ENOENT`.
 * @param what What went wrong, and where.
 * @returns The error.
 */
export function diskError(code: string, what: string): Error {
  return Object.assign(new Error(`${code}: ${what}`), { code });
}

/**
 * What a path stands for.
 *
 * @param tree The tree.
 * @param path A path with `/` between its parts.
 * @param view Whether as processes see it, or as it was synced.
 * @returns The file or folder; undefined if there is none.
 */
export function findNode(
  tree: SimulatedTree,
  path: string,
  view: "entries" | "durable" = "entries",
): SimulatedNode | undefined {
  let node: SimulatedNode | undefined = tree.root;
  for (const part of partsOf(path)) {
    node = node.isFolder ? node[view].get(part) : undefined;
    if (node === undefined) return undefined;
  }
  return node;
}

/**
 * A file.
 *
 * @param tree The tree.
 * @param path Its path.
 * @returns The file.
 * @throws `ENOENT` or `EISDIR`.
 */
export function getFile(tree: SimulatedTree, path: string): SimulatedFile {
  const node = findNode(tree, path);
  if (node === undefined) throw diskError("ENOENT", path);
  if (node.isFolder) throw diskError("EISDIR", path);
  return node;
}

/**
 * A folder.
 *
 * @param tree The tree.
 * @param path Its path.
 * @returns The folder.
 * @throws `ENOENT` or `ENOTDIR`.
 */
export function getFolder(tree: SimulatedTree, path: string): SimulatedFolder {
  const node = findNode(tree, path);
  if (node === undefined) throw diskError("ENOENT", path);
  if (!node.isFolder) throw diskError("ENOTDIR", path);
  return node;
}

/**
 * The folder that a path lies in, and its name there.
 *
 * @param tree The tree.
 * @param path The path, of something that need not be there.
 * @param node What the name is to stand for.
 * @returns The change of that name.
 * @throws `ENOENT` or `ENOTDIR` if there is no such folder, `EBUSY` for the root.
 */
export function nameEdit(
  tree: SimulatedTree,
  path: string,
  node: SimulatedNode | undefined,
): NameEdit {
  const parts = partsOf(path);
  const name = parts.pop();
  if (name === undefined) throw diskError("EBUSY", path);
  return { folder: getFolder(tree, parts.join("/")), name, node };
}

/**
 * The names of a path.
 *
 * @param path A path with `/` between its parts.
 * @returns Its parts.
 */
export function partsOf(path: string): string[] {
  return path.split("/").filter((part) => part !== "" && part !== ".");
}
