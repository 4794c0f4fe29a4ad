// @ts-check
// deno-lint-ignore-file explicit-module-boundary-types -- the types stand in the comments
/**
 * Counts tests in the JUnit reports of Node, Deno and Bun, so that each number comes from the runtime.
 *
 * @module
 */

/** @typedef {{ passed: number, failed: number, skipped: number }} Counts */

/**
 * Counts the tests of a report, suites not included: the same files give the same sum on each runtime.
 *
 * @param {string} report The XML, or nothing where the runtime died before it wrote any.
 * @param {{ suitesAreCases: boolean }} dialect Deno lists a suite as a case, named like the start of its
 *   tests' names.
 * @returns {Counts}
 */
export function countTests(report, { suitesAreCases }) {
  const cases = [
    ...report.matchAll(/<testcase((?:\s+[\w-]+="[^"]*")*)\s*(?:\/>|>(.*?)<\/testcase>)/gs),
  ]
    .map(([, attributes = "", body = ""]) => ({
      name: /\sname="([^"]*)"/.exec(attributes)?.[1] ?? "",
      isFailed: /<(failure|error)\b/.test(body),
      isSkipped: /<skipped\b/.test(body),
    }));
  const suites = new Set(suitesAreCases ? cases.flatMap(({ name }) => suitesOf(name)) : []);
  const tests = cases.filter(({ name }) => !suites.has(name));
  const failed = tests.filter(({ isFailed }) => isFailed).length;
  const skipped = tests.filter(({ isFailed, isSkipped }) => isSkipped && !isFailed).length;
  return { passed: tests.length - failed - skipped, failed, skipped };
}

/**
 * Lists the names that the suites around a test have: `a` and `a > b` for `a > b > c`.
 *
 * @param {string} name
 * @returns {string[]}
 */
function suitesOf(name) {
  const parts = name.split(" &gt; ");
  return parts.slice(1).map((_, index) => parts.slice(0, index + 1).join(" &gt; "));
}

/**
 * Puts counts into words: `123 passed, 0 failed`, and the skipped ones only where there are any.
 *
 * @param {Counts} counts
 * @returns {string}
 */
export function describeCounts({ passed, failed, skipped }) {
  const tail = skipped === 0 ? "" : `, ${skipped} skipped`;
  return `${passed} passed, ${failed} failed${tail}`;
}
