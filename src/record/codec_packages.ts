/**
 * The npm packages that some codecs need. They are optional: loaded with the first batch that wants
 * one, and missed with an error that says what to install.
 */

import { createRequire } from "node:module";
import { resolve } from "node:path";
import { OttlaError } from "../errors.ts";
import { causeText } from "./codec_errors.ts";

/**
 * Loads the package behind a codec.
 *
 * @param codec The codec's name.
 * @param packageName The package on npm.
 * @returns What the package exports; the caller knows its form.
 * @throws OttlaError CODEC_MISSING if it is not installed or has no build for this machine.
 */
export function requireCodecPackage(codec: string, packageName: string): unknown {
  try {
    // A module that was loaded from a registry over https has no node_modules beside it: the
    // program's own folder is where its packages are then.
    const url = import.meta.url;
    const base = url.startsWith("file:") ? url : resolve("package.json");
    return createRequire(base)(packageName);
  } catch (error) {
    throw new OttlaError(
      "CODEC_MISSING",
      `Cannot use ${codec} compression: install the package "${packageName}" ` +
        `(npm install ${packageName}), loading it failed with: ${causeText(error)}`,
      { details: { codec, packageName }, cause: error },
    );
  }
}
