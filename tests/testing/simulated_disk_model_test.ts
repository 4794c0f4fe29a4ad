/**
 * Any operations, any crashes: what is found afterwards is what the rules allow, no more and no
 * less, and what processes see is what they did.
 *
 * The model knows of each name which files it may stand for after a power cut, and of each byte of
 * a file which values it may have.
 */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import fc from "fast-check";

import type { SimulatedDisk } from "../../src/testing/mod.ts";
import {
  filesOf,
  killProcess,
  openHandlesOf,
  powerCut,
  simulatedDisk,
} from "../../src/testing/mod.ts";
import { assertProperty } from "../support/properties.ts";
import { contentOf, filled, namesIn } from "../support/simulated_disk_fixture.ts";

const fileBytesMax = 3_000;
const names = ["a", "b", "c"] as const;
/** Any byte: what noise may leave. */
const anyValue = -1;

interface ModelFile {
  bytes: number[];
  /** The bytes of the last sync. */
  synced: number[];
  /** Values that each position may have beside the synced one, since then. */
  readonly since: Map<number, Set<number>>;
  sizesSince: Set<number>;
}

interface Model {
  readonly disk: SimulatedDisk;
  names: Map<string, ModelFile>;
  /** What the names stood for when the folder was last synced. */
  synced: Map<string, ModelFile>;
  /** What each name stood for since then; undefined where it was not there. */
  readonly since: Map<string, Set<ModelFile | undefined>>;
}

type Step =
  | {
    readonly kind: "write";
    readonly name: string;
    readonly at: number;
    readonly length: number;
    readonly value: number;
  }
  | { readonly kind: "resize"; readonly name: string; readonly at: number }
  | { readonly kind: "sync" | "remove"; readonly name: string }
  | { readonly kind: "rename"; readonly name: string; readonly target: string }
  | { readonly kind: "syncFolder" | "powerCut" | "powerCutLost" | "kill" };

const anyName = fc.constantFrom(...names);
const anyPosition = fc.oneof(fc.nat(fileBytesMax), fc.constantFrom(0, 511, 512, 513, 1_024));
const anyStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant("write" as const),
      name: anyName,
      at: anyPosition,
      length: fc.oneof(fc.nat(40), fc.nat(1_500)),
      value: fc.integer({ min: 1, max: 255 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant("resize" as const), name: anyName, at: anyPosition }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constantFrom("sync" as const, "remove" as const),
      name: anyName,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant("rename" as const), name: anyName, target: anyName }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constantFrom(
        "syncFolder" as const,
        "powerCut" as const,
        "powerCutLost" as const,
        "kill" as const,
      ),
    }),
  },
);

describe("any operations and crashes", () => {
  it("leave what the rules allow", () => {
    assertProperty(
      fc.property(
        fc.array(anyStep, { maxLength: 25, size: "max" }),
        fc.nat(2 ** 31),
        (steps, seed) => {
          const disk = simulatedDisk({ seed });
          const model: Model = { disk, names: new Map(), synced: new Map(), since: new Map() };
          for (const step of steps) runStep(model, step);
          compareSeen(model);
          runStep(model, { kind: "powerCut" });
        },
      ),
      { numRuns: 600 },
    );
  });
});

function runStep(model: Model, step: Step): void {
  const { disk } = model;
  switch (step.kind) {
    case "write":
    case "resize":
      return changeFile(model, step);
    case "sync":
      return withFile(model, step.name, (handle, file) => {
        disk.fileSystem.syncDataNow(handle);
        settleFile(file);
      });
    case "remove":
      if (model.names.has(step.name)) disk.fileSystem.remove(`/${step.name}`);
      return setName(model, step.name, undefined);
    case "rename":
      return renameFile(model, step.name, step.target);
    case "syncFolder":
      disk.fileSystem.syncFolder("/");
      model.synced = new Map(model.names);
      return model.since.clear();
    case "kill":
      killProcess(disk);
      assert.deepEqual(openHandlesOf(disk), []);
      return compareSeen(model);
    default:
      powerCut(disk, { unsynced: step.kind === "powerCut" ? "any" : "lost" });
      return settleAfterCut(model, step.kind === "powerCutLost");
  }
}

