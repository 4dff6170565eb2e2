/** What the parts of the session store share. */
import type { Clock } from '../../common/base/clock.ts';
import { messageOf, SallyportError } from '../../common/base/errors.ts';
import type { Logger } from '../../common/base/logger.ts';
import type { Message, QueuedId } from '../broker/message.ts';
import { decodeMessage, encodeMessage } from '../broker/message-codec.ts';
import type { QueuedMessage, SessionId, SessionLimits, SessionWill } from '../broker/sessions.ts';
import type { LmdbIds } from './lmdb-ids.ts';
import { decodeEntry } from './queue-entries.ts';
import type { RecordSeal } from '../routes/ports.ts';
import type { StoredWill } from './session-record.ts';
import type { SessionTables } from './session-tables.ts';
import type { Workers } from './session-presence.ts';

export interface SessionStoreOptions {
  readonly tables: SessionTables;
  readonly ids: LmdbIds;
  readonly cipher: RecordSeal;
  readonly workers: Workers;
  readonly limits: () => SessionLimits;
  /** Resolves when every other worker has been told that the session is not what it was. */
  readonly onSessionChanged: (key: string) => Promise<void>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly count: (name: string, by?: number) => void;
}

/** Messages at rest: sealed once, however many queues they lie in. */
export class SealedMessages {
  readonly #cipher: RecordSeal;
  readonly #logger: Logger;

  constructor(cipher: RecordSeal, logger: Logger) {
    this.#cipher = cipher;
    this.#logger = logger;
  }

  seal(id: QueuedId, message: Message): Buffer {
    return this.#cipher.seal(queuedContext(id), plainOf(message));
  }

  /** undefined when it cannot be read: a damaged block must not deny a client the rest of its queue. */
  open(id: QueuedId, entry: Buffer): QueuedMessage | undefined {
    return this.#attempt('a queued message cannot be read', () => {
      const { head, sealed } = decodeEntry(entry);
      const message = decodeMessage(this.#cipher.open(queuedContext(id), sealed));
      const { qos, retain, identifiers } = head;
      return { id, message, qos, retain, identifiers };
    });
  }

  sealWill(session: SessionId, { message, delaySeconds }: SessionWill): StoredWill {
    return { delaySeconds, sealed: this.#cipher.seal(willContext(session), plainOf(message)) };
  }

  openWill(session: SessionId, { delaySeconds, sealed }: StoredWill): SessionWill | undefined {
    return this.#attempt('a will cannot be read', () => ({
      message: decodeMessage(this.#cipher.open(willContext(session), sealed)),
      delaySeconds,
    }));
  }

  #attempt<T>(failure: string, read: () => T): T | undefined {
    try {
      return read();
    } catch (error) {
      this.#logger.error({ err: messageOf(error) }, failure);
      return undefined;
    }
  }
}

function plainOf(message: Message): Buffer {
  return encodeMessage(
    message.delivery === undefined ? message : { ...message, delivery: undefined },
  );
}

function queuedContext(id: QueuedId): string {
  return `queued ${id}`;
}

function willContext(session: SessionId): string {
  return `will ${session}`;
}

export function stale(): SallyportError {
  return new SallyportError('busy', 'another connection has the session');
}
