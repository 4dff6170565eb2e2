/** Fits the parts of the session store together. */
import type { PrincipalName } from '../../common/base/principal.ts';
import type { Message } from '../broker/message.ts';
import type { Timers } from '../routes/ports.ts';
import { LmdbSessionStore } from './lmdb-session-store.ts';
import { SessionPresence } from './session-presence.ts';
import type { Workers } from './session-presence.ts';
import { SessionReaper } from './session-reaper.ts';
import { SessionRemains } from './session-remains.ts';
import { SealedMessages } from './session-store-parts.ts';
import type { SessionStoreOptions } from './session-store-parts.ts';

/** What sessions need of the rest of the worker. */
export interface SessionPorts {
  readonly workers: Workers;
  /** Gone for good: nothing is kept of its sessions, and whoever has the name one day begins anew. */
  readonly isRevoked: (principal: PrincipalName) => boolean;
  readonly timers: Timers;
  /** Resolves when every other worker that is there has been told to read the session anew. */
  readonly onSessionChanged: (key: string) => Promise<void>;
  /** Judges the will by today's policy and publishes it. */
  readonly publishWill: (principal: PrincipalName, message: Message) => Promise<void>;
  readonly count: (name: string, by?: number) => void;
}

export interface OpenedSessions {
  readonly store: LmdbSessionStore;
  readonly reaper: SessionReaper;
}

export function openSessions(
  ports: SessionPorts,
  parts: Omit<SessionStoreOptions, 'workers' | 'onSessionChanged' | 'count'>,
): OpenedSessions {
  const options = { ...parts, ...ports };
  const { tables, cipher, logger } = parts;
  const remains = new SessionRemains(tables, logger);
  const reaper = new SessionReaper({
    ...options,
    presence: new SessionPresence(tables, ports.workers),
    remains,
    messages: new SealedMessages(cipher, logger),
  });
  return { store: new LmdbSessionStore(options, remains, reaper), reaper };
}
