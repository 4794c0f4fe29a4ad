/** What processes do to the names of a simulated disk, with the errors that POSIX has for it. */

import type { DiskState } from "./disk_state.ts";
import { freeIfUnused } from "./disk_state.ts";
import type { SimulatedFile } from "./simulated_file.ts";
import type { NameChange, SimulatedNode } from "./simulated_folders.ts";
import { changeNames, simulatedFolder } from "./simulated_folders.ts";
import { diskError, findNode, getFile, getFolder, nameEdit, partsOf } from "./simulated_paths.ts";

/**
 * Gives a file a name that nobody has.
 *
 * @param disk The disk.
 * @param path The name's path.
 * @param file The file.
 * @throws `EEXIST`, or what is wrong with the folder.
 */
export function makeName(disk: DiskState, path: string, file: SimulatedFile): void {
  if (findNode(disk.tree, path) !== undefined) throw diskError("EEXIST", path);
  change(disk, [nameEdit(disk.tree, path, file)]);
}

/**
 * Gives a file another name.
 *
 * @param disk The disk.
 * @param source A name that it has.
 * @param target The new one.
 * @throws `EEXIST`, or what is wrong with either path.
 */
export function linkName(disk: DiskState, source: string, target: string): void {
  makeName(disk, target, getFile(disk.tree, source));
}

/**
 * Takes a file's name away.
 *
 * @param disk The disk.
 * @param path The name's path.
 * @throws What is wrong with the path.
 */
export function removeName(disk: DiskState, path: string): void {
  getFile(disk.tree, path);
  change(disk, [nameEdit(disk.tree, path, undefined)]);
}

/**
 * Moves a file or folder, in place of what is there.
 *
 * @param disk The disk.
 * @param source Its path.
 * @param target Its new path.
 * @throws `EINVAL` if a folder would come to lie in itself, or what is wrong with either path.
 */
export function renameName(disk: DiskState, source: string, target: string): void {
  const { tree } = disk;
  const node = findNode(tree, source);
  if (node === undefined) throw diskError("ENOENT", source);
  const taken = nameEdit(tree, target, node);
  const replaced = findNode(tree, target);
  // Two names of one file stay two names, says POSIX.
  if (replaced === node) return;
  if (`${partsOf(target).join("/")}/`.startsWith(`${partsOf(source).join("/")}/`)) {
    throw diskError("EINVAL", `${target} lies in ${source}`);
  }
  if (replaced?.isFolder === false && node.isFolder) throw diskError("ENOTDIR", target);
  if (replaced?.isFolder === true && !node.isFolder) throw diskError("EISDIR", target);
  if (replaced?.isFolder === true && replaced.entries.size > 0) {
    throw diskError("ENOTEMPTY", target);
  }
  change(disk, [nameEdit(tree, source, undefined), taken]);
}

/**
 * Makes a folder and those above it, as far as they are not there.
 *
 * @param disk The disk.
 * @param path Its path.
 * @throws `EEXIST` if a file has the path, `ENOTDIR` if one is on the way.
 */
export function makeFolders(disk: DiskState, path: string): void {
  if (findNode(disk.tree, path)?.isFolder === false) throw diskError("EEXIST", path);
  const above: string[] = [];
  for (const part of partsOf(path)) {
    above.push(part);
    const node = findNode(disk.tree, above.join("/"));
    if (node?.isFolder === false) throw diskError("ENOTDIR", path);
    if (node === undefined) change(disk, [nameEdit(disk.tree, above.join("/"), simulatedFolder())]);
  }
}

/**
 * Removes a folder that holds nothing.
 *
 * @param disk The disk.
 * @param path Its path.
 * @throws `ENOTEMPTY`, or what is wrong with the path.
 */
export function removeEmptyFolder(disk: DiskState, path: string): void {
  if (getFolder(disk.tree, path).entries.size > 0) throw diskError("ENOTEMPTY", path);
  change(disk, [nameEdit(disk.tree, path, undefined)]);
}

/** Changes names and counts those of each file. */
function change(disk: DiskState, names: NameChange): void {
  const before = names.map(({ folder, name }) => folder.entries.get(name));
  changeNames(disk.tree, names);
  for (const { node } of names) if (isFile(node)) node.links++;
  for (const node of before) {
    if (!isFile(node)) continue;
    node.links--;
    freeIfUnused(disk, node);
  }
}

function isFile(node: SimulatedNode | undefined): node is SimulatedFile {
  return node !== undefined && !node.isFolder;
}
