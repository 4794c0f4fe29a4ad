#!/usr/bin/env node
/**
 * The `ottla` command.
 *
 * @module
 */

import process from "node:process";
import { processIo } from "./process_io.ts";
import { runCli } from "./run.ts";

// All output is written by now; what is left may be a standard input that nobody will close.
process.exit(await runCli(process.argv.slice(2), processIo()));
