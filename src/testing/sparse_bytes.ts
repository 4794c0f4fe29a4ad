/**
 * The bytes of a file as pages that are made when first written, and shared by copies until one of
 * them is written. Extending costs nothing, copying a pointer a page.
 *
 * What lies behind the size is always zeros, so that a file that grows again reads as zeros there.
 */

/** The size of a page, and the least that takes room on a disk: a block of ext4 and xfs. */
export const pageBytes = 4096;

interface Page {
  readonly bytes: Uint8Array;
  /** Whether another `SparseBytes` may hold this page too. */
  isShared: boolean;
}

/** Bytes with holes. */
export interface SparseBytes {
  readonly pages: (Page | undefined)[];
  sizeBytes: number;
  /** How many pages there are: what the file takes on a disk. */
  pageCount: number;
}

/**
 * An empty file's bytes.
 *
 * @returns No bytes.
 */
export function sparseBytes(): SparseBytes {
  return { pages: [], sizeBytes: 0, pageCount: 0 };
}

/**
 * A copy, which shares its pages until one of the two is written.
 *
 * @param source What to copy.
 * @returns The copy.
 */
export function copySparse(source: SparseBytes): SparseBytes {
  for (const page of source.pages) if (page !== undefined) page.isShared = true;
  return { ...source, pages: source.pages.slice() };
}

/**
 * Reads up to the end.
 *
 * @param source What to read.
 * @param target Gets the bytes.
 * @param position Where to begin.
 * @returns How many bytes were read.
 */
export function readSparse(source: SparseBytes, target: Uint8Array, position: number): number {
  const endPosition = Math.min(source.sizeBytes, position + target.length);
  for (let at = position; at < endPosition;) {
    const offset = at % pageBytes;
    const length = Math.min(pageBytes - offset, endPosition - at);
    const page = source.pages[(at - offset) / pageBytes];
    if (page === undefined) target.fill(0, at - position, at - position + length);
    else target.set(page.bytes.subarray(offset, offset + length), at - position);
    at += length;
  }
  return Math.max(0, endPosition - position);
}

/**
 * Puts bytes into pages and leaves the size as it is. Whoever writes behind the size sets the size
 * then, or cuts with `resizeSparse`.
 *
 * @param target What to write to.
 * @param source The bytes.
 * @param position Where they go.
 */
export function writeSparse(target: SparseBytes, source: Uint8Array, position: number): void {
  const endPosition = position + source.length;
  for (let at = position; at < endPosition;) {
    const offset = at % pageBytes;
    const length = Math.min(pageBytes - offset, endPosition - at);
    const page = ownPage(target, (at - offset) / pageBytes);
    page.set(source.subarray(at - position, at - position + length), offset);
    at += length;
  }
}

/**
 * Sets the size, and makes everything behind it zeros.
 *
 * @param target What to cut or extend.
 * @param sizeBytes The new size.
 */
export function resizeSparse(target: SparseBytes, sizeBytes: number): void {
  const { pages } = target;
  const pageEnd = Math.ceil(sizeBytes / pageBytes);
  for (let index = pageEnd; index < pages.length; index++) {
    if (pages[index] !== undefined) target.pageCount--;
  }
  if (pages.length > pageEnd) pages.length = pageEnd;
  const offset = sizeBytes % pageBytes;
  if (offset > 0 && pages[pageEnd - 1] !== undefined) ownPage(target, pageEnd - 1).fill(0, offset);
  target.sizeBytes = sizeBytes;
}

/**
 * How much of a write fits when only so many pages can be made.
 *
 * @param target What would be written to.
 * @param position Where the write begins.
 * @param length How long it is.
 * @param pagesFree How many pages can be made.
 * @returns How many of its bytes fit, from its beginning.
 */
export function fittingBytes(
  target: SparseBytes,
  position: number,
  length: number,
  pagesFree: number,
): number {
  let pagesLeft = pagesFree;
  const endPosition = position + length;
  for (let at = position; at < endPosition; at += pageBytes - at % pageBytes) {
    if (target.pages[Math.floor(at / pageBytes)] !== undefined) continue;
    if (pagesLeft-- <= 0) return at - position;
  }
  return length;
}

function ownPage(target: SparseBytes, index: number): Uint8Array {
  const page = target.pages[index];
  if (page !== undefined && !page.isShared) return page.bytes;
  const bytes = page === undefined ? new Uint8Array(pageBytes) : page.bytes.slice();
  target.pages[index] = { bytes, isShared: false };
  if (page === undefined) target.pageCount++;
  return bytes;
}
