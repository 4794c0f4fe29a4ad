/**
 * Producers and groups of a store, held to Kafka's dump tool.
 */
import { check } from "./check.ts";
import type { Checks } from "./check.ts";
import { compareSnapshots, readKafkaGroups, readKafkaNextProducerId } from "./coordinator_dump.ts";
import { compareCommitted, compareLines } from "./coordinator_state.ts";
import { crashChild } from "./crash.ts";
import { finishGroupsFolder, goneGroups, makeGroupsFolder } from "./groups_folder.ts";
import type { GroupsFolder } from "./groups_folder.ts";
import type { Kafka } from "./kafka_tools.ts";
import { checkFolder } from "./ottla_checks.ts";
import { compareProduced } from "./produced_plan.ts";

/** After how many rounds of its sends the program is killed. */
const crashRounds = 30;

/**
 * Makes a folder with producers and groups, kills a program on it, goes on, and lets Kafka's dump
 * tool read it.
 *
 * @param checks Where the outcome is counted.
 * @param kafka Kafka.
 * @param folder The folder to make.
 * @returns What ottla knows of its producers and groups, or undefined if it could not be made.
 */
export async function checkGroupsFolder(
  checks: Checks,
  kafka: Kafka,
  folder: string,
): Promise<GroupsFolder | undefined> {
  let known: GroupsFolder | undefined;
  await check(checks, "ottla's producers and groups outlive a kill, nothing twice", async () => {
    await makeGroupsFolder(folder);
    const rounds = await crashChild("produced_child", folder, crashRounds);
    const differences: string[] = [];
    known = await finishGroupsFolder(folder, async (store) => {
      differences.push(...await compareProduced(store, rounds));
    });
    return differences;
  });
  if (known === undefined) return undefined;
  const { committed, producers } = known;
  const name = "a folder with ottla's producers and groups";
  await checkFolder(checks, kafka, folder, name);
  await checkCoordinatorFiles(checks, kafka, folder, name, known);
  await check(
    checks,
    `Kafka finds no other groups and no free producer ids in ${name}`,
    async () => {
      const [{ groupIds, committed: found }, nextProducerId] = await Promise.all([
        readKafkaGroups(kafka, folder),
        readKafkaNextProducerId(kafka, folder),
      ]);
      const largest = Math.max(...producers.flat().map(({ producerId }) => producerId));
      const left = new Set([...groupIds, ...found.map(({ groupId }) => groupId)]);
      const wanted = new Set(committed.map(({ groupId }) => groupId));
      return [
        ...goneGroups.filter((id) => wanted.has(id)).map((id) => `${id}: still there in ottla`),
        ...compareLines("groups", [...left], [...wanted]),
        ...(nextProducerId > largest
          ? []
          : [`ids go on at ${nextProducerId}, ${largest} is taken`]),
      ];
    },
  );
  return known;
}

/**
 * Holds the committed offsets and the producer snapshots of a closed folder to Kafka's dump tool.
 *
 * @param checks Where the outcome is counted.
 * @param kafka Kafka.
 * @param folder The folder.
 * @param name What it is called in the messages.
 * @param known What ottla knows of it.
 */
export async function checkCoordinatorFiles(
  checks: Checks,
  kafka: Kafka,
  folder: string,
  name: string,
  known: Pick<GroupsFolder, "committed">,
): Promise<void> {
  await check(checks, `Kafka decodes the committed offsets of ${name}`, async () => {
    const { committed } = await readKafkaGroups(kafka, folder);
    return compareCommitted("__consumer_offsets", known.committed, committed);
  });
  await check(
    checks,
    `Kafka's dump of producer snapshots agrees with its batches in ${name}`,
    () => compareSnapshots(kafka, folder),
  );
}
