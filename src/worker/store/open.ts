/** Opens everything that a worker keeps on disk, at once. */
import type { Clock } from '../../common/base/clock.ts';
import { messageOf } from '../../common/base/errors.ts';
import type { Logger } from '../../common/base/logger.ts';
import type { Durability } from '../../common/ipc/snapshot.ts';
import type { CommandMailbox, MailboxLimits } from '../broker/commands.ts';
import type { RetainedLimits, RetainedStore } from '../broker/retained.ts';
import type { SessionLimits, SessionStore } from '../broker/sessions.ts';
import type { OnceStore } from '../credentials/ports.ts';
import type { RecordSeal, SpoolStore } from '../routes/ports.ts';
import { CommandMailboxes } from './command-mailbox.ts';
import { DiskSpace } from './disk-space.ts';
import { LmdbEnvironment } from './lmdb-environment.ts';
import { openSessions } from './open-sessions.ts';
import type { SessionPorts } from './open-sessions.ts';
import { RecordCipher } from './record-cipher.ts';
import { RetainedMessages } from './retained-messages.ts';

/** Expired messages are met when their topic is asked for; this is for those that nobody asks for. */
const sweepEveryMs = 60_000;

export type StoreLimits = RetainedLimits &
  MailboxLimits &
  SessionLimits & { readonly diskReserveBytes: number };

export interface StoreOptions {
  /** This worker's. */
  readonly slot: number;
  /** Relative to the working directory, which is the worker's own. */
  readonly directory: string;
  /** 32 bytes: `WorkerKeys.storage`. */
  readonly key: Buffer;
  readonly durability: () => Durability;
  readonly limits: () => StoreLimits;
  readonly sessions: SessionPorts;
  readonly clock: Clock;
  readonly logger: Logger;
}

export interface OpenedStores {
  readonly retained: RetainedStore;
  readonly mailbox: CommandMailbox;
  readonly sessions: SessionStore;
  /** What may come once only, such as nonces. */
  readonly once: OnceStore;
  /** Workers have come or gone: looks for sessions that have lost theirs. Resolves when all has been seen. */
  lookAfterSessions(): Promise<void>;
  readonly spools: SpoolStore;
  /** For what is put into the spools. */
  readonly seal: RecordSeal;
  /** Whether there is room for what is new. */
  hasRoom(): boolean;
  /** Writes nothing until `goOn`, because another worker opens the store. Resolves when nothing is under way. */
  hold(): Promise<void>;
  goOn(): void;
  /** Writes what is on its way and closes the files. */
  close(): Promise<void>;
}

/** @throws SallyportError `io` when the store cannot be opened. */
export function openStores(options: StoreOptions): OpenedStores {
  const { slot, directory, durability, limits, clock, logger } = options;
  const environment = LmdbEnvironment.open({
    directory,
    names: ['retained', 'commands'],
    clock,
    mayWrite: () => !disk.exhausted,
  });
  const disk = new DiskSpace({
    directory,
    reserveBytes: () => limits().diskReserveBytes,
    spareBytes: () => environment.spareBytes(),
    clock,
    logger,
  });
  const cipher = new RecordCipher(options.key);
  const shared = { cipher, limits, clock, logger };
  const retained = new RetainedMessages({
    store: environment.store('retained'),
    durability,
    ...shared,
  });
  const mailbox = new CommandMailboxes({
    store: environment.store('commands'),
    durability,
    ...shared,
  });
  const once = environment.once();
  const spools = environment.spools(slot);
  const sessions = openSessions(options.sessions, {
    tables: environment.sessions(slot),
    ids: spools.ids,
    ...shared,
  });
  const sweeper = setInterval(() => {
    for (const store of [retained, mailbox, once]) {
      store.sweep().catch((error: unknown) => {
        logger.warn({ err: messageOf(error) }, 'what has expired was not removed');
      });
    }
  }, sweepEveryMs).unref();
  return {
    retained,
    mailbox,
    sessions: sessions.store,
    once,
    lookAfterSessions: () => sessions.reaper.look(),
    spools,
    seal: cipher,
    hasRoom: () => !disk.scarce,
    hold: () => environment.hold(),
    goOn: () => environment.goOn(),
    async close() {
      clearInterval(sweeper);
      await sessions.reaper.close();
      await environment.close();
    },
  };
}
