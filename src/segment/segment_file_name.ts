/** Makes and parses the names of the files of a segment: the one place that knows them. */

/** What a file of a segment holds. */
export type SegmentFileKind = "log" | "index" | "timeindex" | "txnindex" | "snapshot";

/**
 * What is to become of a file: nothing, or it is about to be removed, half written, or about to take
 * the place of others.
 */
export type SegmentFileSuffix = "" | "deleted" | "cleaned" | "swap";

/** A parsed name. */
export interface SegmentFileName {
  readonly baseOffset: number;
  readonly kind: SegmentFileKind;
  readonly suffix: SegmentFileSuffix;
}

/** The end of the name of a file that keeps bytes cut from a torn log. */
export const tornSuffix = ".torn";

/** Of several files that are about to be removed and had the same name, all but one have a number. */
const pattern =
  /^(\d{20})\.(log|index|timeindex|txnindex|snapshot)(?:(?:\.\d{1,9})?\.(deleted)|\.(cleaned|swap))?$/;

/**
 * The name of a file of a segment.
 *
 * @param baseOffset The first offset of the segment.
 * @param kind What the file holds.
 * @param suffix What is to become of it; nothing unless given.
 * @returns For example `00000000000000000042.log`.
 */
export function segmentFileName(
  baseOffset: number,
  kind: SegmentFileKind,
  suffix: SegmentFileSuffix = "",
): string {
  const name = `${String(baseOffset).padStart(20, "0")}.${kind}`;
  return suffix === "" ? name : `${name}.${suffix}`;
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
    suffix: (match[3] ?? match[4] ?? "") as SegmentFileSuffix,
  };
}
