/** What the parts of peering need of the mesh: typed words to other workers, and to oneself in the same way. */

/** The live workers, as the supervisor names them: among these every identity has its home. */
export interface View {
  /** Equal on two workers when they have seen the same members come and go. */
  readonly id: string;
  readonly slots: readonly number[];
}

/** `reply` MUST be called at most once; it does nothing when the asker is gone. */
export type Handler = (from: number, body: unknown, reply: (body: object) => void) => void;

export interface PeerListener {
  /** A link that is proven stands; whatever was said over an earlier one may be lost. */
  onUp(slot: number): void;
  onDown(slot: number): void;
  onView(view: View): void;
}

/**
 * What one worker sends another arrives in order, replies included; with the end of a link all that was under way is
 * lost and both ends learn of it. Words to oneself take the same way, one microtask later. Neither `notify` nor `call`
 * runs a handler before it returns.
 */
export interface Peers {
  /** This worker. */
  readonly slot: number;
  readonly view: View | undefined;
  /** Workers with a link that stands, this one not among them. */
  readonly linked: ReadonlySet<number>;
  /** @returns whether it was sent. */
  notify(slot: number, type: string, body: object): boolean;
  /**
   * `done` is called once: with the reply, in the same turn in which it arrives and before anything that the other
   * worker says later; or with undefined, when there is none in time.
   */
  call(
    slot: number,
    type: string,
    body: object,
    timeoutMs: number,
    done: (reply: unknown) => void,
  ): void;
  /** One handler for each type. */
  handle(type: string, handler: Handler): void;
  listen(listener: PeerListener): void;
  /** Messages in an encoding of their own. @returns whether they were sent. */
  sendBatch(slot: number, batch: Buffer): boolean;
  onBatch: (from: number, batch: Buffer) => void;
  /** For a peer that says what it must not: the link ends and is made anew. */
  cut(slot: number, reason: string): void;
}
