/**
 * What a command may touch of the process around it; tests hand in their own.
 */

/** Takes text, as a stream of the process does. */
export interface TextOutput {
  /**
   * @param text What to write.
   * @returns Resolves when more may be written.
   * @throws Error With code `EPIPE` if nobody reads any more.
   */
  write(text: string): void | Promise<void>;
}

/** The surroundings of a command. */
export interface CliIo {
  /** For the result, and nothing else. */
  readonly stdout: TextOutput;
  /** For progress, summaries and errors. */
  readonly stderr: TextOutput;
  /** What is piped into the command. */
  readonly stdin: AsyncIterable<Uint8Array>;
  /** The environment variables. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Whether a person is looking at stderr, so that a line may be drawn again and again. */
  readonly isTerminal: boolean;
  /** How wide that terminal is; 80 if there is none. */
  readonly columns: number;
  /** Aborted when the user wants the command to stop (Ctrl+C). */
  readonly signal: AbortSignal;
}
