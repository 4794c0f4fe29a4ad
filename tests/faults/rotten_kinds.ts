/** Ways in which the files of a store rot, one after the other. */

import type { Rot } from "./rotten_judge.ts";
import type { StoreImage } from "./rotten_store.ts";

/**
 * One bit of every byte flipped; which one is a matter of its position, so that neighbours differ.
 *
 * @param image The files.
 * @param turn Another one gives other bits; eight turns are all.
 * @returns The ways, file by file.
 */
export function* flips(image: StoreImage, turn = 0): Generator<Rot> {
  for (const [path, whole] of image) {
    for (let position = 0; position < whole.length; position++) {
      const bytes = whole.slice();
      bytes[position]! ^= 1 << ((position + turn) & 7);
      yield { path, bytes, startPosition: position, endPosition: position + 1 };
    }
  }
}

/** Every file cut at every length. */
export function* cuts(image: StoreImage): Generator<Rot> {
  for (const [path, whole] of image) {
    for (let size = 0; size < whole.length; size++) {
      const bytes = whole.slice(0, size);
      yield { path, bytes, startPosition: size, endPosition: whole.length };
    }
  }
}

/** Every file gone, and every file filled with zeros from each of some positions on. */
export function* lossesAndZeros(image: StoreImage): Generator<Rot> {
  for (const [path, whole] of image) {
    yield { path, bytes: undefined, startPosition: 0, endPosition: whole.length };
    for (let part = 0; part < 8; part++) {
      const startPosition = Math.floor(whole.length * part / 8);
      const endPosition = part % 2 === 0
        ? whole.length
        : Math.min(whole.length, startPosition + Math.ceil(whole.length / 8));
      const bytes = whole.slice();
      bytes.fill(0, startPosition, endPosition);
      yield { path, bytes, startPosition, endPosition };
    }
  }
}

/** Every two files in each other's place. */
export function* swaps(image: StoreImage): Generator<Rot> {
  const files = [...image];
  for (const [index, [path, whole]] of files.entries()) {
    for (const [otherPath, other] of files.slice(index + 1)) {
      const rot = (into: string, size: number, bytes: Uint8Array): Rot => (
        { path: into, bytes, startPosition: 0, endPosition: size }
      );
      yield {
        ...rot(path, whole.length, other),
        others: [rot(otherPath, other.length, whole)],
      };
    }
  }
}
