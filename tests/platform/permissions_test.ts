/** What Deno does not permit unless it is told to, and a store can do without. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { withFolder } from "../support/store_fixture.ts";

const skip = "deno" in process.versions ? false : "only Deno asks for permissions";

/** Runs a program that may reach files and no more, and returns what it prints. */
function runPermitted(program: string): string {
  const permissions = ["--allow-read", "--allow-write", "--allow-env", "--no-prompt"];
  const args = ["run", ...permissions, "--no-check", "--quiet", "-"];
  const cwd = fileURLToPath(new URL("../../", import.meta.url));
  const options = { cwd, encoding: "utf8", input: program } as const;
  const { stdout, stderr } = spawnSync(process.execPath, args, options);
  assert.equal(stderr, "");
  return stdout;
}

test("whoever may not ask how much room there is can use a store", { skip }, async () => {
  await withFolder((folder) => {
    const printed = runPermitted(`
      import { append, closeStore, createTopic, openStore, statsOf } from "./mod.ts";
      const store = await openStore(${JSON.stringify(join(folder, "store"))});
      await createTopic(store, "orders");
      const { offset } = await append(store, "orders", { value: "x" });
      console.log(offset, statsOf(store).freeBytes);
      await closeStore(store);
    `);
    assert.equal(printed, "0 undefined\n");
    return Promise.resolve();
  });
});
