/**
 * Java's hash of a text, by which Kafka chooses the partition of its own topics in which the state
 * of a group or of a transactional id is kept (src/FORMAT.md, section 10.1).
 */

/**
 * Java's `String.hashCode`.
 *
 * @param text Any text.
 * @returns A signed 32-bit integer.
 */
export function javaHash(text: string): number {
  let hash = 0;
  for (let index = 0; index < text.length; index++) {
    hash = Math.imul(hash, 31) + text.charCodeAt(index) | 0;
  }
  return hash;
}

/**
 * The partition in which Kafka keeps the state of an id.
 *
 * @param id For example a group's id.
 * @param partitionCount How many partitions the topic has.
 * @returns The absolute value of the hash, modulo the count; that of -2^31 counts as 0.
 */
export function javaHashPartition(id: string, partitionCount: number): number {
  const hash = javaHash(id);
  return hash === -0x8000_0000 ? 0 : Math.abs(hash) % partitionCount;
}
