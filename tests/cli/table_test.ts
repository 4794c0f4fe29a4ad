/** Tables of text. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { tableLines } from "../../src/cli/table.ts";

test("columns are as wide as their widest cell, and numbers end at the same place", () => {
  const columns = [{ title: "Name" }, { title: "Count", align: "right" }, { title: "x" }] as const;
  assert.deepEqual(tableLines(columns, [["a-long-one", "1", "y"], ["ä", "1,234,567"]]), [
    "Name            Count  x",
    "a-long-one          1  y",
    "ä           1,234,567",
  ]);
});

test("a table without rows has its titles", () => {
  assert.deepEqual(tableLines([{ title: "A" }, { title: "B" }], []), ["A  B"]);
});
