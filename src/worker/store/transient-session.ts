/** A session that nothing is stored of: it ends with its connection, and has no queue. */
import type { OwnedSession, SessionId, SessionWill } from '../broker/sessions.ts';

const noSubscriptions: OwnedSession['subscriptions'] = new Map();
const nothing: readonly never[] = Object.freeze([]);

/** @param endedWill of the session that it has replaced. */
export function transientSession(id: SessionId, endedWill?: SessionWill): OwnedSession {
  return {
    id,
    present: false,
    subscriptions: noSubscriptions,
    inFlight: nothing,
    received: nothing,
    endedWill,
    async subscribe() {},
    async unsubscribe() {},
    queued: async () => nothing,
    read: async () => nothing,
    has: () => false,
    async remove() {},
    async saveInFlight() {},
    async forgetReceived() {},
    async leave() {},
    async end() {},
  };
}
