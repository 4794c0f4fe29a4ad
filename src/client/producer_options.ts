/** The options of producers: what they mean, what they are unless given, and their checks. */

import type { Ack } from "../log/log.ts";
import type { Compression } from "../record/compression.ts";
import type { Partitioner } from "../store/partitioner.ts";
import {
  checkAck,
  checkNumber,
  checkObject,
  checkPartitioner,
  checkWholeNumber,
} from "../store/store_options.ts";
import type { InterceptorErrorListener, ProducerInterceptor } from "./interceptors.ts";
import { warnOfInterceptor } from "./interceptors.ts";

/** How a producer chooses partitions: as a topic does, or "random" for each record. */
export type ProducerPartitioner = Partitioner | "random";

/** What a producer is to be like. */
export interface ProducerOptions {
  /** What a send waits for unless it says otherwise; the store's level unless given. */
  readonly ack?: Ack | undefined;
  /**
   * How long a batch waits for more records, in milliseconds; 0 unless given: then all records of
   * one turn of the event loop share a batch.
   */
  readonly lingerMs?: number | undefined;
  /** How large a batch becomes before it is compressed; 32,768 unless given. */
  readonly batchBytes?: number | undefined;
  /**
   * How much memory records may take from `send` to their acknowledgement; 33,554,432 unless
   * given. When it is used up, sends wait.
   */
  readonly bufferBytes?: number | undefined;
  /** How long a send waits for room in the buffer, in milliseconds; 60,000 unless given. */
  readonly blockMs?: number | undefined;
  /**
   * How long a batch has from its first record to its acknowledgement, in milliseconds; 120,000
   * unless given. It must be longer than `lingerMs`.
   */
  readonly deliveryTimeoutMs?: number | undefined;
  /** How often a batch is tried again after an error that is retriable; 2^31 - 1 unless given. */
  readonly retries?: number | undefined;
  /** How long it waits before that for the first time, in milliseconds; 100 unless given. */
  readonly retryBackoffMs?: number | undefined;
  /** How long it waits at most, in milliseconds; 1,000 unless given. */
  readonly retryBackoffMaxMs?: number | undefined;
  /** How batches are compressed; as the topic says unless given. */
  readonly compression?: Compression | undefined;
  /** How records find their partition; the topic's unless given. */
  readonly partitioner?: ProducerPartitioner | undefined;
  /**
   * Whether batches are numbered, so that one that is written again is stored once; true unless
   * given.
   */
  readonly idempotent?: boolean | undefined;
  /** Called around every send, in this order. */
  readonly interceptors?: readonly ProducerInterceptor[] | undefined;
  /** Told of what interceptors throw; a warning of the process unless given. */
  readonly onInterceptorError?: InterceptorErrorListener | undefined;
}

/** What a single send may say. */
export interface SendOptions {
  /** What to wait for; the producer's level unless given. */
  readonly ack?: Ack | undefined;
  /** Stops the waiting. What is in a batch is stored all the same. */
  readonly signal?: AbortSignal | undefined;
}

/** How to close a producer. */
export interface CloseProducerOptions {
  /** When to give up on what is not stored by then, in milliseconds; without it never. */
  readonly timeoutMs?: number | undefined;
}

/** The options of a producer, all of them. */
export interface ProducerSettings {
  readonly ack: Ack;
  readonly lingerMs: number;
  readonly batchBytes: number;
  readonly bufferBytes: number;
  readonly blockMs: number;
  readonly deliveryTimeoutMs: number;
  readonly retries: number;
  readonly retryBackoffMs: number;
  readonly retryBackoffMaxMs: number;
  /** Undefined for the topic's. */
  readonly compression: Compression | undefined;
  /** Undefined for the topic's. */
  readonly partitioner: ProducerPartitioner | undefined;
  readonly isIdempotent: boolean;
  readonly interceptors: readonly ProducerInterceptor[];
  readonly onInterceptorError: InterceptorErrorListener;
}

const compressions: readonly unknown[] = ["none", "gzip", "snappy", "lz4", "zstd"];
const msMax = 2 ** 31 - 1;
const batchBytesMin = 1;
const batchBytesMax = 128 * 1024 * 1024;
const bufferBytesMax = 2 ** 31 - 1;
/** More could not be told apart from a mistake. */
const interceptorsMax = 100;

