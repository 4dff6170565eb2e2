/**
 * Every worker linked to every other, over Unix sockets in the workers' own directory. The worker with the lower slot
 * connects. What the supervisor calls a member is connected to until it answers; a link to a worker that has left the
 * members (it drains) lives on until it ends by itself.
 */
import { readdirSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { join } from 'node:path';
import { messageOf, SallyportError } from '../../common/base/errors.ts';
import type { Logger } from '../../common/base/logger.ts';
import type { Member } from '../../common/ipc/messages.ts';
import type { Name, Side } from './handshake.ts';
import { PeerLink } from './peer-link.ts';
import type { Handler, PeerListener, Peers, View } from './ports.ts';

/** Connections that have not proven themselves; there are as many honest ones as there are workers. */
const maxUnproven = 1_100;
const retryMs = [10, 20, 50, 100, 250] as const;
const socketPattern = /^peer-(\d+)-\d+\.sock$/;

export interface MeshOptions {
  readonly slot: number;
  readonly generation: number;
  /** Shared by the workers of a group. */
  readonly key: Buffer;
  readonly logger: Logger;
  /** Where the sockets are; relative to the working directory, which it is by default. MUST be closed to others. */
  readonly directory?: string;
}

interface Linked {
  readonly generation: number;
  readonly link: PeerLink;
}

export class Mesh implements Peers {
  readonly slot: number;
  onBatch: (from: number, batch: Buffer) => void = () => {};
  readonly #generation: number;
  readonly #key: Buffer;
  readonly #logger: Logger;
  readonly #directory: string;
  readonly #server: Server;
  readonly #handlers = new Map<string, Handler>();
  readonly #listeners: PeerListener[] = [];
  readonly #links = new Map<number, Linked>();
  readonly #linkedSlots = new Set<number>();
  readonly #unproven = new Set<PeerLink>();
  /** Slots that are being connected to, each with the timer or the attempt under way. */
  readonly #dialling = new Map<number, { readonly generation: number; timer?: NodeJS.Timeout }>();
  #members = new Map<number, Member>();
  #view: View | undefined;
  #toSelf: (() => void)[] = [];
  #closed = false;

  constructor(options: MeshOptions) {
    this.slot = options.slot;
    this.#generation = options.generation;
    this.#key = options.key;
    this.#logger = options.logger;
    this.#directory = options.directory ?? '.';
    this.#server = createServer((socket) => this.#accept(socket));
  }

  get view(): View | undefined {
    return this.#view;
  }

  get linked(): ReadonlySet<number> {
    return this.#linkedSlots;
  }

  /** Resolves when others can connect. @throws SallyportError `io` */
  async start(): Promise<void> {
    this.#removeStale();
    const path = this.#socketPath({ slot: this.slot, generation: this.#generation });
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', (error) => {
        reject(
          new SallyportError('io', `peers cannot connect: ${error.message}`, { cause: error }),
        );
      });
      this.#server.listen({ path }, resolve);
    });
  }

  /**
   * @param change counts the supervisor's announcements, the same for every worker: a member that came and went leaves
   * the same members, but not the same view.
   */
  setMembers(members: readonly Member[], change = 0): void {
    if (this.#closed) return;
    this.#members = new Map(members.map((member) => [member.slot, member]));
    for (const [slot, { generation, timer }] of this.#dialling) {
      if (this.#members.get(slot)?.generation === generation) continue;
      clearTimeout(timer);
      this.#dialling.delete(slot);
    }
    for (const { slot, generation } of members) {
      const old = this.#links.get(slot);
      // The slot was given to a new process: what is left of the old one's link is no news of it.
      if (old !== undefined && old.generation < generation) old.link.close('replaced');
      if (slot > this.slot && !this.#dialling.has(slot)) this.#dial({ slot, generation }, 0);
    }
    const sorted = members.toSorted((a, b) => a.slot - b.slot);
    const names = sorted.map(({ slot, generation }) => `${slot}:${generation}`);
    const view: View = {
      id: `${names.join()} ${change}`,
      slots: sorted.map(({ slot }) => slot),
    };
    if (view.id === this.#view?.id) return;
    this.#view = view;
    for (const listener of this.#listeners) listener.onView(view);
  }

  notify(slot: number, type: string, body: object): boolean {
    if (slot === this.slot) {
      this.#loop(() => this.#dispatch(slot, type, body, () => {}));
      return true;
    }
    const linked = this.#links.get(slot);
    linked?.link.notify(type, body);
    return linked !== undefined;
  }

  call(
    slot: number,
    type: string,
    body: object,
    timeoutMs: number,
    done: (reply: unknown) => void,
  ): void {
    if (slot === this.slot) {
      this.#callSelf(type, body, timeoutMs, done);
      return;
    }
    const linked = this.#links.get(slot);
    if (linked === undefined) queueMicrotask(() => done(undefined));
    else linked.link.call(type, body, timeoutMs, done);
  }

  handle(type: string, handler: Handler): void {
    this.#handlers.set(type, handler);
  }

  listen(listener: PeerListener): void {
    this.#listeners.push(listener);
  }

  sendBatch(slot: number, batch: Buffer): boolean {
    const linked = this.#links.get(slot);
    linked?.link.sendBatch(batch);
    return linked !== undefined;
  }

  cut(slot: number, reason: string): void {
    this.#links.get(slot)?.link.close(reason);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const { timer } of this.#dialling.values()) clearTimeout(timer);
    for (const link of this.#unproven) link.close('closing');
    for (const { link } of this.#links.values()) link.close('closing');
    if (!this.#server.listening) return;
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
  }

  #socketPath({ slot, generation }: Name): string {
    return join(this.#directory, `peer-${slot}-${generation}.sock`);
  }

  /** A slot is one process's at a time: what sockets there are of this one belong to nobody any more. */
  #removeStale(): void {
    for (const name of readdirSync(this.#directory)) {
      if (Number(socketPattern.exec(name)?.[1]) !== this.slot) continue;
      rmSync(join(this.#directory, name), { force: true });
    }
  }

  #dial(to: Name, attempt: number): void {
    if (this.#closed || this.#links.has(to.slot)) return;
    const dialling: { readonly generation: number; timer?: NodeJS.Timeout } = {
      generation: to.generation,
    };
    this.#dialling.set(to.slot, dialling);
    const again = (): void => {
      if (this.#dialling.get(to.slot) !== dialling) return;
      const waitMs = retryMs[Math.min(attempt, retryMs.length - 1)];
      dialling.timer = setTimeout(() => this.#dial(to, attempt + 1), waitMs);
    };
    const socket = connect({ path: this.#socketPath(to) });
    socket.once('error', again);
    socket.once('connect', () => {
      socket.off('error', again);
      if (this.#dialling.get(to.slot) === dialling) this.#greet(socket, 'connecting', to, again);
      else socket.destroy();
    });
  }

  #accept(socket: Socket): void {
    if (this.#closed || this.#unproven.size >= maxUnproven) socket.destroy();
    else this.#greet(socket, 'accepting', undefined, () => {});
  }

  /** @param expected who must be at the other end; undefined = anyone of us. */
  #greet(socket: Socket, side: Side, expected: Name | undefined, failed: () => void): void {
    let other: Name | undefined;
    const link = new PeerLink(socket, this.#key, side, this.#name, {
      onProven: (proven) => {
        this.#unproven.delete(link);
        if (expected !== undefined && !sameName(expected, proven)) return false;
        if (!this.#join(proven, link)) return false;
        other = proven;
        return true;
      },
      onWord: (type, body, reply) => {
        if (other !== undefined) this.#dispatch(other.slot, type, body, reply);
      },
      onBatch: (batch) => {
        if (other !== undefined) this.onBatch(other.slot, batch);
      },
      onEnd: (reason) => {
        this.#unproven.delete(link);
        if (other === undefined) {
          this.#logger.warn({ side, slot: expected?.slot, reason }, 'no link to a peer');
          failed();
        } else {
          this.#leave(other, link, reason);
        }
      },
    });
    this.#unproven.add(link);
  }

  get #name(): Name {
    return { slot: this.slot, generation: this.#generation };
  }

  #join(other: Name, link: PeerLink): boolean {
    if (this.#closed) return false;
    const old = this.#links.get(other.slot);
    if (old !== undefined) {
      if (old.generation > other.generation) return false;
      old.link.close('replaced');
    }
    this.#dialling.delete(other.slot);
    this.#links.set(other.slot, { generation: other.generation, link });
    this.#linkedSlots.add(other.slot);
    this.#logger.debug({ slot: other.slot, generation: other.generation }, 'peer linked');
    for (const listener of this.#listeners) listener.onUp(other.slot);
    return true;
  }

  #leave(other: Name, link: PeerLink, reason: string): void {
    if (this.#links.get(other.slot)?.link !== link) return;
    this.#links.delete(other.slot);
    this.#linkedSlots.delete(other.slot);
    if (this.#closed) return;
    this.#logger.info({ slot: other.slot, generation: other.generation, reason }, 'peer gone');
    for (const listener of this.#listeners) listener.onDown(other.slot);
    const member = this.#members.get(other.slot);
    if (member !== undefined && member.slot > this.slot) this.#dial(member, 0);
  }

  #dispatch(from: number, type: string, body: unknown, reply: (body: object) => void): void {
    const handler = this.#handlers.get(type);
    if (handler === undefined) {
      this.#logger.warn({ slot: from, type }, 'unknown word from a peer');
      return;
    }
    try {
      handler(from, body, reply);
    } catch (error) {
      // What one peer says must not end the service for everybody.
      this.#logger.error({ slot: from, type, err: messageOf(error) }, 'word from a peer failed');
      this.cut(from, 'it says what we cannot bear');
    }
  }

  #callSelf(type: string, body: object, timeoutMs: number, done: (reply: unknown) => void): void {
    let open = true;
    const settle = (reply: unknown): void => {
      if (!open) return;
      open = false;
      clearTimeout(timer);
      done(reply);
    };
    const timer = setTimeout(() => settle(undefined), timeoutMs);
    this.#loop(() => {
      this.#dispatch(this.slot, type, body, (reply) => this.#loop(() => settle(reply)));
    });
  }

  /** In order, never within the caller. */
  #loop(step: () => void): void {
    this.#toSelf.push(step);
    if (this.#toSelf.length > 1) return;
    queueMicrotask(() => {
      const steps = this.#toSelf;
      this.#toSelf = [];
      for (const each of steps) each();
    });
  }
}

function sameName(a: Name, b: Name): boolean {
  return a.slot === b.slot && a.generation === b.generation;
}
