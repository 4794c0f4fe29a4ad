/**
 * Interceptors: a user's own functions around every send.
 *
 * `onSend` may give another record in place of the one it gets; `onAcknowledgement` hears of the
 * outcome before whoever awaits the send does. What an interceptor throws is reported and changes
 * nothing: the next one goes on with what there was.
 */

import type { Content } from "../record/record.ts";
import { warn } from "../platform/warning.ts";
import type { AppendRecord, RecordMetadata } from "./append.ts";

/** A record as an interceptor sees it: before serdes, whatever its types are. */
export type InterceptedRecord = AppendRecord<unknown, unknown> | AppendRecord<Content, Content>;

/** Functions that are called around every send of a producer. */
export interface ProducerInterceptor {
  /** A name for messages. */
  readonly name?: string | undefined;
  /**
   * Called before a record is serialized and its partition chosen.
   *
   * @param record The record, as the interceptor before gave it.
   * @param topic The topic's name.
   * @returns The record to send in its place; nothing to leave it as it is. Anything else, such as
   * a promise, makes the send fail.
   */
  readonly onSend?:
    | ((record: InterceptedRecord, topic: string) => InterceptedRecord | void)
    | undefined;
  /**
   * Called when a record is stored or will not be. Nobody waits for it if it is asynchronous.
   *
   * @param metadata Where it is, or undefined if the send failed.
   * @param error Why it failed, or undefined.
   * @param record The record as it was sent.
   */
  readonly onAcknowledgement?:
    | ((metadata: RecordMetadata | undefined, error: unknown, record: InterceptedRecord) => void)
    | undefined;
}

/** What is told of an interceptor that throws. */
export type InterceptorErrorListener = (error: unknown, interceptor: ProducerInterceptor) => void;

/**
 * Lets all interceptors see a record, one after the other.
 *
 * @param interceptors In their order.
 * @param onError Told of what they throw.
 * @param record The record.
 * @param topic The topic's name.
 * @returns The record to send.
 * @throws TypeError if one gives something else than a record.
 */
export function interceptRecord(
  interceptors: readonly ProducerInterceptor[],
  onError: InterceptorErrorListener,
  record: InterceptedRecord,
  topic: string,
): InterceptedRecord {
  let current = record;
  for (const interceptor of interceptors) {
    let given: unknown;
    try {
      given = interceptor.onSend?.(current, topic);
    } catch (error) {
      report(onError, error, interceptor);
    }
    // At once: the next one may make a record of anything.
    if (given !== undefined && given !== null) current = checkGiven(given, interceptor);
  }
  return current;
}

function checkGiven(given: unknown, interceptor: ProducerInterceptor): InterceptedRecord {
  if (typeof given === "object" && !isPromise(given)) return given as InterceptedRecord;
  let found = String(given);
  if (isPromise(given)) {
    found = "a promise";
    // The send says what is wrong, whatever becomes of the promise.
    given.then(undefined, () => {});
  }
  const giver = interceptor.name ?? "an interceptor";
  throw new TypeError(
    `record must be an object with a key and a value, got ${found} from ${giver}`,
  );
}

function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && "then" in value &&
    typeof value.then === "function";
}

/**
 * Tells all interceptors of an outcome before anyone else hears of it.
 *
 * @param interceptors In their order.
 * @param onError Told of what they throw.
 * @param record The record that was sent.
 * @param sent Its outcome.
 * @returns The same outcome.
 */
export async function interceptOutcome(
  interceptors: readonly ProducerInterceptor[],
  onError: InterceptorErrorListener,
  record: InterceptedRecord,
  sent: Promise<RecordMetadata>,
): Promise<RecordMetadata> {
  const tell = (metadata: RecordMetadata | undefined, error: unknown): void => {
    for (const interceptor of interceptors) {
      try {
        const told: unknown = interceptor.onAcknowledgement?.(metadata, error, record);
        if (isPromise(told)) {
          told.then(undefined, (thrown: unknown) => report(onError, thrown, interceptor));
        }
      } catch (thrown) {
        report(onError, thrown, interceptor);
      }
    }
  };
  let metadata: RecordMetadata;
  try {
    metadata = await sent;
  } catch (error) {
    tell(undefined, error);
    throw error;
  }
  tell(metadata, undefined);
  return metadata;
}

/**
 * Shows a warning; what is done where a producer is not told otherwise.
 *
 * @param error What the interceptor threw.
 * @param interceptor Which one.
 */
export function warnOfInterceptor(error: unknown, interceptor: ProducerInterceptor): void {
  const name = interceptor.name === undefined
    ? "An interceptor"
    : `Interceptor ${interceptor.name}`;
  warn(`${name} failed and was skipped: ${error instanceof Error ? error.message : error}`, error);
}

/** A listener that throws as well must not fail a send either. */
function report(
  onError: InterceptorErrorListener,
  error: unknown,
  interceptor: ProducerInterceptor,
): void {
  try {
    onError(error, interceptor);
  } catch (thrown) {
    warnOfInterceptor(thrown, interceptor);
  }
}
