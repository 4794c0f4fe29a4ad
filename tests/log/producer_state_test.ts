/** What is known of producers, and what the rules say of a batch: the state machine alone. */

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import type { ErrorCode } from "../../src/errors.ts";
import { isOttlaError } from "../../src/errors.ts";
import type { ProducedHeader, ProducerStates } from "../../src/log/producer_state.ts";
import {
  checkBatch,
  expireProducers,
  firstUnstableOffset,
  forgetEnded,
  noteBatch,
  producerIdExpirationMs,
  producersMax,
  producerStates,
  replayBatch,
} from "../../src/log/producer_state.ts";
import type { AbortedTransaction } from "../../src/segment/txn_index_file.ts";
import { buildBatch, viewOf } from "../support/batches.ts";

const sequenceMax = 2 ** 31 - 1;
const time = 1_000_000;

/** States, and the offset of the next batch. */
interface Fixture {
  readonly states: ProducerStates;
  offset: number;
}

interface Plan {
  readonly producerId?: number;
  readonly epoch?: number;
  readonly count?: number;
  readonly offset?: number;
  readonly timestamp?: number;
  readonly transactional?: boolean;
  readonly origin?: "client" | "coordinator";
}

function fixture(): Fixture {
  return { states: producerStates({ topic: "orders", partition: 3 }), offset: 0 };
}

function headerOf(at: Fixture, baseSequence: number, plan: Plan): ProducedHeader {
  const { count = 1, producerId = 1, epoch = 0, timestamp = time } = plan;
  const baseOffset = plan.offset ?? at.offset;
  return {
    producerId,
    producerEpoch: epoch,
    baseSequence,
    lastSequence: (baseSequence + count - 1) % (sequenceMax + 1),
    baseOffset,
    lastOffset: baseOffset + count - 1,
    maxTimestamp: timestamp,
    isTransactional: plan.transactional ?? false,
    isControl: false,
    marker: undefined,
  };
}

/** Appends a batch: the offset where it is, or that of its original as a text. */
function send(at: Fixture, baseSequence: number, plan: Plan = {}): number | string {
  const header = headerOf(at, baseSequence, plan);
  const original = checkBatch(at.states, header, plan.origin);
  if (original !== undefined) return `duplicate of ${original.baseOffset}`;
  noteBatch(at.states, header, time);
  at.offset = header.lastOffset + 1;
  return header.baseOffset;
}

function end(
  at: Fixture,
  type: "abort" | "commit",
  plan: Plan & { readonly coordinatorEpoch?: number } = {},
): AbortedTransaction | undefined {
  const header: ProducedHeader = {
    ...headerOf(at, -1, plan),
    lastSequence: -1,
    isTransactional: true,
    isControl: true,
    marker: { type, coordinatorEpoch: plan.coordinatorEpoch ?? 0 },
  };
  assert.equal(checkBatch(at.states, header), undefined);
  const aborted = noteBatch(at.states, header, time);
  at.offset = header.lastOffset + 1;
  return aborted;
}

/** Holds that something is refused, and that nothing is changed by that. */
function refused(at: Fixture, code: ErrorCode, call: () => unknown, message?: RegExp): void {
  const before = structuredClone(at);
  assert.throws(call, (error: unknown) => {
    assert.ok(isOttlaError(error, code), String(error));
    if (message !== undefined) assert.match(error.message, message);
    return true;
  });
  assert.deepEqual(structuredClone(at), before);
}

