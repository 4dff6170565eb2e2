/**
 * The bodies that are read before it is known who has sent them, of all connections together. Who only says that many bytes
 * will come takes as much room as who sends them, so no network has more than its share.
 */
import type { LimitsDocument } from '../../../../common/config/policy-document.ts';
import { networkOf } from '../../../../common/base/source-network.ts';

type BodyLimits = Pick<LimitsDocument, 'unprovenBytes' | 'unprovenBodyBytes'>;

/** Of all of it, for one network; one body it may send in any case. */
const shareOfNetwork = 1 / 4;

export class UnprovenBodies {
  readonly #limits: () => BodyLimits;
  readonly #ofNetwork = new Map<string, number>();
  #bytes = 0;

  constructor(limits: () => BodyLimits) {
    this.#limits = limits;
  }

  /** @returns how to give the room back, once; undefined when there is none. */
  take(address: string, bytes: number): (() => void) | undefined {
    const { unprovenBytes, unprovenBodyBytes } = this.#limits();
    const network = networkOf(address);
    const held = this.#ofNetwork.get(network) ?? 0;
    const share = Math.max(unprovenBodyBytes, unprovenBytes * shareOfNetwork);
    if (this.#bytes + bytes > unprovenBytes || held + bytes > share) return undefined;
    this.#bytes += bytes;
    this.#ofNetwork.set(network, held + bytes);
    return () => {
      this.#bytes -= bytes;
      const left = (this.#ofNetwork.get(network) ?? 0) - bytes;
      if (left > 0) this.#ofNetwork.set(network, left);
      else this.#ofNetwork.delete(network);
    };
  }
}
