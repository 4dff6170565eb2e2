import { MemoryOnce } from './memory-once.ts';
import { onceStoreContract } from './once-contract.ts';

onceStoreContract('memory', (clock) => ({
  store: new MemoryOnce(clock),
  dispose: async () => {},
}));