describe("the sequence numbers of a producer", () => {
  it("follow one another, and begin anew with an epoch", () => {
    const at = fixture();
    send(at, 0);
    send(at, 1);
    refused(at, "OUT_OF_ORDER_SEQUENCE_NUMBER", () => send(at, 5));
    refused(at, "OUT_OF_ORDER_SEQUENCE_NUMBER", () => send(at, 1, { count: 2 }), /2 was expected$/);
    send(at, 0, { epoch: 1 });
    refused(
      at,
      "INVALID_PRODUCER_EPOCH",
      () => send(at, 2),
      /^Cannot append a batch of producer 1 to orders-3: its epoch is 0, the producer has epoch 1$/,
    );
  });

  it("may begin anywhere where the producer is unknown, and at 0 in a later epoch", () => {
    const at = fixture();
    assert.equal(send(at, 16), 0);
    refused(at, "OUT_OF_ORDER_SEQUENCE_NUMBER", () => send(at, 17, { epoch: 1 }));
    assert.equal(send(at, 0, { epoch: 1 }), 1);
    assert.equal(send(at, 1, { epoch: 1 }), 2);
  });

  it("go on with 0 behind the largest", () => {
    for (const next of [0, 1]) {
      const at = fixture();
      send(at, sequenceMax);
      if (next === 0) assert.equal(send(at, 0), 1);
      else refused(at, "OUT_OF_ORDER_SEQUENCE_NUMBER", () => send(at, next), /0 was expected/);
    }
    const at = fixture();
    send(at, sequenceMax - 10, { count: 21, offset: 2000 });
    const [batch] = at.states.byId.get(1)!.batches;
    assert.deepEqual([batch!.lastSequence, batch!.lastOffset], [9, 2020]);
    assert.equal(send(at, 10), 2021);
  });

  it("are not asked for of what a coordinator writes", () => {
    const at = fixture();
    for (const sequence of [0, 0, -1, -1, 7]) {
      const offset = at.offset;
      assert.equal(send(at, sequence, { origin: "coordinator", transactional: true }), offset);
    }
    refused(at, "INVALID_TXN_STATE", () => send(at, 0, { origin: "coordinator" }));
    send(at, 0, { epoch: 1, origin: "coordinator", transactional: true });
    refused(at, "INVALID_PRODUCER_EPOCH", () => send(at, 0, { origin: "coordinator" }));
  });

  it("are not asked for of what is in the log already", () => {
    const { states } = fixture();
    for (const [epoch, baseSequence, offset] of [[5, 16, 0], [5, 20, 1], [4, 3, 2], [6, 9, 3]]) {
      const bytes = buildBatch([{ value: "a" }], {
        producerId: 1,
        producerEpoch: epoch,
        baseSequence,
        baseOffset: offset!,
      });
      assert.equal(replayBatch(states, viewOf(bytes)), undefined);
      assert.equal(states.byId.get(1)?.epoch, epoch);
      assert.equal(states.byId.get(1)?.batches.at(-1)?.baseSequence, baseSequence);
    }
    replayBatch(states, viewOf(buildBatch([{ value: "a" }], { baseOffset: 4 })));
    assert.equal(states.byId.size, 1);
  });
});

describe("a batch that is sent again", () => {
  it("is known among the last five of its producer, and only whole", () => {
    const at = fixture();
    for (let sequence = 0; sequence < 14; sequence += 2) send(at, sequence, { count: 2 });
    for (const sequence of [4, 6, 8, 10, 12]) {
      assert.equal(send(at, sequence, { count: 2 }), `duplicate of ${sequence}`);
      refused(at, "OUT_OF_ORDER_SEQUENCE_NUMBER", () => send(at, sequence));
      refused(at, "OUT_OF_ORDER_SEQUENCE_NUMBER", () => send(at, sequence + 1));
      refused(at, "OUT_OF_ORDER_SEQUENCE_NUMBER", () => send(at, sequence - 1, { count: 2 }));
    }
    for (const sequence of [0, 2]) {
      refused(at, "OUT_OF_ORDER_SEQUENCE_NUMBER", () => send(at, sequence, { count: 2 }));
    }
    assert.equal(send(at, 14), 14);
  });

  it("is none of another producer or epoch", () => {
    const at = fixture();
    send(at, 0);
    assert.equal(send(at, 0, { producerId: 2 }), 1);
    assert.equal(send(at, 0, { epoch: 1 }), 2);
    assert.equal(send(at, 0, { epoch: 1 }), "duplicate of 2");
    assert.equal(at.states.byId.get(1)!.batches.length, 1);
  });

  it("across the end of the sequence numbers is known too", () => {
    const at = fixture();
    send(at, sequenceMax - 1, { count: 4 });
    assert.equal(send(at, sequenceMax - 1, { count: 4 }), "duplicate of 0");
  });
});

