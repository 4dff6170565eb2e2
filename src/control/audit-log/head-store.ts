/** The head of the audit log, in the database: who changes the file alone cannot change it too. */
import type { DatabaseSync } from 'node:sqlite';
import { integer, optionalText, text } from '../store/row.ts';
import { firstPrev } from './record.ts';
import type { AuditHead } from './verify.ts';

export interface StoredHead extends AuditHead {
  /** Hash of the line that was about to be written after `seq`. */
  readonly pendingHash: string | undefined;
}

export class HeadStore {
  readonly #read;
  readonly #announce;
  readonly #confirm;

  constructor(database: DatabaseSync) {
    this.#read = database.prepare('SELECT seq, hash, pending_hash FROM audit_head WHERE id = 1');
    this.#announce = database.prepare(
      `INSERT INTO audit_head (id, seq, hash, pending_hash) VALUES (1, ?1, ?2, ?3)
        ON CONFLICT (id) DO UPDATE SET seq = ?1, hash = ?2, pending_hash = ?3`,
    );
    this.#confirm = database.prepare(
      'UPDATE audit_head SET seq = ?, hash = ?, pending_hash = NULL WHERE id = 1',
    );
  }

  read(): StoredHead {
    const row = this.#read.get();
    if (row === undefined) return { seq: 0, hash: firstPrev, pendingHash: undefined };
    return {
      seq: integer(row, 'seq'),
      hash: text(row, 'hash'),
      pendingHash: optionalText(row, 'pending_hash'),
    };
  }

  /**
   * Durable before the line of `hash` is written after `head`, which it confirms: only this line may then be found ahead of
   * it.
   */
  announce(head: AuditHead, hash: string): void {
    this.#announce.run(head.seq, head.hash, hash);
  }

  /** Soon after the line was written, so that from then on not even the last line can be missing. */
  confirm(head: AuditHead): void {
    this.#confirm.run(head.seq, head.hash);
  }
}
