/** Several workers' peering in one process, over real sockets, with one pair of hands on all their clocks: for tests. */
import { SallyportError } from '../../common/base/errors.ts';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { silentLogger } from '../../common/base/logger.ts';
import { principalName } from '../../common/base/principal.ts';
import { noProperties } from '../../common/codec/mqtt/packets.ts';
import type { CloneRule } from '../../common/config/policy-document.ts';
import type { Member } from '../../common/ipc/messages.ts';
import type { Message } from '../broker/message.ts';
import type { Suspicion } from './clone-watch.ts';
import type { ConductRules } from './identity-conduct.ts';
import { Peering } from './peering.ts';

export const groupKey = Buffer.alloc(32, 9);

export interface Hands {
  now: number;
}

export interface Worker {
  readonly member: Member;
  readonly peering: Peering;
  /** Topics of the messages that crossed to it. */
  readonly received: string[];
}

/** What a home has said. */
export interface ReportedClone {
  readonly slot: number;
  readonly suspicion: Suspicion;
  readonly rule: CloneRule;
}

export class PeeringGroup implements AsyncDisposable {
  readonly hands: Hands = { now: 1_700_000_000_000 };
  readonly directory = mkdtempSync(join(tmpdir(), 'sallyport-peers-'));
  sessionsPerIdentity = 10;
  /** Undefined: nobody is judged. */
  rules: ConductRules | undefined;
  readonly clones: ReportedClone[] = [];
  readonly #workers = new Map<number, Worker>();
  #generation = 0;
  #changes = 0;

  static async of(...slots: readonly number[]): Promise<PeeringGroup> {
    const group = new PeeringGroup();
    for (const slot of slots) await group.start(slot);
    group.announce();
    await group.linked();
    return group;
  }

  /** A worker that leaves the members before anyone knew it would be reached by nobody. */
  async linked(): Promise<void> {
    await Promise.all(this.workers.map(({ peering }) => peering.crossing.interestSettled()));
  }

  worker(slot: number): Worker {
    const worker = this.#workers.get(slot);
    if (worker === undefined) throw new SallyportError('internal', `no worker in slot ${slot}`);
    return worker;
  }

  get workers(): Worker[] {
    return [...this.#workers.values()];
  }

  /** A process of its own would be told of nobody yet. */
  async start(slot: number): Promise<Worker> {
    this.#generation += 1;
    const member: Member = { slot, generation: this.#generation, pid: process.pid };
    const peering = new Peering({
      slot,
      generation: member.generation,
      key: groupKey,
      clock: { now: () => this.hands.now, monotonic: () => this.hands.now },
      logger: silentLogger,
      sessionsPerIdentity: () => this.sessionsPerIdentity,
      rules: () => this.rules,
      onClone: (suspicion, rule) => this.clones.push({ slot, suspicion, rule }),
      directory: this.directory,
    });
    const received: string[] = [];
    peering.crossing.onMessage = (message) => received.push(message.topic);
    await peering.start();
    const worker = { member, peering, received };
    this.#workers.set(slot, worker);
    return worker;
  }

  /** As the supervisor does when members come or go. */
  announce(slots: readonly number[] = [...this.#workers.keys()]): void {
    const members = slots.map((slot) => this.worker(slot).member);
    this.#changes += 1;
    for (const { peering } of this.#workers.values()) peering.setMembers(members, this.#changes);
  }

  /** Its links end at once; the others hear of the members later, by `announce`. */
  async kill(slot: number): Promise<void> {
    const { peering } = this.worker(slot);
    this.#workers.delete(slot);
    await peering.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const slot of this.#workers.keys()) await this.kill(slot);
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Turns of the event loop until `look` is true. */
export async function eventually(what: string, look: () => boolean): Promise<void> {
  const deadline = performance.now() + 30_000;
  while (!look()) {
    if (performance.now() > deadline) throw new SallyportError('internal', `not in time: ${what}`);
    await nextTurn();
  }
}

export function messageTo(topic: string, payload = 'x'): Message {
  return {
    topic,
    payload: Buffer.from(payload),
    qos: 1,
    retain: false,
    properties: noProperties,
    publisher: principalName('device', 'p'),
    publisherSession: 'device/p p',
    delivery: undefined,
    expiresAt: undefined,
  };
}
