/**
 * Every failure that the world can cause, in one table: code, Kafka's error number, retriable or
 * not.
 *
 * Misuse of a function (a wrong type, a number out of range) is a `TypeError` or `RangeError`
 * instead, and a broken invariant of our own is an `AssertionError`.
 */

/** What is known about one error code. */
interface ErrorKind {
  /** Kafka's number for this error on the wire, or -1 where Kafka has none. */
  readonly kafkaCode: number;
  /** Whether the same call may succeed later without anything being changed by the caller. */
  readonly retriable: boolean;
}

const kinds = {
  // Kafka's own codes, by number.
  OFFSET_OUT_OF_RANGE: { kafkaCode: 1, retriable: false },
  CORRUPT_MESSAGE: { kafkaCode: 2, retriable: true },
  UNKNOWN_TOPIC_OR_PARTITION: { kafkaCode: 3, retriable: true },
  REQUEST_TIMED_OUT: { kafkaCode: 7, retriable: true },
  MESSAGE_TOO_LARGE: { kafkaCode: 10, retriable: false },
  OFFSET_METADATA_TOO_LARGE: { kafkaCode: 12, retriable: false },
  INVALID_TOPIC_EXCEPTION: { kafkaCode: 17, retriable: false },
  RECORD_LIST_TOO_LARGE: { kafkaCode: 18, retriable: false },
  ILLEGAL_GENERATION: { kafkaCode: 22, retriable: false },
  INCONSISTENT_GROUP_PROTOCOL: { kafkaCode: 23, retriable: false },
  INVALID_GROUP_ID: { kafkaCode: 24, retriable: false },
  UNKNOWN_MEMBER_ID: { kafkaCode: 25, retriable: false },
  REBALANCE_IN_PROGRESS: { kafkaCode: 27, retriable: false },
  INVALID_TIMESTAMP: { kafkaCode: 32, retriable: false },
  UNSUPPORTED_VERSION: { kafkaCode: 35, retriable: false },
  TOPIC_ALREADY_EXISTS: { kafkaCode: 36, retriable: false },
  INVALID_PARTITIONS: { kafkaCode: 37, retriable: false },
  INVALID_CONFIG: { kafkaCode: 40, retriable: false },
  OUT_OF_ORDER_SEQUENCE_NUMBER: { kafkaCode: 45, retriable: false },
  INVALID_PRODUCER_EPOCH: { kafkaCode: 47, retriable: false },
  INVALID_TXN_STATE: { kafkaCode: 48, retriable: false },
  TRANSACTION_COORDINATOR_FENCED: { kafkaCode: 52, retriable: false },
  KAFKA_STORAGE_ERROR: { kafkaCode: 56, retriable: true },
  NON_EMPTY_GROUP: { kafkaCode: 68, retriable: false },
  GROUP_ID_NOT_FOUND: { kafkaCode: 69, retriable: false },
  UNSUPPORTED_COMPRESSION_TYPE: { kafkaCode: 76, retriable: false },
  GROUP_MAX_SIZE_REACHED: { kafkaCode: 81, retriable: false },
  FENCED_INSTANCE_ID: { kafkaCode: 82, retriable: false },
  INVALID_RECORD: { kafkaCode: 87, retriable: false },
  INCONSISTENT_TOPIC_ID: { kafkaCode: 103, retriable: true },
  UNSUPPORTED_ASSIGNOR: { kafkaCode: 112, retriable: false },
  // What Kafka's clients find out by themselves.
  BUFFER_EXHAUSTED: { kafkaCode: -1, retriable: true },
  NO_OFFSET_FOR_PARTITION: { kafkaCode: -1, retriable: false },
  // What a folder on one machine can meet and a Kafka client cannot.
  STORE_LOCKED: { kafkaCode: -1, retriable: true },
  STORE_INVALID: { kafkaCode: -1, retriable: false },
  HANDLE_CLOSED: { kafkaCode: -1, retriable: false },
  DISK_FULL: { kafkaCode: 56, retriable: true },
  CODEC_MISSING: { kafkaCode: 76, retriable: false },
} as const satisfies Record<string, ErrorKind>;

/** The name of one kind of failure; Kafka's name wherever Kafka has one. */
export type ErrorCode = keyof typeof kinds;

/** Numbers and names that go with an error, for programs; the message says the same for people. */
export type ErrorDetails = Readonly<Record<string, string | number | boolean | undefined>>;

/** A failure that the world caused: the disk, the data, or a name that does not exist. */
export class OttlaError extends Error {
  /** Which failure it is. */
  readonly code: ErrorCode;
  /** Kafka's error number, or -1 where Kafka has none. */
  readonly kafkaCode: number;
  /** Whether trying again later may succeed. */
  readonly retriable: boolean;
  /** The numbers behind the message. */
  readonly details: ErrorDetails;

  /**
   * @param code Which failure it is.
   * @param message One sentence with the numbers, without a full stop.
   * @param options `details` for programs, `cause` for the error behind this one.
   */
  constructor(
    code: ErrorCode,
    message: string,
    options: { readonly details?: ErrorDetails; readonly cause?: unknown } = {},
  ) {
    super(message, "cause" in options ? { cause: options.cause } : undefined);
    this.name = "OttlaError";
    this.code = code;
    this.kafkaCode = kinds[code].kafkaCode;
    this.retriable = kinds[code].retriable;
    this.details = options.details ?? {};
  }
}

/**
 * Tells whether a caught value is an `OttlaError`, and of one code if you name it.
 *
 * @param error Anything that was caught.
 * @param code Only answer true for this code.
 * @returns True if it is.
 */
export function isOttlaError(error: unknown, code?: ErrorCode): error is OttlaError {
  return error instanceof OttlaError && (code === undefined || error.code === code);
}
