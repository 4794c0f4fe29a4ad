/**
 * The header of a record batch v2: the one place in code where its bytes are laid out.
 *
 * | position | size | field                | in the checksum |
 * | -------- | ---- | -------------------- | --------------- |
 * | 0        | 8    | baseOffset           | no              |
 * | 8        | 4    | batchLength          | no              |
 * | 12       | 4    | partitionLeaderEpoch | no              |
 * | 16       | 1    | magic, always 2      | no              |
 * | 17       | 4    | crc                  | no              |
 * | 21       | 2    | attributes           | yes             |
 * | 23       | 4    | lastOffsetDelta      | yes             |
 * | 27       | 8    | baseTimestamp        | yes             |
 * | 35       | 8    | maxTimestamp         | yes             |
 * | 43       | 8    | producerId           | yes             |
 * | 51       | 2    | producerEpoch        | yes             |
 * | 53       | 4    | baseSequence         | yes             |
 * | 57       | 4    | recordCount          | yes             |
 * | 61       |      | records              | yes             |
 */

/** Where each field of the header begins, counted from the first byte of the batch. */
export const field = {
  baseOffset: 0,
  batchLength: 8,
  partitionLeaderEpoch: 12,
  magic: 16,
  crc: 17,
  attributes: 21,
  lastOffsetDelta: 23,
  baseTimestamp: 27,
  maxTimestamp: 35,
  producerId: 43,
  producerEpoch: 51,
  baseSequence: 53,
  recordCount: 57,
} as const;

/** What stands before the bytes that `batchLength` counts: the offset and the length itself. */
export const logOverheadBytes = 12;
/** The size of the header, and so of a batch without records. */
export const batchHeaderBytes = 61;
/** How much of a header tells the size and the format of what follows. */
export const headerToMagicBytes = 17;
/** The format of all batches that ottla writes and reads. */
export const magicV2 = 2;
/** What the checksum covers begins here and ends with the batch. */
export const checksumStart = field.attributes;

/** Bits of the attributes of a batch. */
export const attribute = {
  /** Three bits: the number of the codec. */
  compressionMask: 0x07,
  logAppendTime: 0x08,
  transactional: 0x10,
  control: 0x20,
  deleteHorizon: 0x40,
} as const;

/** Stands for "none" in the fields that may be empty. */
export const none = -1;