function withFile(
  model: Model,
  name: string,
  run: (handle: number, file: ModelFile) => void,
): void {
  const file = model.names.get(name);
  if (file === undefined) return;
  const { fileSystem } = model.disk;
  const handle = fileSystem.open(`/${name}`, "write");
  run(handle, file);
  fileSystem.close(handle);
}

function changeFile(model: Model, step: Extract<Step, { kind: "write" | "resize" }>): void {
  const { fileSystem } = model.disk;
  const handle = fileSystem.open(`/${step.name}`, "create");
  if (!model.names.has(step.name)) setName(model, step.name, newFile());
  const file = model.names.get(step.name)!;
  if (step.kind === "write") {
    fileSystem.write(handle, filled(step.length, step.value), step.at);
    if (step.length > 0) {
      growTo(file, step.at + step.length);
      for (let at = step.at; at < step.at + step.length; at++) note(file, at, step.value);
    }
  } else {
    fileSystem.truncate(handle, step.at);
    for (let at = step.at; at < file.bytes.length; at++) sinceAt(file, at).add(0);
    file.bytes.length = Math.min(file.bytes.length, step.at);
    growTo(file, step.at);
  }
  file.sizesSince.add(file.bytes.length);
  fileSystem.close(handle);
}

function newFile(): ModelFile {
  return { bytes: [], synced: [], since: new Map(), sizesSince: new Set() };
}

function growTo(file: ModelFile, sizeBytes: number): void {
  while (file.bytes.length < sizeBytes) note(file, file.bytes.length, 0);
}

/** Where a file grows over what was synced, noise is possible too. */
function note(file: ModelFile, at: number, value: number): void {
  file.bytes[at] = value;
  const since = sinceAt(file, at).add(value);
  if (value !== 0 && at >= file.synced.length) since.add(anyValue);
}

function sinceAt(file: ModelFile, at: number): Set<number> {
  const known = file.since.get(at);
  if (known !== undefined) return known;
  const since = new Set<number>();
  file.since.set(at, since);
  return since;
}

function settleFile(file: ModelFile): void {
  file.synced = [...file.bytes];
  file.since.clear();
  file.sizesSince = new Set();
}

function setName(model: Model, name: string, file: ModelFile | undefined): void {
  if (file === undefined) model.names.delete(name);
  else model.names.set(name, file);
  const since = model.since.get(name) ?? new Set();
  model.since.set(name, since.add(file));
}

function renameFile(model: Model, name: string, target: string): void {
  const file = model.names.get(name);
  if (file === undefined || name === target) return;
  model.disk.fileSystem.rename(`/${name}`, `/${target}`);
  setName(model, target, file);
  setName(model, name, undefined);
}

/** What processes see is what was done. */
function compareSeen({ disk, names: files }: Model): void {
  assert.deepEqual(namesIn(disk), [...files.keys()].sort());
  for (const [name, { bytes }] of files) {
    assert.deepEqual(Array.from(contentOf(disk, `/${name}`)!), bytes, name);
  }
}

/** Holds what a power cut left against the rules, and takes it for what is synced. */
function settleAfterCut(model: Model, isLost: boolean): void {
  const { disk } = model;
  const next = new Map<string, ModelFile>();
  for (const name of names) {
    const found = contentOf(disk, `/${name}`);
    const since = isLost ? [] : model.since.get(name) ?? [];
    const possible = [...new Set([model.synced.get(name), ...since])];
    const fits = possible.filter((file) =>
      file === undefined || found === undefined ? file === found : mayBe(file, found, isLost)
    );
    assert.ok(fits.length > 0, `${name} is none of what it may be`);
    if (found === undefined) continue;
    const file = newFile();
    file.bytes = Array.from(found);
    settleFile(file);
    next.set(name, file);
  }
  model.names = next;
  model.synced = new Map(next);
  model.since.clear();
  assert.ok(filesOf(disk).every(({ unsyncedCount }) => unsyncedCount === 0));
}

function mayBe(file: ModelFile, found: Uint8Array, isLost: boolean): boolean {
  const { synced, since, sizesSince } = file;
  if (isLost) {
    return found.length === synced.length && found.every((byte, at) => byte === synced[at]);
  }
  if (found.length !== synced.length && !sizesSince.has(found.length)) return false;
  return found.every((byte, at) => {
    if (byte === (synced[at] ?? 0)) return true;
    const values = since.get(at);
    return values !== undefined && (values.has(byte) || values.has(anyValue));
  });
}
