/** What a row of the benchmark found. */
export interface Result {
  readonly row: string;
  /** With everything that one must know to compare it: protocol, QoS, size. */
  readonly subject: string;
  /** Of the figures: `µs CPU per message`. */
  readonly unit: string;
  /** One per round. */
  readonly figures: readonly number[];
  /** The same work done by somebody else in the same run: the ratio to it is then the figure. */
  readonly peer?: { readonly name: string; readonly figures: readonly number[] };
  /** Bounds of the ratio when there is a peer, else of the figure. */
  readonly pass?: number;
  readonly goal?: number;
  /** The larger the better; without it, the smaller. */
  readonly more?: true;
  readonly notes: readonly string[];
}

/** A row of the design whose subject does not exist yet. */
export interface Missing {
  readonly row: string;
  readonly subject: string;
  readonly reason: string;
}

export interface RowContext {
  readonly rounds: number;
  readonly say: (text: string) => void;
}

export interface Row {
  readonly name: string;
  readonly run: (context: RowContext) => Promise<readonly (Result | Missing)[]>;
}
