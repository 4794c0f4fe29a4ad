/**
 * ottla: an embeddable, in-process event log whose files are Apache Kafka's own.
 *
 * @module
 */

export { isOttlaError, OttlaError } from "./src/errors.ts";
export type { ErrorCode, ErrorDetails } from "./src/errors.ts";