describe("a marker", () => {
  it("makes a producer known, whose next sequence number is 0", () => {
    const at = fixture();
    assert.equal(end(at, "abort", { epoch: 2 }), undefined);
    const state = at.states.byId.get(1)!;
    assert.deepEqual([state.epoch, state.batches.length], [2, 0]);
    refused(at, "INVALID_PRODUCER_EPOCH", () => send(at, 0));
    refused(at, "OUT_OF_ORDER_SEQUENCE_NUMBER", () => send(at, 17, { epoch: 2 }));
    assert.equal(send(at, 0, { epoch: 2 }), 1);
  });

  it("of a later epoch raises it and forgets the batches", () => {
    const at = fixture();
    send(at, 0);
    send(at, 1);
    end(at, "abort", { epoch: 1 });
    for (const epoch of [1, 2]) {
      refused(at, "OUT_OF_ORDER_SEQUENCE_NUMBER", () => send(at, 2, { epoch }));
    }
    refused(at, "INVALID_PRODUCER_EPOCH", () => end(at, "abort", { epoch: 0 }));
    assert.equal(send(at, 0, { epoch: 1 }), 3);
  });

  it("of the same epoch leaves the sequence as it is", () => {
    const at = fixture();
    send(at, 0, { transactional: true });
    end(at, "commit");
    assert.equal(send(at, 0, { transactional: true }), "duplicate of 0");
    assert.equal(send(at, 1, { transactional: true }), 2);
  });

  it("of a coordinator that was replaced is refused", () => {
    const at = fixture();
    end(at, "abort", { coordinatorEpoch: 1 });
    end(at, "abort", { coordinatorEpoch: 2 });
    refused(
      at,
      "TRANSACTION_COORDINATOR_FENCED",
      () => end(at, "abort", { coordinatorEpoch: 1 }),
      /its coordinator has epoch 1, one of epoch 2 took over/,
    );
    send(at, 0, { transactional: true });
    refused(at, "TRANSACTION_COORDINATOR_FENCED", () => end(at, "commit", { coordinatorEpoch: 0 }));
    end(at, "commit", { coordinatorEpoch: 2 });
  });
});

