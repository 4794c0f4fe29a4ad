/**
 * Reads TypeScript as text, as far as rules about text need it: what is code, what it imports.
 *
 * One pass from left to right finds comments, strings, templates and regular expressions. In `code`
 * each character inside them is a space, so that a word in `code` is a word of the program and a
 * position means the same in both.
 */

import { existsSync, readdirSync, readFileSync } from "node:fs";

/** A source file, taken apart. */
export interface SourceText {
  /** Its path from the project root, with `/`. */
  readonly path: string;
  /** All of it. */
  readonly text: string;
  /** The text with spaces for comments and for what stands between quotes. */
  readonly code: string;
  /** What it imports or re-exports. */
  readonly imports: readonly Import[];
}

/** One import or re-export of another module. */
export interface Import {
  /** The module, as it is written. */
  readonly specifier: string;
  /** Whether nothing of it is left when the program runs. */
  readonly isTypeOnly: boolean;
}

/**
 * What hides code: comments, quoted strings, regular expressions; or opens and closes a template.
 */
const tokens =
  /\/\/.*|\/\*[^]*?\*\/|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\/(?:\\.|\[(?:\\.|[^\]\\])*\]|[^/\\[\n])+\/|[`{}]/g;

/** A template from after its start, or from after a `}`, up to its end or to the next `${`. */
const templatePart = /(?:\\[^]|\$(?!\{)|[^\\`$])*(?:`|\$\{)/y;

/** What a slash that begins a regular expression can follow; after anything else it divides. */
const beforeRegex = /(?:^|[(,=:[!&|?{;+<>~*-]|\b(?:return|typeof|case|in|of|do|else|await))\s*$/;

const staticImport = /(?<![.\w$])(?:import|export)(\s+type)?\b[^;"'()]*?(?<![.\w$])from\s*"/g;
const otherImport = /(?<![.\w$])import\s*\(?\s*"/g;

/**
 * Reads a file, or the TypeScript files of a folder and of the folders inside it.
 *
 * @param path From the project root.
 * @returns The files, taken apart; none where there is nothing of that name.
 */
export function readSources(path: string): SourceText[] {
  if (!existsSync(path)) return [];
  if (path.endsWith(".ts")) return [parseSource(path, readFileSync(path, "utf8"))];
  return readdirSync(path, { withFileTypes: true })
    .filter(({ name }) => name !== "node_modules")
    .filter((entry) => entry.isDirectory() || entry.name.endsWith(".ts"))
    .flatMap(({ name }) => readSources(`${path}/${name}`));
}

/**
 * Takes a text apart.
 *
 * @param path The name it goes by.
 * @param text TypeScript.
 * @returns Its parts.
 */
export function parseSource(path: string, text: string): SourceText {
  const code = maskText(text);
  const specifierAfter = (start: number): string => text.slice(start, text.indexOf('"', start));
  const imports = [
    ...Array.from(code.matchAll(staticImport), ({ 0: found, 1: type, index }) => ({
      specifier: specifierAfter(index + found.length),
      isTypeOnly: type !== undefined,
    })),
    ...Array.from(code.matchAll(otherImport), ({ 0: found, index }) => ({
      specifier: specifierAfter(index + found.length),
      isTypeOnly: false,
    })),
  ];
  return { path, text, code, imports };
}

function maskText(text: string): string {
  let code = "";
  // For each template around the position: how many braces are open inside its `${}`.
  const openBraces: number[] = [];
  const hide = (start: number, end: number): void => {
    code += text.slice(code.length, start) + text.slice(start, end).replace(/[^\n]/g, " ");
  };
  const scan = new RegExp(tokens);
  for (let token = scan.exec(text); token !== null; token = scan.exec(text)) {
    const { 0: found, index: start } = token;
    const braceCount = openBraces.at(-1);
    if (found === "`" || (found === "}" && braceCount === 0)) {
      if (found === "}") openBraces.pop();
      templatePart.lastIndex = start + 1;
      const part = templatePart.exec(text)?.[0] ?? "";
      if (part.endsWith("{")) openBraces.push(0);
      scan.lastIndex = start + 1 + part.length;
      hide(start + 1, scan.lastIndex - 1);
    } else if (found === "{" || found === "}") {
      if (braceCount !== undefined) {
        openBraces.push((openBraces.pop() ?? 0) + (found === "{" ? 1 : -1));
      }
    } else if (found.startsWith("//") || found.startsWith("/*")) {
      hide(start, scan.lastIndex);
    } else if (found.startsWith("/") && !beforeRegex.test(code + text.slice(code.length, start))) {
      scan.lastIndex = start + 1;
    } else {
      hide(start + 1, scan.lastIndex - 1);
    }
  }
  return code + text.slice(code.length);
}
