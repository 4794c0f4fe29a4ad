/** Buffers that batches are built in, kept for the next batch. */

import type { BatchBuilder } from "../record/batch_builder.ts";
import { batchBuilder, resetBuilder } from "../record/batch_builder.ts";

/** Builders without content. */
export interface BuilderPool {
  readonly spares: BatchBuilder[];
  /** What they take together. */
  spareBytes: number;
  /** How large a new one is. */
  readonly capacityBytes: number;
}

/** What builders that nobody uses may take together. */
const spareBytesMax = 4 * 1024 * 1024;
/** Topics may have thousands of partitions with a record now and then: builders begin small. */
const capacityBytesMax = 4 * 1024;

/**
 * A pool without spares.
 *
 * @param batchBytes How large batches become.
 * @returns The pool.
 */
export function builderPool(batchBytes: number): BuilderPool {
  return { spares: [], spareBytes: 0, capacityBytes: Math.min(batchBytes, capacityBytesMax) };
}

/**
 * Takes a builder out of the pool, or makes one.
 *
 * @param pool The pool.
 * @returns A builder without content.
 */
export function takeBuilder(pool: BuilderPool): BatchBuilder {
  const spare = pool.spares.pop();
  if (spare === undefined) return batchBuilder(pool.capacityBytes);
  pool.spareBytes -= spare.bytes.length;
  return spare;
}

/**
 * Gives a builder back.
 *
 * @param pool The pool.
 * @param builder The builder; whoever gave it must not use it any more.
 */
export function returnBuilder(pool: BuilderPool, builder: BatchBuilder): void {
  const spareBytes = pool.spareBytes + builder.bytes.length;
  if (spareBytes > spareBytesMax) return;
  resetBuilder(builder);
  pool.spares.push(builder);
  pool.spareBytes = spareBytes;
}
