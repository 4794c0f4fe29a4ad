/**
 * The folders of a simulated disk: names as processes see them, names on the disk, and the changes
 * between the two.
 *
 * A change (a creation, a link, a rename, a removal) is on the disk once a folder that it touches
 * was synced, together with the earlier changes that it builds on. A power cut applies each pending
 * change whole or not at all; a rename has happened or has not, nobody finds neither name. What
 * touches a name that an earlier change touched builds on it, and is lost with it; a name in a
 * folder whose own name is lost cannot be reached. Beyond that any change may survive any other, in
 * one folder and across folders. Ext4 and xfs are milder, as their journal keeps all names in
 * order. Btrfs is not: what an fsync writes to its log overtakes older changes of other names.
 *
 * POSIX promises less than that, for a rename too; no file system in use gives less.
 */

import type { SeededRandom } from "./seeded_random.ts";
import type { SimulatedFile, Unsynced } from "./simulated_file.ts";

/** With more pending, the oldest change goes to the disk, as journals are written by themselves. */
const changesMax = 4_096;

/** A folder. */
export interface SimulatedFolder {
  readonly isFolder: true;
  /** What processes see. */
  entries: Map<string, SimulatedNode>;
  /** What was synced. */
  readonly durable: Map<string, SimulatedNode>;
}

/** What a name stands for. */
export type SimulatedNode = SimulatedFile | SimulatedFolder;

/** One name of one folder. */
export interface NameEdit {
  readonly folder: SimulatedFolder;
  readonly name: string;
  /** What it stands for from now on; undefined if it goes. */
  readonly node: SimulatedNode | undefined;
}

/** Names that change together or not at all. */
export type NameChange = readonly NameEdit[];

/** A tree of folders. */
export interface SimulatedTree {
  readonly root: SimulatedFolder;
  /** Changes that are not on the disk, oldest first. */
  readonly pending: NameChange[];
}

type NamesOfFolders = Map<SimulatedFolder, Set<string>>;

/**
 * A tree that holds nothing.
 *
 * @returns The tree.
 */
export function simulatedTree(): SimulatedTree {
  return { root: simulatedFolder(), pending: [] };
}

/**
 * A folder that holds nothing.
 *
 * @returns The folder.
 */
export function simulatedFolder(): SimulatedFolder {
  return { isFolder: true, entries: new Map(), durable: new Map() };
}

/**
 * Changes names, for processes at once and on the disk when a folder of them is synced.
 *
 * @param tree The tree.
 * @param change The names.
 */
export function changeNames(tree: SimulatedTree, change: NameChange): void {
  for (const { folder, name, node } of change) setName(folder.entries, name, node);
  tree.pending.push(change);
  if (tree.pending.length > changesMax) applyChange(tree.pending.shift()!);
}

/**
 * Brings the names of a folder to the disk.
 *
 * @param tree The tree.
 * @param folder One of its folders.
 */
export function syncNames(tree: SimulatedTree, folder: SimulatedFolder): void {
  const { pending } = tree;
  const names: NamesOfFolders = new Map();
  const isNeeded = new Array<boolean>(pending.length).fill(false);
  for (let index = pending.length - 1; index >= 0; index--) {
    const change = pending[index]!;
    if (!change.some((edit) => edit.folder === folder || hasName(names, edit))) continue;
    isNeeded[index] = true;
    for (const edit of change) addName(names, edit);
  }
  for (const [index, change] of pending.entries()) {
    if (isNeeded[index] === true) applyChange(change);
  }
  const kept = pending.filter((_, index) => isNeeded[index] === false);
  pending.splice(0, pending.length, ...kept);
}

/**
 * What a power cut leaves of the names.
 *
 * @param tree The tree.
 * @param unsynced What becomes of the pending changes.
 * @param random Decides where that is "any".
 */
export function cutNames(tree: SimulatedTree, unsynced: Unsynced, random: SeededRandom): void {
  const lost: NamesOfFolders = new Map();
  // In the middle alone, long runs of one kind would be rare.
  const share = unsynced === "any" ? random.pick([0, 0.5, 0.9, 1]) : unsynced === "kept" ? 1 : 0;
  const changes = tree.pending.splice(0);
  for (const change of changes) {
    if (random.chance(share) && !change.some((edit) => hasName(lost, edit))) applyChange(change);
    else for (const edit of change) addName(lost, edit);
  }
  const folders = new Set(changes.flatMap((change) => change.map(({ folder }) => folder)));
  for (const folder of folders) folder.entries = new Map(folder.durable);
}

/**
 * Visits everything that can be reached, files with several names once for each.
 *
 * @param folder Where to begin.
 * @param view Whether what processes see is visited, or what was synced.
 * @param visit Called with each path below the folder, which begins with `/`, and what is there.
 */
export function walkTree(
  folder: SimulatedFolder,
  view: "entries" | "durable",
  visit: (path: string, node: SimulatedNode) => void,
): void {
  const waiting: [string, SimulatedFolder][] = [["", folder]];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const [above, { [view]: names }] = next;
    for (const [name, node] of names) {
      const path = `${above}/${name}`;
      visit(path, node);
      if (node.isFolder) waiting.push([path, node]);
    }
  }
}

function addName(names: NamesOfFolders, { folder, name }: NameEdit): void {
  const known = names.get(folder);
  if (known === undefined) names.set(folder, new Set([name]));
  else known.add(name);
}

function hasName(names: NamesOfFolders, { folder, name }: NameEdit): boolean {
  return names.get(folder)?.has(name) === true;
}

function applyChange(change: NameChange): void {
  for (const { folder, name, node } of change) setName(folder.durable, name, node);
}

function setName(
  names: Map<string, SimulatedNode>,
  name: string,
  node: SimulatedNode | undefined,
): void {
  if (node === undefined) names.delete(name);
  else names.set(name, node);
}
