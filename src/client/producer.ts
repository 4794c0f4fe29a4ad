/**
 * Producers: they collect records into batches, number them so that none is stored twice, and try
 * again what fails for a time.
 *
 * A record goes this way: `send` here, `producer_intake.ts`, `record_accumulator.ts` into the batch
 * of its partition; `producer_schedule.ts` says when the batch is due, `producer_sender.ts` writes
 * it and settles its sends.
 */

import type { Ack } from "../log/log.ts";
import type { Content } from "../record/record.ts";
import type { Store, StoreInternals } from "../store/store.ts";
import { checkOpen, openInternals } from "../store/store.ts";
import { checkAck, checkObject, checkSignal } from "../store/store_options.ts";
import type { AppendRecord, RecordMetadata } from "./append.ts";
import { builderPool } from "./builder_pool.ts";
import type { InterceptedRecord } from "./interceptors.ts";
import { interceptOutcome, interceptRecord } from "./interceptors.ts";
import { abandonProducer, dropDeletedTopics, endProducer, settleSends } from "./producer_end.ts";
import { takeRecord } from "./producer_intake.ts";
import type {
  CloseProducerOptions,
  ProducerOptions,
  ProducerSettings,
  SendOptions,
} from "./producer_options.ts";
import { checkCloseOptions, producerSettings } from "./producer_options.ts";
import type { Producer, ProducerInternals } from "./producer_state.ts";
import { producerClosedError, producerInternals } from "./producer_state.ts";
import { sendQueue } from "./send_queue.ts";
import type { Topic, TopicArgument } from "./topic.ts";
import { nameOfTopic } from "./topic.ts";
import { untilAborted } from "./until_aborted.ts";

const noSendOptions: SendOptions = {};

/**
 * Opens a producer.
 *
 * @param store The store.
 * @param options See `ProducerOptions`.
 * @returns The producer. It must be closed with `closeProducer`, or be declared with `await using`;
 * `closeStore` closes those that are open.
 * @throws TypeError or RangeError naming the option. OttlaError `HANDLE_CLOSED` if the store is
 * closed.
 * @example
 * ```ts
 * import { closeProducer, closeStore, createTopic, openProducer, openStore, send } from "ottla";
 * const store = await openStore(":memory:");
 * await createTopic(store, "orders");
 * const producer = openProducer(store, { lingerMs: 5 });
 * const sent = ["3 apples", "1 pear"].map((value) => send(producer, "orders", { value }));
 * for (const { offset } of await Promise.all(sent)) console.log(offset);
 * await closeProducer(producer);
 * await closeStore(store);
 * ```
 */
export function openProducer(store: Store, options: ProducerOptions = {}): Producer {
  const internals = openInternals(store);
  const state = producerState(internals, producerSettings(options, internals.options.ack));
  const producer: Producer = {
    internals: state,
    [Symbol.asyncDispose]: () => closeProducer(producer),
  };
  const { closers, abandoners, topicWatchers } = internals;
  const close = (): Promise<void> => endProducer(state, { isLastTry: true });
  const abandon = (): void => abandonProducer(state);
  const watchTopics = (): void => dropDeletedTopics(state);
  closers.add(close);
  abandoners.add(abandon);
  topicWatchers.add(watchTopics);
  state.onClosed = () => {
    closers.delete(close);
    abandoners.delete(abandon);
    topicWatchers.delete(watchTopics);
  };
  return producer;
}

/**
 * Sends a record: it is put into a batch and written soon. Records of one partition keep the order
 * of `send`, whether they are awaited or not; one that fails leaves those behind it where they are.
 *
 * @param producer The producer.
 * @param topic The topic's name, or a topic with types.
 * @param record The record. If it waits for room in the buffer it is looked at later, so what is in
 * it must stay as it is until it is stored.
 * @param options What to wait for.
 * @returns Resolves when the record has reached the level, with its place. Like any promise that may
 * reject it must be awaited or caught.
 * @throws As `append`, and OttlaError `BUFFER_EXHAUSTED` if there was no room for `blockMs` or too
 * many sends wait for some, `REQUEST_TIMED_OUT` after `deliveryTimeoutMs`, `MESSAGE_TOO_LARGE` for
 * a record that is larger than `bufferBytes` or than its topic takes, `INVALID_TOPIC_EXCEPTION`;
 * the signal's reason.
 */
