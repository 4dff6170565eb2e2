/** What a backend of the harness may be told to do, and how it is told: JSON lines on its standard input and output. */

export type Behaviour =
  /** Accepts at once. */
  | { readonly do: 'accept' }
  /** Accepts, and answers after `ms`. */
  | { readonly do: 'slow'; readonly ms: number }
  /** Refuses. With `containing`, only requests whose body contains that text, and accepts the others. */
  | {
      readonly do: 'answer';
      readonly status: number;
      readonly containing?: string;
      readonly retryAfterSeconds?: number;
      /** Of a redirect. */
      readonly location?: string;
    }
  /** Reads the request and never answers. */
  | { readonly do: 'hang' }
  /** Accepts, then closes the connection in the middle of the answer. */
  | { readonly do: 'cut' }
  /** Resets the connection without reading the body. */
  | { readonly do: 'reset' }
  /** Accepts, then is killed before it answers. */
  | { readonly do: 'die' };

/** In force for one request each; the last one stays. */
export type Behaviours = readonly [Behaviour, ...Behaviour[]];

export interface BackendSettings {
  /** Where it writes down what came; it appends. */
  readonly record: string;
  /** 0 = any that is free. */
  readonly port: number;
  readonly behaviours: Behaviours;
  readonly tls?: {
    /** PEM files. */
    readonly certificate: string;
    readonly key: string;
    /** Whose client certificates it demands; none are when it is not there. */
    readonly clientCa?: string;
  };
}
