#!/usr/bin/env node
/**
 * The `ottla` command.
 *
 * @module
 */

import process from "node:process";

const [name] = process.argv.slice(2);
if (name === "--help") {
  process.stdout.write("ottla <command>\n");
} else {
  process.stderr.write(`ottla: unknown command ${process.argv.slice(2).join(" ")}\n`);
  process.exitCode = 1;
}
