/**
 * The phases of QoS 2 exchanges of a durable session on their way to its store, before the packet goes out that makes
 * them true. What changes in one turn of the event loop is stored together.
 */
import type { OwnedSession } from '../../broker/sessions.ts';
import type { OutgoingExchanges } from './outgoing-exchanges.ts';

export class ExchangeSaving {
  readonly #owned: OwnedSession;
  readonly #exchanges: OutgoingExchanges;
  #saving: Promise<void> | undefined;
  #released: number[] | undefined;
  #forgetting: Promise<void> | undefined;
  /** There once it has been needed. */
  #underWay: Set<Promise<void>> | undefined;

  constructor(owned: OwnedSession, exchanges: OutgoingExchanges) {
    this.#owned = owned;
    this.#exchanges = exchanges;
  }

  /** Resolves when what is being stored now is stored, or has failed; undefined when nothing is. */
  get underWay(): Promise<void> | undefined {
    if (this.#underWay === undefined || this.#underWay.size === 0) return undefined;
    return Promise.allSettled(this.#underWay).then(() => {});
  }

  /** Resolves when the packet identifiers of QoS 2 messages, and their phases as they are now, are stored. */
  saved(): Promise<void> {
    this.#saving ??= this.#tracked(this.#save());
    return this.#saving;
  }

  /** Resolves when the client's message with this identifier is forgotten: the next one with it is a new one. */
  forgotten(packetId: number): Promise<void> {
    this.#released ??= [];
    this.#released.push(packetId);
    this.#forgetting ??= this.#tracked(this.#forget());
    return this.#forgetting;
  }

  #tracked(step: Promise<void>): Promise<void> {
    const underWay = (this.#underWay ??= new Set());
    underWay.add(step);
    const over = (): void => void underWay.delete(step);
    step.then(over, over);
    return step;
  }

  async #save(): Promise<void> {
    await turnsEnd();
    this.#saving = undefined;
    // The identifiers of QoS 1 are stored when the connection ends: a client that is sent one again under another
    // identifier takes no harm.
    await this.#owned.saveInFlight(this.#exchanges.stored().filter(({ qos }) => qos === 2));
  }

  async #forget(): Promise<void> {
    await turnsEnd();
    const released = this.#released ?? [];
    this.#released = undefined;
    this.#forgetting = undefined;
    await this.#owned.forgetReceived(released);
  }
}

/** All packets of one read are handled by then. */
function turnsEnd(): Promise<void> {
  return Promise.resolve();
}
