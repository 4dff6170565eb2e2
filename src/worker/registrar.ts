/**
 * Asks control to register an identity under a bring-your-own trust anchor when it is first seen. Control checks the
 * certificate itself; a worker's word is not enough.
 */
import { hash, randomInt } from 'node:crypto';
import type { WorkerToControl } from '../common/ipc/messages.ts';

/** Control may be down; the device then tries again. */
const answerMs = 3_000;
/** Registrations under way at once; beyond them a newcomer is refused and tries again. */
const maxPending = 64;
const askAgainMs = 1_000;

export class Registrar {
  readonly #toControl: (message: WorkerToControl) => void;
  readonly #pending = new Map<number, (ok: boolean) => void>();
  /** Hash of the certificate → the answer, under way or just given. */
  readonly #underWay = new Map<string, Promise<boolean>>();
  /** Begins anywhere, so that a reply to the worker that had this slot before is nobody's. */
  #lastId = randomInt(1, 2 ** 40);

  constructor(toControl: (message: WorkerToControl) => void) {
    this.#toControl = toControl;
  }

  /** Resolves when control has answered (the snapshot then knows the identity), or not in time. */
  register(anchor: string, certificate: Buffer): Promise<boolean> {
    const key = hash('sha256', certificate, 'base64');
    // One certificate that connects again and again takes one place.
    const known = this.#underWay.get(key);
    if (known !== undefined) return known;
    if (this.#underWay.size >= maxPending) return Promise.resolve(false);
    const answer = this.#ask(anchor, certificate);
    this.#underWay.set(key, answer);
    void answer.finally(() => {
      // A refusal stands for a while: asking again at once would take other newcomers' turns.
      setTimeout(() => this.#underWay.delete(key), askAgainMs).unref();
    });
    return answer;
  }

  #ask(anchor: string, certificate: Buffer): Promise<boolean> {
    this.#lastId += 1;
    const id = this.#lastId;
    return new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => this.replied(id, false), answerMs);
      this.#pending.set(id, (ok) => {
        clearTimeout(timer);
        resolve(ok);
      });
      this.#toControl({
        type: 'register',
        id,
        anchor,
        certificate: certificate.toString('base64'),
      });
    });
  }

  replied(id: number, ok: boolean): void {
    const resolve = this.#pending.get(id);
    this.#pending.delete(id);
    resolve?.(ok);
  }
}
