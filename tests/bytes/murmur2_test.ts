/** Murmur2: the vectors of Kafka's own tests. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { absoluteOf, murmur2, toPositive } from "../../src/bytes/murmur2.ts";

const encoder = new TextEncoder();

test("murmur2 agrees with the Java client on texts", () => {
  const hashes: ReadonlyArray<readonly [string, number]> = [
    ["", 275646681],
    ["a", -1563381124],
    ["ab", 316155434],
    ["abc", 479470107],
    ["key", -1079937367],
    ["key-1", 193331640],
    ["0", 971027396],
    ["21", -973932308],
    ["foobar", -790332482],
    ["a-little-bit-long-string", -985981536],
    ["a-little-bit-longer-string", -1486304829],
    ["lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971],
  ];
  for (const [text, hash] of hashes) assert.equal(murmur2(encoder.encode(text)), hash, text);
});

test("murmur2 takes bytes as unsigned", () => {
  assert.equal(murmur2(Uint8Array.of(0xff, 0xfe, 0xfd)), 998637092);
});

test("murmur2 reads a view and nothing around it", () => {
  const bytes = encoder.encode("xxfoobarxx");
  assert.equal(murmur2(bytes.subarray(2, 8)), -790332482);
});

test("murmur2 agrees with the Java client on 100 random keys of each length to 1000", () => {
  const nextBytes = splittableRandom();
  let sum = 0;
  for (let length = 0; length <= 1000; length++) {
    const bytes = new Uint8Array(length);
    for (let trial = 0; trial < 100; trial++) {
      nextBytes(bytes);
      sum += murmur2(bytes) >>> 0;
    }
  }
  assert.equal(sum, 0xc3b8cf7c99fc);
});

test("toPositive drops the sign bit and gives Kafka's partitions", () => {
  const partitions: ReadonlyArray<readonly [string, number, number, number, number, number]> = [
    ["", 275646681, 0, 3, 1, 31],
    ["a", 584102524, 1, 4, 4, 24],
    ["ab", 316155434, 2, 2, 4, 34],
    ["key", 1067546281, 1, 1, 1, 31],
    ["key-1", 193331640, 0, 0, 0, 40],
    ["0", 971027396, 2, 2, 6, 46],
  ];
  for (const [text, positive, of3, of6, of10, of50] of partitions) {
    const found = toPositive(murmur2(encoder.encode(text)));
    assert.equal(found, positive, text);
    assert.deepEqual([found % 3, found % 6, found % 10, found % 50], [of3, of6, of10, of50], text);
  }
  assert.equal(toPositive(-1), 2147483647);
  assert.equal(toPositive(-2147483648), 0);
});

test("absoluteOf has no negative result", () => {
  assert.equal(absoluteOf(-2147483648), 0);
  assert.equal(absoluteOf(-10), 10);
  assert.equal(absoluteOf(10), 10);
  assert.equal(absoluteOf(0), 0);
  assert.equal(absoluteOf(2147483647), 2147483647);
});

/**
 * Java's `SplittableRandom(0).nextBytes`, on 64-bit numbers held as two halves: with bigints these
 * fifty megabytes take seconds.
 */
function splittableRandom(): (bytes: Uint8Array) => void {
  let seedHigh = 0;
  let seedLow = 0;
  let high = 0;
  let low = 0;

  function multiply(factorHigh: number, factorLow: number): void {
    const a0 = low & 0xffff;
    const a1 = low >>> 16;
    const b0 = factorLow & 0xffff;
    const b1 = factorLow >>> 16;
    const middle = a1 * b0 + ((a0 * b0) >>> 16);
    const carry = a0 * b1 + (middle & 0xffff);
    const upper = a1 * b1 + Math.floor(middle / 65536) + Math.floor(carry / 65536);
    high = (upper + Math.imul(high, factorLow) + Math.imul(low, factorHigh)) | 0;
    low = Math.imul(low, factorLow);
  }

  function foldRight(count: number): void {
    const shiftedLow = (low >>> count) | (high << (32 - count));
    high ^= high >>> count;
    low ^= shiftedLow;
  }

  function next(): void {
    const sum = (seedLow >>> 0) + 0x7f4a7c15;
    seedLow = sum | 0;
    seedHigh = (seedHigh + 0x9e3779b9 + (sum > 0xffffffff ? 1 : 0)) | 0;
    high = seedHigh;
    low = seedLow;
    foldRight(30);
    multiply(0xbf58476d, 0x1ce4e5b9);
    foldRight(27);
    multiply(0x94d049bb, 0x133111eb);
    foldRight(31);
  }

  return (bytes) => {
    for (let position = 0; position < bytes.length; position++) {
      const index = position & 7;
      if (index === 0) next();
      bytes[position] = index < 4 ? low >>> (8 * index) : high >>> (8 * (index - 4));
    }
  };
}
