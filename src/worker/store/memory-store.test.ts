import { keyValueStoreContract } from './key-value-store-contract.ts';
import { MemoryStore } from './memory-store.ts';

keyValueStoreContract('memory', (clock) => {
  const store = new MemoryStore(clock);
  return { store, dispose: () => store.close() };
});
