import { MemorySessionStore } from './memory-session-store.ts';
import type { SharedSessions } from './memory-session-store.ts';
import { sessionStoreContract } from './session-store-contract.ts';

sessionStoreContract('memory', (surroundings) => {
  const shared: SharedSessions = new Map();
  return {
    store: new MemorySessionStore({ ...surroundings, slot: 0, shared }),
    other: new MemorySessionStore({ ...surroundings, slot: 1, shared }),
    async dispose() {},
  };
});
