/**
 * The counts of `npm test` come out of reports in three dialects: each must give the same numbers.
 */

import assert from "node:assert/strict";
import { resolve } from "node:path";
import { describe, it } from "node:test";
import { pathToFileURL } from "node:url";

/**
 * The runner is plain JavaScript that no compiler copies to `dist/`, hence its path from the root.
 */
const { countTests } = await import(pathToFileURL(resolve("tests/runner/reports.mjs")).href) as {
  countTests: (report: string, dialect: { suitesAreCases: boolean }) => unknown;
};

const node = `<testsuites>
  <testcase name="flat" time="0.1" classname="test"/>
  <testcase name="a &lt;&amp;&quot;" time="0.1" classname="test" failure="1 > 2">
    <failure type="testCodeFailure" message="1 > 2">&lt;testcase name="no"/></failure>
  </testcase>
  <testcase name="passed over"><skipped type="skipped" message="why"/></testcase>
  <testsuite name="suite" tests="2" failures="0">
    <testcase name="inner"/>
    <testsuite name="deep" tests="1"><testcase name="inner"/></testsuite>
  </testsuite>
  <!-- tests 50 -->
</testsuites>`;

const deno = `<testsuites name="deno test" tests="8">
  <testsuite name="./tests/a_test.ts" tests="4">
    <testcase name="flat" line="3" col="1">
    </testcase>
    <testcase name="a &lt;&amp;&quot;">
      <failure message="Uncaught">AssertionError: 1 &gt; 2</failure>
    </testcase>
    <testcase name="passed over"><skipped/></testcase>
    <testcase name="suite"></testcase>
  </testsuite>
  <testsuite name="ext:deno_node/testing.ts" tests="3">
    <testcase name="suite &gt; inner"></testcase>
    <testcase name="suite &gt; deep"></testcase>
    <testcase name="suite &gt; deep &gt; inner"></testcase>
  </testsuite>
</testsuites>`;

const bun = `<testsuites name="bun test" tests="5" failures="1" skipped="1">
  <testsuite name="tests/a_test.ts" tests="5">
    <testcase name="flat" classname="" line="3" assertions="0" />
    <testcase name="a &lt;&amp;&quot;" classname="">
      <failure type="AssertionError" message="1 &gt; 2">at a_test.ts</failure>
    </testcase>
    <testcase name="passed over"><skipped /></testcase>
    <testsuite name="suite" tests="2">
      <testcase name="inner" classname="suite" />
      <testsuite name="deep"><testcase name="inner" classname="deep &gt; suite" /></testsuite>
    </testsuite>
  </testsuite>
</testsuites>`;

describe("reports", () => {
  it("counts the same tests in each dialect", () => {
    const counts = { passed: 3, failed: 1, skipped: 1 };
    assert.deepEqual(countTests(node, { suitesAreCases: false }), counts);
    assert.deepEqual(countTests(deno, { suitesAreCases: true }), counts);
    assert.deepEqual(countTests(bun, { suitesAreCases: false }), counts);
  });

  it("counts a failed test only once, skipped or not", () => {
    const report =
      '<testcase name="a"><skipped/><failure>b</failure><failure>c</failure></testcase>';
    assert.deepEqual(countTests(report, { suitesAreCases: false }), {
      passed: 0,
      failed: 1,
      skipped: 0,
    });
  });

  it("counts nothing where a runtime wrote nothing", () => {
    assert.deepEqual(countTests("", { suitesAreCases: false }), {
      passed: 0,
      failed: 0,
      skipped: 0,
    });
  });
});
