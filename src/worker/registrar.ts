/**
 * Asks control to register an identity under a bring-your-own trust anchor when it is first seen. Control checks the
 * certificate itself; a worker's word is not enough.
 */
import type { WorkerToControl } from '../common/ipc/messages.ts';

/** Control may be down; the device then tries again. */
const answerMs = 3_000;
/** Registrations under way at once; beyond them a newcomer is refused and tries again. */
const maxPending = 64;

export class Registrar {
  readonly #toControl: (message: WorkerToControl) => void;
  readonly #pending = new Map<number, (ok: boolean) => void>();
  #lastId = 0;

  constructor(toControl: (message: WorkerToControl) => void) {
    this.#toControl = toControl;
  }

  /** Resolves when control has answered (the snapshot then knows the identity), or not in time. */
  async register(anchor: string, certificate: Buffer): Promise<boolean> {
    if (this.#pending.size >= maxPending) return false;
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