/**
 * Checks the options of `openProducer` and fills in what is not given.
 *
 * @param options What was given.
 * @param storeAck The store's level.
 * @returns All settings.
 * @throws TypeError or RangeError naming the option.
 */
export function producerSettings(options: ProducerOptions, storeAck: Ack): ProducerSettings {
  checkObject("options", options);
  checkAck(options.ack);
  checkWholeNumber("lingerMs", options.lingerMs, 0, msMax);
  checkWholeNumber("batchBytes", options.batchBytes, batchBytesMin, batchBytesMax);
  checkWholeNumber("bufferBytes", options.bufferBytes, 1, bufferBytesMax);
  checkWholeNumber("blockMs", options.blockMs, 0, msMax);
  checkWholeNumber("deliveryTimeoutMs", options.deliveryTimeoutMs, 1, msMax);
  const { lingerMs = 0, deliveryTimeoutMs = 120_000 } = options;
  if (deliveryTimeoutMs <= lingerMs) {
    throw new RangeError(
      `deliveryTimeoutMs must be larger than lingerMs, which is ${lingerMs}: got ` +
        `${deliveryTimeoutMs}, so that batches would fail before they are written`,
    );
  }
  checkWholeNumber("retries", options.retries, 0, msMax);
  checkWholeNumber("retryBackoffMs", options.retryBackoffMs, 0, msMax);
  checkWholeNumber("retryBackoffMaxMs", options.retryBackoffMaxMs, 0, msMax);
  checkCompression(options.compression);
  const { partitioner, idempotent, interceptors = [], onInterceptorError } = options;
  if (partitioner !== undefined && partitioner !== "random") checkPartitioner(partitioner);
  if (idempotent !== undefined && typeof idempotent !== "boolean") {
    throw new TypeError(`idempotent must be true or false, got ${typeof idempotent}`);
  }
  if (onInterceptorError !== undefined && typeof onInterceptorError !== "function") {
    throw new TypeError(`onInterceptorError must be a function, got ${typeof onInterceptorError}`);
  }
  checkInterceptors(interceptors);
  return {
    ack: options.ack ?? storeAck,
    lingerMs,
    batchBytes: options.batchBytes ?? 32_768,
    bufferBytes: options.bufferBytes ?? 33_554_432,
    blockMs: options.blockMs ?? 60_000,
    deliveryTimeoutMs,
    retries: options.retries ?? msMax,
    retryBackoffMs: options.retryBackoffMs ?? 100,
    retryBackoffMaxMs: options.retryBackoffMaxMs ?? 1_000,
    compression: options.compression,
    partitioner,
    isIdempotent: idempotent ?? true,
    interceptors: [...interceptors],
    onInterceptorError: onInterceptorError ?? warnOfInterceptor,
  };
}

/**
 * Checks the options of `closeProducer`.
 *
 * @param options What was given.
 * @throws TypeError or RangeError naming the option.
 */
export function checkCloseOptions(options: CloseProducerOptions): void {
  checkObject("options", options);
  checkWholeNumber("timeoutMs", options.timeoutMs, 0, msMax);
}

function checkCompression(compression: unknown): void {
  if (compression === undefined || compressions.includes(compression)) return;
  throw new TypeError(
    `compression must be "none", "gzip", "snappy", "lz4" or "zstd", got ${String(compression)}`,
  );
}

function checkInterceptors(interceptors: unknown): void {
  if (!Array.isArray(interceptors)) {
    throw new TypeError(`interceptors must be an array, got ${typeof interceptors}`);
  }
  checkNumber("interceptors.length", interceptors.length, 0, interceptorsMax);
  for (const interceptor of interceptors as readonly unknown[]) {
    checkObject("each of interceptors", interceptor);
    for (const name of ["onSend", "onAcknowledgement"] as const) {
      const call = (interceptor as ProducerInterceptor)[name] as unknown;
      if (call === undefined || typeof call === "function") continue;
      throw new TypeError(`${name} of an interceptor must be a function, got ${typeof call}`);
    }
  }
}
