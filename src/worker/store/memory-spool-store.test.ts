import { MemorySpoolStore } from './memory-spool-store.ts';
import { spoolStoreContract } from './spool-store-contract.ts';

spoolStoreContract('memory', (micros) => ({
  store: new MemorySpoolStore(micros),
  async dispose() {},
}));
