/**
 * The lines of an input, as bytes, in groups that come as soon as there is nothing more to be had
 * at once.
 */

import { OttlaError } from "../errors.ts";

/** How to group lines. */
export interface LineGroupOptions {
  /** How many lines a group has at most. */
  readonly linesMax: number;
  /** A group ends with the line that makes it this large. */
  readonly bytesMax: number;
  /** How long a group that is not full waits for more. */
  readonly lingerMs: number;
  /** Ends the input: the lines that are there are the last ones. */
  readonly signal: AbortSignal;
}

/** A longer line is not kept in memory. */
const lineBytesMax = 64 * 1024 * 1024;
const newline = 0x0a;
const carriageReturn = 0x0d;

/**
 * Splits an input into groups of lines.
 *
 * @param input The bytes.
 * @param options How to group.
 * @returns The groups; a line has neither its line feed nor a carriage return before it. The last
 * line needs none.
 * @throws OttlaError `MESSAGE_TOO_LARGE` for a line of more than 64 MiB.
 */
export async function* lineGroups(
  input: AsyncIterable<Uint8Array>,
  options: LineGroupOptions,
): AsyncGenerator<Uint8Array[]> {
  const iterator = input[Symbol.asyncIterator]();
  const aborted = whenAborted(options.signal);
  let rest: Uint8Array[] = [];
  let group: Uint8Array[] = [];
  let groupBytes = 0;
  let next = iterator.next();
  for (;;) {
    const result = await nextChunk(next, aborted, group.length > 0 ? options.lingerMs : undefined);
    if (result === "late") {
      yield group;
      [group, groupBytes] = [[], 0];
      continue;
    }
    if (result === "aborted" || result.done === true) break;
    next = iterator.next();
    // Whoever breaks off the loop leaves it behind.
    next.catch(() => {});
    let start = 0;
    for (;;) {
      const end = result.value.indexOf(newline, start);
      if (end < 0) break;
      const line = joinLine(rest, result.value.subarray(start, end));
      [rest, start] = [[], end + 1];
      group.push(line);
      groupBytes += line.length;
      if (group.length < options.linesMax && groupBytes < options.bytesMax) continue;
      yield group;
      [group, groupBytes] = [[], 0];
    }
    if (start < result.value.length) rest.push(result.value.subarray(start));
    checkLineSize(rest);
  }
  if (rest.length > 0) group.push(joinLine(rest, new Uint8Array(0)));
  if (group.length > 0) yield group;
}

type ChunkResult = IteratorResult<Uint8Array> | "late" | "aborted";

async function nextChunk(
  next: Promise<IteratorResult<Uint8Array>>,
  aborted: Promise<"aborted">,
  lingerMs: number | undefined,
): Promise<ChunkResult> {
  if (lingerMs === undefined) return await Promise.race([next, aborted]);
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<"late">((resolve) => {
    timer = setTimeout(() => resolve("late"), lingerMs);
  });
  try {
    return await Promise.race([next, aborted, late]);
  } finally {
    clearTimeout(timer);
  }
}

function whenAborted(signal: AbortSignal): Promise<"aborted"> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve("aborted");
    else signal.addEventListener("abort", () => resolve("aborted"), { once: true });
  });
}

/** A line within one chunk is a view of it, as a stream gives its chunks away. */
function joinLine(parts: readonly Uint8Array[], last: Uint8Array): Uint8Array {
  const line = parts.length === 0 ? last : concat([...parts, last]);
  return line.at(-1) === carriageReturn ? line.subarray(0, -1) : line;
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let position = 0;
  for (const part of parts) {
    bytes.set(part, position);
    position += part.length;
  }
  return bytes;
}

function checkLineSize(parts: readonly Uint8Array[]): void {
  const sizeBytes = parts.reduce((sum, part) => sum + part.length, 0);
  if (sizeBytes <= lineBytesMax) return;
  throw new OttlaError(
    "MESSAGE_TOO_LARGE",
    `Cannot read a line of ${sizeBytes} bytes and more: at most ${lineBytesMax} are allowed`,
    { details: { sizeBytes, lineBytesMax } },
  );
}
