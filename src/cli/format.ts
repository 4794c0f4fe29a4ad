/** Numbers for people. */

const units = ["bytes", "kB", "MB", "GB", "TB", "PB"];

/**
 * A whole number with its thousands apart.
 *
 * @param value The number.
 * @returns For example `1,234,567`.
 */
export function formatCount(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}

/**
 * A number of bytes, to two digits or three.
 *
 * @param sizeBytes How many.
 * @returns For example `1.2 MB`.
 */
export function formatBytes(sizeBytes: number): string {
  let size = sizeBytes;
  let unit = 0;
  while (size >= 999.5 && unit < units.length - 1) {
    size /= 1000;
    unit++;
  }
  return `${unit > 0 && size < 9.95 ? size.toFixed(1) : Math.round(size)} ${units[unit]}`;
}

/**
 * A count and its noun.
 *
 * @param count How many.
 * @param noun In the singular, with a regular plural unless given.
 * @param plural The plural.
 * @returns For example `1 record`, `2,000 records`.
 */
export function formatNoun(count: number, noun: string, plural = `${noun}s`): string {
  return `${formatCount(count)} ${count === 1 ? noun : plural}`;
}