export function send<K = Content, V = Content>(
  producer: Producer,
  topic: string | Topic<K, V>,
  record: AppendRecord<NoInfer<K>, NoInfer<V>>,
  options: SendOptions = noSendOptions,
): Promise<RecordMetadata> {
  try {
    const internals = producerInternals(producer);
    if (internals.state !== "open") throw producerClosedError();
    checkOpen(internals.store);
    const ack = options === noSendOptions ? internals.settings.ack : ackOf(internals, options);
    const { signal } = options;
    const argument = topic as TopicArgument;
    const sent = internals.settings.interceptors.length === 0
      ? takeRecord(internals, argument, record as AppendRecord, ack, signal)
      : sendIntercepted(internals, argument, record as AppendRecord, ack, signal);
    return signal === undefined ? sent : untilAborted(sent, signal);
  } catch (error) {
    return Promise.reject(error);
  }
}

/**
 * Waits until every record that was sent so far is stored, or has failed. What waits for more
 * records goes at once.
 *
 * @param producer The producer.
 * @returns Resolves when none of these sends is under way any more; whether one failed its own
 * promise tells.
 * @throws TypeError if it is no producer, OttlaError `HANDLE_CLOSED` if it is closed.
 */
export async function flushProducer(producer: Producer): Promise<void> {
  const internals = producerInternals(producer);
  if (internals.state === "closed") throw producerClosedError();
  await settleSends(internals);
}

/**
 * Ends a producer: what was sent is stored first, sends that wait for room included.
 *
 * @param producer The producer. Closing it twice is fine.
 * @param options `timeoutMs` says when to give up on what is not stored by then: those sends fail
 * with `HANDLE_CLOSED`.
 * @returns Resolves when no send is under way any more; whether one failed its own promise tells.
 * @throws TypeError or RangeError for a bad argument.
 */
export async function closeProducer(
  producer: Producer,
  options: CloseProducerOptions = {},
): Promise<void> {
  const internals = producerInternals(producer);
  checkCloseOptions(options);
  await endProducer(internals, { isLastTry: false, timeoutMs: options.timeoutMs });
}

function producerState(store: StoreInternals, settings: ProducerSettings): ProducerInternals {
  return {
    store,
    settings,
    routes: new Map(),
    pool: builderPool(settings.batchBytes),
    listed: [],
    unsettled: new Set(),
    usedBytes: 0,
    sendCount: 0,
    flushedCount: 0,
    waiting: sendQueue(),
    sharedTimeMs: 0,
    timeSharersLeft: 0,
    sparePending: undefined,
    refusal: undefined,
    progressWatchers: [],
    identity: undefined,
    isIdentityDue: false,
    identityAttempts: 0,
    identityTimer: undefined,
    isTurnDue: false,
    isRoomDue: false,
    lingerTimer: undefined,
    deliveryTimer: undefined,
    blockTimer: undefined,
    closeTimer: undefined,
    closeDeadlineMs: 0,
    isLastTry: false,
    state: "open",
    closing: undefined,
    onClosed: undefined,
  };
}

function ackOf(producer: ProducerInternals, options: SendOptions): Ack {
  checkObject("options", options);
  checkAck(options.ack);
  if (options.signal !== undefined) {
    checkSignal(options.signal);
    options.signal.throwIfAborted();
  }
  return options.ack ?? producer.settings.ack;
}

function sendIntercepted(
  producer: ProducerInternals,
  topic: TopicArgument,
  record: InterceptedRecord,
  ack: Ack,
  signal: AbortSignal | undefined,
): Promise<RecordMetadata> {
  const { interceptors, onInterceptorError: onError } = producer.settings;
  checkObject("record", record);
  const name = nameOfTopic(topic);
  let intercepted = record;
  let sent: Promise<RecordMetadata>;
  try {
    intercepted = interceptRecord(interceptors, onError, record, name);
    sent = takeRecord(producer, topic, intercepted as AppendRecord, ack, signal);
  } catch (error) {
    sent = Promise.reject(error);
  }
  return interceptOutcome(interceptors, onError, intercepted, sent);
}
