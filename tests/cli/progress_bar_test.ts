/** The bar on a terminal and elsewhere. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { endProgress, progressBar, updateProgress } from "../../src/cli/progress_bar.ts";

const erase = "\r\x1b[K";

describe("progress bar", () => {
  it("is drawn on a terminal once a percent, and never wider than it", async () => {
    for (const columns of [0, 1, 12, 30, 80, 200]) {
      const drawn = await draw(true, columns);
      const lines = drawn.split(erase).slice(1).map((line) => line.replace("\n", ""));
      assert.equal(lines.length, 102);
      assert.ok(lines.every((line) => line.length <= Math.max(0, columns - 1)));
    }
    const drawn = await draw(true, 40);
    assert.ok(drawn.startsWith(`${erase}  ░░░░░░░░░░░░░░░░░░░░░░░░ 0 %  of 1`), drawn.slice(0, 50));
    assert.ok(drawn.endsWith(`${erase}  ${"█".repeat(24)} 100 %  of 1\n`));
  });

  it("is a plain line a quarter elsewhere", async () => {
    const lines = ["  25 %  of 1", "  50 %  of 1", "  75 %  of 1", "  100 %  of 1", ""];
    assert.equal(await draw(false, 80), lines.join("\n"));
  });

  it("leaves its line free when it ends so", async () => {
    const { io, texts } = recorder(true, 80);
    const bar = progressBar(io);
    await endProgress(bar, false);
    assert.deepEqual(texts, []);
    await updateProgress(bar, 0.5);
    await endProgress(bar, false);
    assert.equal(texts.at(-1), erase);
  });
});

async function draw(isTerminal: boolean, columns: number): Promise<string> {
  const { io, texts } = recorder(isTerminal, columns);
  const bar = progressBar(io, "  ");
  for (let step = 0; step <= 1000; step++) await updateProgress(bar, step / 1000, "of 1");
  await endProgress(bar, true);
  return texts.join("");
}

function recorder(isTerminal: boolean, columns: number): {
  io: Parameters<typeof progressBar>[0];
  texts: string[];
} {
  const texts: string[] = [];
  return { io: { stderr: { write: (text) => void texts.push(text) }, isTerminal, columns }, texts };
}
