/** What goes wrong with the disk in one life of a store, and when the machine or the process dies. */

import type { DiskFault, DiskFaults, DiskOperation, SeededRandom } from "../../src/testing/mod.ts";
import { operationCountOf, setFaults } from "../../src/testing/mod.ts";
import type { Feature, World } from "./world.ts";
import { noteCrash, trace } from "./world.ts";

/** How much fits on the disks of all simulations. */
export const capacityBytes: number = 16 * 1024 * 1024;
/** What takes the room on a disk that is full. */
const ballastPath = "/others";
const fullDisk = "full disk";
/** Others have so many files open that now and then there is room for no more. */
const fewFiles = "few files";
const fewFilesProbability = 0.03;
/** What is read is not what is on the disk, now and then. */
const flippedBits = "flipped bits";
/** How much room is left at most on a disk that counts as full, for some files or for none. */
const roomBytesMax = 60_000;

/** Within how many operations of the disk a crash comes: in the first steps, or later. */
const crashWithin: readonly number[] = [200, 1_000, 4_000];
const openingCrashWithin = 150;
const syncMsMax = 25;

/** An opening does a hundred operations or more, and most of them have to succeed. */
const failingDisk = "failing disk";
const openingFaults: DiskFaults = {
  probabilities: { write: 0.01, sync: 0.01, syncFolder: 0.01, rename: 0.02, create: 0.01 },
};

interface WeatherKind {
  readonly name: string;
  readonly feature: Feature | undefined;
  readonly faults: DiskFaults;
}

const kinds: readonly WeatherKind[] = [
  { name: "calm", feature: undefined, faults: {} },
  { name: "calm", feature: undefined, faults: {} },
  { name: "failing syncs", feature: "failingSyncs", faults: { probabilities: { sync: 0.04 } } },
  {
    name: "failing folder syncs",
    feature: "failingSyncs",
    faults: { probabilities: { syncFolder: 0.05 } },
  },
  {
    name: "failing writes",
    feature: "failingWrites",
    faults: {
      probabilities: {
        write: 0.03,
        truncate: 0.02,
        create: 0.05,
        open: 0.01,
        rename: 0.05,
        remove: 0.05,
      },
    },
  },
  { name: "failing reads", feature: "failingReads", faults: { probabilities: { read: 0.01 } } },
  { name: fullDisk, feature: "fullDisks", faults: {} },
  { name: fewFiles, feature: "fewFiles", faults: {} },
  { name: flippedBits, feature: "flippedBits", faults: { flipProbability: 0.01 } },
];

/**
 * Picks what a life is to bring, and has the disk begin with it.
 *
 * @param world The simulation.
 */
export function beginWeather(world: World): void {
  const { disk, random, without } = world;
  const allowed = kinds.filter(({ feature }) => feature === undefined || !without.has(feature));
  const { name, faults } = random.pick(allowed);
  const isSlow = !without.has("slowSyncs") && random.chance(0.6);
  const crash = pickCrash(world, 0.7);
  const crashAt = operationCountOf(disk) + 1 + random.below(random.pick(crashWithin));
  const files = random.fork(`files of life ${world.life}`);
  world.hasFaults = name !== "calm";
  world.hasFlips = name === flippedBits;
  world.isFilling = name === fullDisk;
  trace(
    world,
    `weather: ${name}${isSlow ? ", slow syncs" : ""}` +
      (crash === undefined ? "" : `, ${crash} at operation ${crashAt}`),
  );
  changeFaults(
    world,
    { ...faults, ...(isSlow ? { syncMsMax } : {}) },
    (operation) =>
      crashOr(world, operation, crashAt, crash) ??
        (name === fewFiles ? refuseFile(files, operation) : undefined),
  );
}

function refuseFile(random: SeededRandom, { kind }: DiskOperation): DiskFault | undefined {
  const isOpening = kind === "open" || kind === "create" || kind === "list";
  return isOpening && random.chance(fewFilesProbability) ? { code: "EMFILE" } : undefined;
}

/** Nothing goes wrong any more. */
export function endWeather(world: World): void {
  changeFaults(world, {});
}

function changeFaults(
  world: World,
  faults: DiskFaults,
  rule: (operation: DiskOperation) => DiskFault | undefined = () => undefined,
): void {
  setFaults(world.disk, {
    ...faults,
    rule(operation) {
      if (world.tracesDisk) trace(world, printOperation(operation));
      return rule(operation);
    },
  });
}

function printOperation(
  { number, kind, path, targetPath, sizeBytes, position }: DiskOperation,
): string {
  const details = [targetPath, sizeBytes, position].filter((detail) => detail !== undefined);
  return `  ${number} ${kind} ${path} ${details.join(" ")}`;
}

/** Others take the room on the disk, or give it back. */
export function changeRoom(world: World): void {
  if (world.isFilling && !freeRoom(world)) takeRoom(world);
}

function takeRoom(world: World): void {
  const { disk: { fileSystem }, random } = world;
  const sizeBytes = Math.max(0, fileSystem.freeBytes("/") - random.below(roomBytesMax));
  trace(world, `others write ${sizeBytes} bytes`);
  const file = fileSystem.open(ballastPath, "create");
  try {
    fileSystem.write(file, new Uint8Array(sizeBytes), 0);
  } finally {
    fileSystem.close(file);
  }
}

/** Others give room back, if they have any; whether they had. */
export function freeRoom(world: World): boolean {
  const { disk: { fileSystem } } = world;
  if (fileSystem.stat(ballastPath) === undefined) return false;
  trace(world, "others remove what they wrote");
  fileSystem.remove(ballastPath);
  return true;
}

/** Has an opening crash in its middle, or come upon a disk that is full or fails, maybe. */
export function beginOpeningWeather(world: World): void {
  const { disk, random, without } = world;
  const name = random.chance(0.3) ? random.pick([fullDisk, fewFiles, failingDisk]) : "calm";
  const isFull = name === fullDisk && !without.has("fullDisks");
  const isFailing = name === failingDisk && !without.has("failingWrites");
  const isShort = name === fewFiles && !without.has("fewFiles");
  world.hasFaults = isFull || isFailing || isShort;
  if (world.hasFaults) trace(world, `weather: ${name}`);
  if (isFull) takeRoom(world);
  const files = random.fork(`files of operation ${operationCountOf(disk)}`);
  const crash = without.has("crashesInOpening") ? undefined : pickCrash(world, 0.3);
  const crashAt = operationCountOf(disk) + 1 + random.below(openingCrashWithin);
  if (crash !== undefined) trace(world, `${crash} at operation ${crashAt}`);
  changeFaults(
    world,
    isFailing ? openingFaults : {},
    (operation) =>
      crashOr(world, operation, crashAt, crash) ??
        (isShort ? refuseFile(files, operation) : undefined),
  );
}

/** What may crash, or nothing. */
export function pickCrash(
  { random, without }: World,
  probability: number,
): "powerCut" | "killProcess" | undefined {
  const crashes = [
    ...(without.has("powerCuts") ? [] : ["powerCut", "powerCut"] as const),
    ...(without.has("kills") ? [] : ["killProcess"] as const),
  ];
  if (!random.chance(probability) || crashes.length === 0) return undefined;
  return random.pick(crashes);
}

function crashOr(
  world: World,
  { number }: DiskOperation,
  crashAt: number,
  crash: "powerCut" | "killProcess" | undefined,
): DiskFault | undefined {
  if (number !== crashAt || crash === undefined) return undefined;
  noteCrash(world, crash);
  return { crash };
}
