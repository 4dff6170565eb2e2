/**
 * Word of durable sessions that have changed, so that every worker's index of what they want follows: the owner commits
 * the session, then tells its key, and each peer reads the record again before it acknowledges.
 *
 * What a worker told over a link that has broken may be lost: over the next one it asks its peer to read all again. What
 * a worker had told only some of when it died is found by reading all again after it has gone.
 */
import { messageOf } from '../../common/base/errors.ts';
import type { Logger } from '../../common/base/logger.ts';
import { isSessionKey } from '../broker/session-key.ts';
import type { DurableIndex } from '../broker/durable-index.ts';
import type { NewsKind } from './announcements.ts';
import type { MeshCrossing } from './crossing.ts';
import type { PeerListener, Peers, View } from './ports.ts';
import { inWords, listOf } from './word-size.ts';

/** After a worker has gone its sessions come back first; the reading can wait. */
const rescanAfterMs = 5_000;
/** When the store cannot be read. */
const retryMs = 500;

export interface SessionNewsParts {
  readonly peers: Peers;
  readonly crossing: MeshCrossing;
  readonly index: Pick<DurableIndex, 'reload' | 'rescan' | 'loaded'>;
  readonly logger: Logger;
  /** Milliseconds; default 5 s. */
  readonly rescanAfterMs?: number;
}

export class SessionNews implements NewsKind, PeerListener {
  readonly type = 'sessions';
  readonly #parts: SessionNewsParts;
  readonly #changed: () => void;
  readonly #keys = new Set<string>();
  #told = false;
  #rescan: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(parts: SessionNewsParts) {
    this.#parts = parts;
    this.#changed = parts.crossing.announce(this).changed;
    parts.peers.listen(this);
  }

  /** After the change was committed. Resolves when this worker and every live one act on it; or after a second. */
  async changed(key: string): Promise<void> {
    const { index, crossing } = this.#parts;
    this.#told = true;
    this.#keys.add(key);
    this.#changed();
    await Promise.all([index.reload(key), crossing.interestSettled()]);
  }

  news(): readonly object[] {
    if (this.#keys.size === 0) return [];
    const words = inWords([...this.#keys], (key) => key.length);
    this.#keys.clear();
    return words.map((keys) => ({ keys }));
  }

  whole(): readonly object[] {
    return this.#told ? [{ keys: 'all' }] : [];
  }

  heard(_from: number, word: unknown): boolean | Promise<boolean> {
    const keys = parseKeys(word);
    if (keys === undefined) return false;
    const { index } = this.#parts;
    // Whoever has not read them all yet accepts no messages, and will read them later than now.
    if (keys === 'all') return index.loaded ? this.#until(() => index.rescan()) : true;
    const read = this.#until(() => Promise.all(keys.map((key) => index.reload(key))));
    return index.loaded ? read : true;
  }

  forget(_from: number): void {}

  onUp(_slot: number): void {}

  onDown(_slot: number): void {
    if (this.#closed || this.#rescan !== undefined || !this.#parts.index.loaded) return;
    this.#rescan = setTimeout(() => {
      this.#rescan = undefined;
      void this.#until(() => this.#parts.index.rescan());
    }, this.#parts.rescanAfterMs ?? rescanAfterMs).unref();
  }

  onView(_view: View): void {}

  close(): void {
    this.#closed = true;
    clearTimeout(this.#rescan);
  }

  /** Again and again: an index that has missed something would lose messages in silence. */
  async #until(read: () => Promise<unknown>): Promise<boolean> {
    for (;;) {
      try {
        await read();
        return true;
      } catch (error) {
        if (this.#isClosed()) return true;
        this.#parts.logger.error({ err: messageOf(error) }, 'sessions could not be read');
        await new Promise((resolve) => setTimeout(resolve, retryMs).unref());
      }
    }
  }

  #isClosed(): boolean {
    return this.#closed;
  }
}

function parseKeys(word: unknown): readonly string[] | 'all' | undefined {
  if (typeof word !== 'object' || word === null) return undefined;
  const { keys }: Partial<Record<string, unknown>> = { ...word };
  return keys === 'all' ? keys : listOf(keys, isSessionKey);
}
