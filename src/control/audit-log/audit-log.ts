/**
 * Every administrative act as one line of a hash chain, durable before it is acknowledged. Synchronous: a caller that
 * has returned from `append` may say that the act is on record.
 */
import { closeSync, constants, chmodSync, fstatSync, ftruncateSync, openSync } from 'node:fs';
import type { DatabaseSync } from 'node:sqlite';
import type { Clock } from '../../common/base/clock.ts';
import { messageOf, SallyportError } from '../../common/base/errors.ts';
import { sizeIfPresent, writeAll } from '../store/files.ts';
import { HeadStore } from './head-store.ts';
import { readLines } from './lines.ts';
import { chainRecord, formatRecord, parseRecord } from './record.ts';
import type { AuditEntry, AuditRecord } from './record.ts';
import { recover } from './recover.ts';
import { verifyLines } from './verify.ts';
import type { AuditHead, AuditVerdict } from './verify.ts';

/** Relative to the current directory: control's folder. */
export const auditFile = 'audit.jsonl';
const maxPage = 1000;

export interface AuditLogOptions {
  readonly path: string;
  readonly database: DatabaseSync;
  readonly clock: Clock;
}

/**
 * Repairs what a crash left. A file that somebody changed is opened too, and reported by `damaged` and `verify`: an
 * attacker who can spoil the log must not be able to stop the gateway with it.
 *
 * @throws SallyportError `io`.
 */
export function openAuditLog(options: AuditLogOptions): AuditLog {
  try {
    const { O_APPEND, O_CREAT, O_DSYNC, O_NOFOLLOW, O_RDWR } = constants;
    // O_DSYNC: Node's permission model switches fsync off, so each write waits for the disk itself.
    const flags = O_APPEND | O_CREAT | O_DSYNC | O_NOFOLLOW | O_RDWR;
    const descriptor = openSync(options.path, flags, 0o600);
    // By name: Node's permission model switches fchmod off.
    chmodSync(options.path, 0o600);
    const heads = new HeadStore(options.database);
    const { head, damaged, torn } = recover(descriptor, heads.read());
    // What comes next must not become part of a line that ends nowhere.
    if (torn) writeAll(descriptor, Buffer.from('\n'));
    heads.confirm(head);
    return new AuditLog(options, descriptor, heads, head, damaged);
  } catch (thrown) {
    if (thrown instanceof SallyportError) throw thrown;
    throw new SallyportError('io', `cannot open ${options.path}: ${messageOf(thrown)}`, {
      cause: thrown,
    });
  }
}

export class AuditLog {
  readonly #options: AuditLogOptions;
  readonly #descriptor: number;
  readonly #heads: HeadStore;
  #head: AuditHead;
  #failed = false;
  /** The last line is written and announced, and not confirmed yet. */
  #confirming: NodeJS.Immediate | undefined;
  /** When the log was opened its end was not what had been written last. */
  readonly damaged: boolean;

  /** Made by `openAuditLog`. Owns `descriptor`. */
  constructor(
    options: AuditLogOptions,
    descriptor: number,
    heads: HeadStore,
    head: AuditHead,
    damaged: boolean,
  ) {
    this.#options = options;
    this.#descriptor = descriptor;
    this.#heads = heads;
    this.#head = head;
    this.damaged = damaged;
  }

  get head(): AuditHead {
    return this.#head;
  }

  /**
   * On disk when it returns. Names are cut at 256 characters, `detail` at 4,096.
   *
   * @throws SallyportError `io` when it could not be written; then nothing of it is in the log.
   */
  append(entry: AuditEntry): AuditRecord {
    if (this.#failed) throw new SallyportError('io', 'the audit log cannot be written');
    const { seq, hash } = this.#head;
    const record = chainRecord(entry, seq + 1, this.#options.clock.now(), hash);
    const sizeBefore = fstatSync(this.#descriptor).size;
    try {
      this.#heads.announce(this.#head, record.hash);
      writeAll(this.#descriptor, Buffer.from(`${formatRecord(record)}\n`, 'utf8'));
    } catch (thrown) {
      this.#takeBack(sizeBefore);
      throw new SallyportError('io', `cannot write the audit log: ${messageOf(thrown)}`, {
        hint: 'make room on the disk: nothing is administered that cannot be put on record',
        cause: thrown,
      });
    }
    this.#head = { seq: record.seq, hash: record.hash };
    // An announced line that is there is the head after a crash as well; the next announcement confirms it by itself, which
    // saves a commit of 0.2 ms for each of the lines that come together.
    this.#confirming ??= setImmediate(() => this.#confirm());
    return record;
  }

  /** Reads the whole file; what is appended meanwhile is left for the next time. */
  async verify(): Promise<AuditVerdict> {
    // In one turn of the event loop, so that size and head belong together.
    const head = this.#head;
    const size = sizeIfPresent(this.#options.path) ?? 0;
    return verifyLines(readLines(this.#options.path, size), head);
  }

  /** Up to `limit` (at most 1,000) lines with a seq greater than `after`; lines that are not intact are left out. */
  async read(after: number, limit: number): Promise<readonly AuditRecord[]> {
    const records: AuditRecord[] = [];
    const size = sizeIfPresent(this.#options.path) ?? 0;
    for await (const { text } of readLines(this.#options.path, size)) {
      if (records.length >= Math.min(limit, maxPage)) break;
      const record = parseRecord(text);
      if (record !== undefined && record.seq > after) records.push(record);
    }
    return records;
  }

  close(): void {
    if (this.#confirming !== undefined) this.#confirm();
    closeSync(this.#descriptor);
  }

  #confirm(): void {
    clearImmediate(this.#confirming);
    this.#confirming = undefined;
    try {
      this.#heads.confirm(this.#head);
    } catch {
      // The announcement of the next line does it, or that line is refused.
    }
  }

  /** A line of which nobody knows whether it is on record must not stay: the next one would have its number. */
  #takeBack(size: number): void {
    try {
      ftruncateSync(this.#descriptor, size);
    } catch {
      this.#failed = true;
    }
  }
}