describe("a transaction", () => {
  it("reaches from its first batch to its marker", () => {
    const at = fixture();
    send(at, 16, { count: 5, offset: 16, transactional: true });
    send(at, 21, { count: 5, offset: 26, transactional: true });
    const state = at.states.byId.get(1)!;
    assert.equal(state.currentTransactionFirstOffset, 16);
    assert.equal(end(at, "commit", { offset: 40 }), undefined);
    assert.deepEqual(at.states.ended, [{ firstOffset: 16, lastOffset: 40 }]);
    assert.equal(state.currentTransactionFirstOffset, -1);
    end(at, "commit");
    assert.equal(at.states.ended.length, 1, "a second marker ends nothing");
  });

  it("takes no batch from outside", () => {
    const at = fixture();
    send(at, 0, { transactional: true });
    refused(at, "INVALID_TXN_STATE", () => send(at, 1), /one is open since offset 0$/);
    end(at, "abort");
    assert.equal(send(at, 1), 2);
  });

  it("that was aborted is told with the last stable offset of that moment", () => {
    const at = fixture();
    send(at, 0, { producerId: 1, transactional: true });
    send(at, 0, { producerId: 2, offset: 8, transactional: true });
    assert.deepEqual(end(at, "abort", { producerId: 1, offset: 29 }), {
      version: 0,
      producerId: 1,
      firstOffset: 0,
      lastOffset: 29,
      lastStableOffset: 8,
    });
    assert.equal(end(at, "abort", { producerId: 2, offset: 30 })?.lastStableOffset, 31);
    assert.equal(end(at, "abort", { producerId: 2 }), undefined, "there was nothing to abort");
  });

  it("is unstable until its marker can be seen", () => {
    const at = fixture();
    const { states } = at;
    assert.equal(firstUnstableOffset(states), undefined);
    send(at, 0, { producerId: 1, offset: 99, transactional: true });
    send(at, 0, { producerId: 2, offset: 105, transactional: true });
    assert.equal(firstUnstableOffset(states, 106), 99);
    end(at, "commit", { producerId: 1, offset: 109 });
    assert.equal(firstUnstableOffset(states), 105);
    assert.equal(firstUnstableOffset(states, 109), 99);
    assert.equal(firstUnstableOffset(states, 110), 105);
    end(at, "abort", { producerId: 2, offset: 112 });
    assert.equal(firstUnstableOffset(states, 112), 105);
    assert.equal(firstUnstableOffset(states, 113), undefined);
    forgetEnded(states, 110);
    assert.deepEqual(states.ended, [{ firstOffset: 105, lastOffset: 112 }]);
    forgetEnded(states, 113);
    assert.deepEqual(states.ended, []);
  });
});

describe("a producer", () => {
  it("is forgotten when it was idle for a day, unless its transaction is open", () => {
    const at = fixture();
    send(at, 0, { producerId: 1 });
    send(at, 0, { producerId: 2, transactional: true });
    assert.equal(expireProducers(at.states, time + producerIdExpirationMs - 1), 0);
    assert.equal(expireProducers(at.states, time + producerIdExpirationMs), 1);
    assert.deepEqual([...at.states.byId.keys()], [2]);
    assert.equal(send(at, 9, { producerId: 1 }), 2, "as if it had never been there");
    end(at, "commit", { producerId: 2 });
    assert.equal(expireProducers(at.states, time + 2 * producerIdExpirationMs), 2);
  });

  it("that sends old records is not idle", () => {
    const at = fixture();
    send(at, 0, { timestamp: 5 - producerIdExpirationMs });
    assert.equal(expireProducers(at.states, time), 0);
  });

  it("too many has those forgotten that are idle for longest and in no transaction", () => {
    const at = fixture();
    const old = time + 1;
    send(at, 0, { producerId: 0, transactional: true, timestamp: old });
    send(at, 0, { producerId: 1, timestamp: old });
    for (let producerId = 2; producerId < producersMax; producerId++) {
      send(at, 0, { producerId, timestamp: old + producerId });
    }
    send(at, 1, { producerId: 1, timestamp: old + producersMax });
    assert.equal(at.states.byId.size, producersMax);
    send(at, 0, { producerId: producersMax, timestamp: old + producersMax });
    const known = at.states.byId;
    assert.ok(known.size < producersMax && known.size > 0.95 * producersMax);
    assert.ok(known.has(0) && known.has(1) && known.has(producersMax - 1));
    assert.ok(!known.has(2) && !known.has(3));
    assert.equal(send(at, 2, { producerId: 1 }), at.offset - 1);
  });

  it("is refused where too many have transactions open", () => {
    const at = fixture();
    for (let producerId = 0; producerId < producersMax; producerId++) {
      send(at, 0, { producerId, transactional: true });
    }
    const message = /100000 transactions are open$/;
    assert.throws(() => send(at, 0, { producerId: producersMax }), message);
    end(at, "commit", { producerId: 5 });
    send(at, 0, { producerId: producersMax });
    assert.ok(!at.states.byId.has(5));
    assert.equal(at.states.byId.size, producersMax);
  });
});
