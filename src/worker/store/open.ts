/** Opens everything that a worker keeps on disk, at once. */
import type { Clock } from '../../common/base/clock.ts';
import { messageOf } from '../../common/base/errors.ts';
import type { Logger } from '../../common/base/logger.ts';
import type { Durability } from '../../common/ipc/snapshot.ts';
import type { RetainedLimits, RetainedStore } from '../broker/retained.ts';
import { LmdbEnvironment } from './lmdb-environment.ts';
import { RecordCipher } from './record-cipher.ts';
import { RetainedMessages } from './retained-messages.ts';

/** Expired messages are met when their topic is asked for; this is for those that nobody asks for. */
const sweepEveryMs = 60_000;

export interface StoreOptions {
  /** Relative to the working directory, which is the worker's own. */
  readonly directory: string;
  /** 32 bytes: `WorkerKeys.storage`. */
  readonly key: Buffer;
  readonly durability: () => Durability;
  readonly limits: () => RetainedLimits;
  readonly clock: Clock;
  readonly logger: Logger;
}

export interface OpenedStore {
  readonly retained: RetainedStore;
  /** Writes what is on its way and closes the files. */
  close(): Promise<void>;
}

/** @throws SallyportError `io` when the store cannot be opened. */
export function openRetainedStore(options: StoreOptions): OpenedStore {
  const { directory, clock, logger } = options;
  const environment = LmdbEnvironment.open({ directory, names: ['retained'], clock });
  const retained = new RetainedMessages({
    store: environment.store('retained'),
    cipher: new RecordCipher(options.key),
    durability: options.durability,
    limits: options.limits,
    clock,
    logger,
  });
  const sweeper = setInterval(() => {
    retained.sweep().catch((error: unknown) => {
      logger.warn({ err: messageOf(error) }, 'expired retained messages not removed');
    });
  }, sweepEveryMs).unref();
  return {
    retained,
    async close() {
      clearInterval(sweeper);
      await environment.close();
    },
  };
}
