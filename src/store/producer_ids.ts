/**
 * Gives out producer ids: numbers that no other producer of the folder ever had or will have.
 *
 * They come in blocks. A block is recorded in the metadata log, and on disk, before the first of its
 * ids is given out, so that a crash can waste ids and never repeat one. A broker that runs on the
 * folder goes on behind the last block.
 */

import { OttlaError } from "../errors.ts";
import { changeMetadata } from "./metadata_log.ts";
import type { StoreInternals } from "./store.ts";
import { checkOpen } from "./store.ts";

/** The block that ids are taken from. */
export interface ProducerIds {
  /** The next id to be given out. */
  next: number;
  /** Behind the last id of the block. */
  end: number;
  /** The allocation of a block that is under way; all who need one share it. */
  allocation: Promise<void> | undefined;
}

/** How many ids a block has; Kafka's number. */
export const producerIdBlockSize = 1_000;

/** No block yet: a store whose producers need no ids records none. */
export function producerIds(): ProducerIds {
  return { next: 0, end: 0, allocation: undefined };
}

/**
 * Gives out a producer id.
 *
 * @param store The inside of a store.
 * @returns The id, recorded as taken.
 * @throws OttlaError `DISK_FULL` or `KAFKA_STORAGE_ERROR` if it cannot be recorded, `HANDLE_CLOSED`,
 * `STORE_LOCKED`, `STORE_INVALID` if the folder has no ids left.
 */
export async function nextProducerId(store: StoreInternals): Promise<number> {
  const ids = store.producerIds;
  checkOpen(store);
  // More may wait than a block has ids.
  while (ids.next === ids.end) {
    ids.allocation ??= allocateBlock(store).finally(() => void (ids.allocation = undefined));
    await ids.allocation;
    checkOpen(store);
  }
  return ids.next++;
}

async function allocateBlock(store: StoreInternals): Promise<void> {
  const { image, metadata, nodeId, producerIds: ids } = store;
  let start = 0;
  await changeMetadata(metadata, () => {
    start = image.nextProducerId;
    const nextProducerId = start + producerIdBlockSize;
    if (!Number.isSafeInteger(nextProducerId)) throw idsExhausted(start);
    // The epoch of a broker that is not registered.
    const brokerEpoch = -1;
    const brokerId = nodeId;
    return [{ type: "ProducerIdsRecord", version: 0, brokerId, brokerEpoch, nextProducerId }];
  }, () => {
    ids.next = start;
    ids.end = start + producerIdBlockSize;
  });
}

function idsExhausted(nextProducerId: number): OttlaError {
  return new OttlaError(
    "STORE_INVALID",
    `Cannot give out a producer id: the next one is ${nextProducerId}, and ids are whole numbers ` +
      `below ${Number.MAX_SAFE_INTEGER}`,
    { details: { nextProducerId } },
  );
}
