/** Tables of text for people: columns as wide as their widest cell, numbers flush right. */

/** One column of a table. */
export interface TableColumn {
  readonly title: string;
  /** "left" unless given. */
  readonly align?: "left" | "right";
}

const gap = "  ";

/**
 * Lays out a table.
 *
 * @param columns The columns, from left to right.
 * @param rows A cell a column; missing ones are left empty.
 * @returns One line a row without line ends or trailing blanks, the titles first.
 */
export function tableLines(
  columns: readonly TableColumn[],
  rows: readonly (readonly string[])[],
): string[] {
  const all = [columns.map(({ title }) => title), ...rows];
  const widths = columns.map((_, index) =>
    all.reduce((width, row) => Math.max(width, lengthOf(row[index] ?? "")), 0)
  );
  return all.map((row) =>
    columns.map(({ align }, index) => {
      const cell = row[index] ?? "";
      const padding = " ".repeat(widths[index]! - lengthOf(cell));
      return align === "right" ? padding + cell : cell + padding;
    }).join(gap).trimEnd()
  );
}

/** In characters, as good as a terminal's columns for all that stands in our tables. */
function lengthOf(text: string): number {
  return [...text].length;
}
