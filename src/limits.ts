/** Limits that hold everywhere. Reaching one is a typed error, never a hang. */

/**
 * The largest size of a segment, and the largest distance of an offset from its segment's first.
 */
export const segmentBytesMax: number = 2 ** 31 - 1;
/** The largest batch, so that a damaged length can never ask for more memory than this. */
export const batchBytesMax: number = 128 * 1024 * 1024;
/**
 * How many log files a store keeps open at once; the usual limit of a process is 1,024 of all
 * kinds.
 */
export const openFilesMax = 512;
