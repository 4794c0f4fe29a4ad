#!/usr/bin/env node
/**
 * The `ottla` command.
 *
 * @module
 */

import process from "node:process";
import { processIo } from "./process_io.ts";
import { runCli } from "./run.ts";

process.exitCode = await runCli(process.argv.slice(2), processIo());
