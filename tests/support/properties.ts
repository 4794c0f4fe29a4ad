/**
 * Properties that must hold for all cases that fast-check thinks of. A property meets the same cases
 * with every `npm test`, so that a failure is due to what was changed; `npm run fuzz -- properties`
 * tries others, and more.
 */

import process from "node:process";

import type { IAsyncProperty, IProperty, Parameters } from "fast-check";
import { assert } from "fast-check";

const seed = Number(process.env["OTTLA_PROPERTY_SEED"] ?? 1);
const rounds = Number(process.env["OTTLA_PROPERTY_ROUNDS"] ?? 1);

/** How many cases a property meets unless it says so itself. */
const runsUsual = 100;

/**
 * Asserts that a property holds.
 *
 * @param property What must hold.
 * @param parameters As for fast-check; `numRuns` is how many cases `npm test` tries.
 * @throws Error that tells the smallest case found for which it does not hold, and what it threw.
 */
export function assertProperty<Case>(
  property: IAsyncProperty<Case>,
  parameters?: Parameters<Case>,
): Promise<void>;
export function assertProperty<Case>(
  property: IProperty<Case>,
  parameters?: Parameters<Case>,
): void;
export function assertProperty<Case>(
  property: IAsyncProperty<Case> | IProperty<Case>,
  parameters: Parameters<Case> = {},
): Promise<void> | void {
  const numRuns = rounds * (parameters.numRuns ?? runsUsual);
  return assert(property, { seed, ...parameters, numRuns });
}
