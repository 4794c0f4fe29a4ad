/**
 * Record batches: encode and decode Kafka's record batch v2.
 *
 * @module
 */

export {};
