/** Makes and parses the names of the files of a segment: the one place that knows them. */

/** What a file of a segment holds. */
export type SegmentFileKind = "log" | "index" | "timeindex" | "txnindex" | "snapshot";

/** A parsed name. */
export interface SegmentFileName {
  readonly baseOffset: number;
  readonly kind: SegmentFileKind;
  /** What is to become of the file: nothing, or it is about to be removed or half written. */
  readonly suffix: "" | "deleted" | "cleaned" | "swap";
}

/** The end of the name of a file that keeps bytes cut from a torn log. */
export const tornSuffix = ".torn";

const pattern = /^(\d{20})\.(log|index|timeindex|txnindex|snapshot)(?:\.(deleted|cleaned|swap))?$/;

/**
 * The name of a file of a segment.
 *
 * @param baseOffset The first offset of the segment.
 * @param kind What the file holds.
 * @returns For example `00000000000000000042.log`.
 */
export function segmentFileName(baseOffset: number, kind: SegmentFileKind): string {
  return `${String(baseOffset).padStart(20, "0")}.${kind}`;
}

/**
 * Reads the name of a file of a segment.
 *
 * @param name The name without its folder.
 * @returns What it says, or undefined if it is another file's name.
 */
export function parseSegmentFileName(name: string): SegmentFileName | undefined {
  const match = pattern.exec(name);
  if (match === null) return undefined;
  const baseOffset = Number(match[1]);
  if (!Number.isSafeInteger(baseOffset)) return undefined;
  return {
    baseOffset,
    kind: match[2] as SegmentFileKind,
    suffix: (match[3] ?? "") as SegmentFileName["suffix"],
  };
}
