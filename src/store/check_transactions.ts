/**
 * Holds the transaction index of a segment against the aborted transactions that the scan of the
 * log has shown. Readers in process do not need the index, but a broker believes it: what it leaves
 * out, a broker would take for committed.
 */

import type { FileSystem } from "../platform/file_system.ts";
import { readFile } from "../platform/files.ts";
import type { AbortedTransaction } from "../segment/txn_index_file.ts";
import { parseTxnIndex } from "../segment/txn_index_file.ts";
import type { ProblemList } from "./check_report.ts";
import { addProblem, attempt } from "./check_report.ts";
import type { PartitionRules } from "./check_segment.ts";
import type { SegmentFile } from "./folder_view.ts";

/** A segment whose batches were scanned. */
export interface ScannedSegment {
  readonly segment: SegmentFile;
  /** Where the next segment begins, or the log ends. */
  readonly endOffset: number;
  /** Where the log's first segment begins: what was open there is not known. */
  readonly logBaseOffset: number;
  /** From the store's folder on. */
  readonly shownLogPath: string;
}

/** No index of Kafka's is larger; a larger file is none. */
const indexBytesMax = 256 * 1024 * 1024;

/**
 * Checks the transaction index of a segment.
 *
 * @param fs Where it is.
 * @param scanned The segment.
 * @param rules What is known of the partition.
 * @param aborted The aborted transactions of the whole log, in the order of their markers.
 * @param list Gets what is wrong.
 */
export function checkTransactionIndex(
  fs: FileSystem,
  scanned: ScannedSegment,
  rules: PartitionRules,
  aborted: readonly AbortedTransaction[],
  list: ProblemList,
): void {
  const { segment, endOffset, logBaseOffset } = scanned;
  const path = scanned.shownLogPath.replace(/\.log$/, ".txnindex");
  const report = (message: string): void =>
    addProblem(list, { severity: "warning", path, message });
  const entries = attempt(list, "warning", path, () => {
    const bytes = readFile(fs, segment.path.replace(/\.log$/, ".txnindex"), indexBytesMax);
    return bytes === undefined ? [] : parseTxnIndex(bytes, path);
  });
  if (entries === undefined) return;
  const missing = new Map<number, AbortedTransaction>();
  for (const one of aborted) {
    if (one.lastOffset >= segment.baseOffset && one.lastOffset < endOffset) {
      missing.set(one.lastOffset, one);
    }
  }
  let before = segment.baseOffset - 1;
  for (const { producerId, firstOffset, lastOffset } of entries) {
    const name = `The transaction of offsets ${firstOffset} to ${lastOffset}`;
    if (lastOffset <= before || lastOffset >= endOffset || firstOffset > lastOffset) {
      report(`${name} is not in its order, or not of this segment`);
    }
    before = lastOffset;
    const found = missing.get(lastOffset);
    missing.delete(lastOffset);
    const isSame = found?.producerId === producerId && found.firstOffset === firstOffset;
    // It may have begun before the log does, and compaction removes what was aborted.
    const isOlder = firstOffset < logBaseOffset || rules.isCompacted;
    if (!isSame && !isOlder) report(`${name} is not what producer ${producerId} aborted there`);
  }
  for (const { producerId, firstOffset, lastOffset } of missing.values()) {
    // What is open is behind, and what was not closed is made anew by the next opening.
    if (rules.isOpen || lastOffset >= rules.recoveryPoint) continue;
    report(
      `The transaction of offsets ${firstOffset} to ${lastOffset}, which producer ${producerId} ` +
        `aborted, is missing: a broker would give its records as committed`,
    );
  }
}
