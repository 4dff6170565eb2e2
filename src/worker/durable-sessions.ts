/** Fits what durable sessions are made of: the store, the index of what they want, and word of changes between workers. */
import { messageOf } from '../common/base/errors.ts';
import type { Logger } from '../common/base/logger.ts';
import type { PrincipalName } from '../common/base/principal.ts';
import type { Broker } from './broker/broker.ts';
import { DurableIndex } from './broker/durable-index.ts';
import type { Message } from './broker/message.ts';
import type { Peering } from './peering/peering.ts';
import { homeOf } from './peering/rendezvous.ts';
import { SessionNews } from './peering/session-news.ts';
import { systemTimers } from './routes/timers.ts';
import type { OpenedStores } from './store/open.ts';
import type { SessionPorts } from './store/open-sessions.ts';

export interface DurableSessionsParts {
  readonly stores: Pick<OpenedStores, 'sessions' | 'lookAfterSessions'>;
  readonly peering: Peering;
  readonly broker: Broker;
  readonly logger: Logger;
}

export class DurableSessions {
  readonly index: DurableIndex;
  readonly #parts: DurableSessionsParts;
  readonly #news: SessionNews;

  constructor(parts: DurableSessionsParts) {
    const { stores, peering, broker, logger } = parts;
    const { peers, crossing } = peering;
    this.#parts = parts;
    this.index = new DurableIndex({ sessions: stores.sessions, groups: broker.groups });
    this.#news = new SessionNews({ peers, crossing, index: this.index, logger });
  }

  /** After the worker is linked to the others and before it accepts a message. @throws SallyportError `io` */
  async load(): Promise<void> {
    await this.index.rescan();
    this.membersChanged();
  }

  changed(key: string): Promise<void> {
    return this.#news.changed(key);
  }

  /** Sessions may have lost their worker, or their identity unseen. */
  membersChanged(): void {
    if (!this.index.loaded) return;
    const { stores, logger } = this.#parts;
    stores.lookAfterSessions().catch((error: unknown) => {
      logger.error({ err: messageOf(error) }, 'sessions could not be looked after');
    });
  }

  /** The identity is gone for good: its sessions are, too. */
  discard(principal: PrincipalName): void {
    const { stores, peering, logger } = this.#parts;
    if (!this.index.loaded || !isHome(peering, principal)) return;
    stores.sessions.discard(principal).catch((error: unknown) => {
      logger.error({ principal, err: messageOf(error) }, 'its sessions could not be removed');
    });
  }

  close(): void {
    this.#news.close();
  }
}

interface SessionPortParts {
  readonly peering: () => Peering;
  readonly isRevoked: (principal: PrincipalName) => boolean;
  readonly durable: () => DurableSessions;
  readonly publishWill: (principal: PrincipalName, message: Message) => Promise<void>;
  readonly count: (name: string, by?: number) => void;
}

/** The store is there before anything else of this; it asks later. */
export function sessionPorts({
  peering,
  isRevoked,
  durable,
  publishWill,
  count,
}: SessionPortParts): SessionPorts {
  return {
    workers: {
      slots: () => slotsOf(peering()),
      isPresent: (slot) => slotsOf(peering()).includes(slot) || peering().peers.linked.has(slot),
      isHome: (principal) => isHome(peering(), principal),
    },
    isRevoked,
    timers: systemTimers,
    onSessionChanged: (key) => durable().changed(key),
    publishWill,
    count,
  };
}

function slotsOf({ peers }: Peering): readonly number[] {
  return peers.view?.slots ?? [];
}

function isHome(peering: Peering, principal: PrincipalName): boolean {
  const slots = slotsOf(peering);
  return slots.length > 0 && homeOf(principal, slots) === peering.peers.slot;
}
