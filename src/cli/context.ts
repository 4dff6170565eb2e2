/**
 * What a command works with: where it writes, who runs it, and the options that every command has.
 */
export interface Terminal {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  /** User id for the audit log; undefined where there is none. */
  readonly uid: number | undefined;
  /** Width of the terminal that `err` writes to, as it is now; left out where there is none. */
  readonly liveColumns?: () => number;
}

export interface CommandContext extends Terminal {
  readonly dataDir: string;
  /** Print JSON for programs instead of a table for people. */
  readonly json: boolean;
}

/** The exit code of a command; 0 only on success. */
export type ExitCode = 0 | 1 | 2;
