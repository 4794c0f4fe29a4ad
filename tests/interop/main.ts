/**
 * Kafka as the judge of what ottla writes and reads: `npm run test:interop`.
 *
 * Needs Java 17 and Maven, which fetches Kafka's own tools once; without them it says so and ends
 * well. Everything stays on the loopback interface and in scratch folders (kept for a look if
 * OTTLA_INTEROP_KEEP is set).
 */
import { join } from "node:path";
import process from "node:process";
import { checkBoot } from "./boot_checks.ts";
import type { Checks } from "./check.ts";
import { checkCompaction } from "./compaction_checks.ts";
import { checkGroupsBoot } from "./groups_boot_checks.ts";
import { checkGroupsFolder } from "./groups_checks.ts";
import { checkJudge } from "./judge_checks.ts";
import { checkKafkaFolders } from "./kafka_checks.ts";
import { checkKafkaGroups } from "./kafka_groups_checks.ts";
import { checkOttlaFolders } from "./ottla_checks.ts";
import { checkRepair } from "./repair_checks.ts";
import { findKafka, withScratchFolder } from "./project.ts";
import type { Kafka } from "./kafka_tools.ts";

async function main(): Promise<number> {
  const kafka = await findKafka();
  if (typeof kafka === "string") {
    console.log(`interoperability with Kafka: skipped, ${kafka}`);
    return 0;
  }
  const checks: Checks = { passedCount: 0, failedCount: 0 };
  await withScratchFolder((scratch) => runChecks(checks, kafka, scratch));
  console.log(`${checks.passedCount} passed, ${checks.failedCount} failed`);
  return checks.failedCount === 0 ? 0 : 1;
}

async function runChecks(checks: Checks, kafka: Kafka, scratch: string): Promise<void> {
  await checkJudge(checks, kafka, join(scratch, "judge"));
  const folder = await checkOttlaFolders(checks, kafka, join(scratch, "ottla"));
  await checkCompaction(checks, kafka, join(scratch, "compacted"));
  await checkBoot(checks, kafka, folder);
  await checkKafkaFolders(checks, kafka, join(scratch, "kafka"));
  await checkRepair(checks, kafka, join(scratch, "repaired"));
  const groupsFolder = join(scratch, "groups");
  const known = await checkGroupsFolder(checks, kafka, groupsFolder);
  if (known !== undefined) await checkGroupsBoot(checks, kafka, groupsFolder, known);
  await checkKafkaGroups(checks, kafka, join(scratch, "kafka-groups"));
}

process.exitCode = await main();
