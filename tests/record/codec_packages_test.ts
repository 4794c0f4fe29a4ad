/** Codecs that are packages: found where they are installed, and named where they are not. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { isOttlaError } from "../../src/errors.ts";
import { requireCodecPackage } from "../../src/record/codec_packages.ts";

test("a package that is not installed is missed by name, with the way to install it", () => {
  assert.throws(
    () => requireCodecPackage("snappy", "ottla-no-such-package"),
    (error) =>
      isOttlaError(error, "CODEC_MISSING") && error.kafkaCode === 76 &&
      error.message.startsWith(
        'Cannot use snappy compression: install the package "ottla-no-such-package" ' +
          "(npm install ottla-no-such-package)",
      ) && !error.message.includes("\n") && error.cause instanceof Error &&
      error.details.packageName === "ottla-no-such-package",
  );
});

test("a package that is installed is loaded", () => {
  const loaded = requireCodecPackage("snappy", "snappy") as { compressSync: unknown };
  assert.equal(typeof loaded.compressSync, "function");
});
