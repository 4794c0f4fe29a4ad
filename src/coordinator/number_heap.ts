/** A binary heap of numbers: the smallest is always first. */

/** The numbers; each is at most as large as the two behind it, at twice its index plus 1 and 2. */
export type NumberHeap = number[];

/**
 * Adds a number.
 *
 * @param heap The heap.
 * @param value The number.
 */
export function pushNumber(heap: NumberHeap, value: number): void {
  let index = heap.length;
  heap.push(value);
  while (index > 0) {
    const parent = (index - 1) >> 1;
    if (heap[parent]! <= value) break;
    heap[index] = heap[parent]!;
    index = parent;
  }
  heap[index] = value;
}

/**
 * Takes out the smallest number.
 *
 * @param heap The heap.
 * @returns The number; undefined if there is none.
 */
export function popNumber(heap: NumberHeap): number | undefined {
  const first = heap[0];
  const value = heap.pop();
  if (heap.length === 0 || value === undefined) return first;
  let index = 0;
  for (;;) {
    let child = 2 * index + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && heap[child + 1]! < heap[child]!) child++;
    if (heap[child]! >= value) break;
    heap[index] = heap[child]!;
    index = child;
  }
  heap[index] = value;
  return first;
}
