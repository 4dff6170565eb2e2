/** One connection to another worker: proves itself, then carries words, replies and batches of messages. */
import type { Socket } from 'node:net';
import type { Frame } from '../../common/ipc/frames.ts';
import { channels } from '../../common/ipc/frames.ts';
import { Link, parseBody } from '../../common/ipc/link.ts';
import type { Hello, Name, Side } from './handshake.ts';
import { makeHello, parseHello, proofOf, proves } from './handshake.ts';

/** The largest batch, and so the largest message, that crosses. */
export const maxFrameBytes = 64 * 1024 * 1024;
/** A peer for which this much waits does not read: it is cut, not waited for. */
const maxBufferedBytes = 128 * 1024 * 1024;
const handshakeMs = 2_000;
/** Calls without a reply over one link; far above what a worker's connections ask at once. */
const maxCalls = 100_000;

const kinds = { words: 0, batch: 1 } as const;

type Done = (reply: unknown) => void;

interface OpenCall {
  readonly done: Done;
  readonly timer: NodeJS.Timeout;
}

/** What a link tells the mesh. */
export interface LinkEvents {
  /** @returns false when the other is not welcome. */
  onProven(other: Name): boolean;
  onWord(type: string, body: unknown, reply: (body: object) => void): void;
  onBatch(batch: Buffer): void;
  /** Called once, proven or not. */
  onEnd(reason: string): void;
}

export class PeerLink {
  readonly #link: Link;
  readonly #key: Buffer;
  readonly #side: Side;
  readonly #own: Hello;
  readonly #events: LinkEvents;
  readonly #deadline: NodeJS.Timeout;
  readonly #calls = new Map<number, OpenCall>();
  #other: Hello | undefined;
  #proven = false;
  #calledLast = 0;

  constructor(socket: Socket, key: Buffer, side: Side, self: Name, events: LinkEvents) {
    this.#key = key;
    this.#side = side;
    this.#own = makeHello(self);
    this.#events = events;
    this.#link = new Link(socket, { maxFrameBytes, maxBufferedBytes });
    this.#link.onFrame = (frame) => this.#receive(frame);
    this.#link.onClose = (reason) => this.#ended(reason);
    this.#deadline = setTimeout(() => this.close('no proof in time'), handshakeMs);
    this.#link.send(channels.broadcast, this.#own);
  }

  get closed(): boolean {
    return this.#link.closed;
  }

  notify(type: string, body: object): void {
    this.#link.send(channels.broadcast, { type, body });
  }

  call(type: string, body: object, timeoutMs: number, done: Done): void {
    if (this.#link.closed || this.#calls.size >= maxCalls) {
      queueMicrotask(() => done(undefined));
      return;
    }
    this.#calledLast += 1;
    const id = this.#calledLast;
    const timer = setTimeout(() => this.#settle(id, undefined), timeoutMs);
    this.#calls.set(id, { done, timer });
    this.#link.send(channels.broadcast, { type, id, body });
  }

  sendBatch(batch: Buffer): void {
    const header = { channel: channels.broadcast, kind: kinds.batch, epoch: 0, seq: 0 };
    this.#link.forward(header, batch);
  }

  close(reason: string): void {
    this.#link.close(reason);
  }

  #receive(frame: Frame): void {
    if (frame.kind === kinds.batch && this.#proven) {
      this.#events.onBatch(frame.body);
      return;
    }
    const body = frame.kind === kinds.words ? parseBody(frame.body) : undefined;
    if (body === undefined) {
      this.close('a frame that is none');
    } else if (this.#proven) {
      this.#word(body);
    } else if (this.#other === undefined) {
      this.#greeted(body);
    } else if (proves(body, this.#key, this.#side, this.#own, this.#other)) {
      clearTimeout(this.#deadline);
      this.#proven = true;
      if (!this.#events.onProven(this.#other)) this.close('not welcome');
    } else {
      this.close('the other end does not prove that it belongs to us');
    }
  }

  #greeted(body: object): void {
    const other = parseHello(body);
    if (other === undefined || other.slot === this.#own.slot) {
      this.close('no hello');
      return;
    }
    this.#other = other;
    const mac = proofOf(this.#key, this.#side, this.#own, other).toString('base64');
    this.#link.send(channels.broadcast, { type: 'proof', mac });
  }

  #word(word: { readonly type: string; readonly id?: unknown; readonly body?: unknown }): void {
    const { type, id, body } = word;
    if (type === 'reply' && typeof id === 'number') {
      this.#settle(id, body);
      return;
    }
    this.#events.onWord(type, body, (reply) => {
      if (typeof id === 'number')
        this.#link.send(channels.broadcast, { type: 'reply', id, body: reply });
    });
  }

  #settle(id: number, reply: unknown): void {
    const call = this.#calls.get(id);
    if (call === undefined) return;
    this.#calls.delete(id);
    clearTimeout(call.timer);
    call.done(reply);
  }

  #ended(reason: string): void {
    clearTimeout(this.#deadline);
    this.#events.onEnd(reason);
    for (const id of this.#calls.keys()) this.#settle(id, undefined);
  }
}
