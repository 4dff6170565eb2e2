/** What must be known of revocation lists that were taken, whatever becomes of the lists: in control's database. */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { inTransaction } from '../../store/database.ts';
import { integer, text } from '../../store/row.ts';

/** The newest list that was taken from a source: nothing older is taken again. */
export interface SeenList {
  /** SHA-256 of the SubjectPublicKeyInfo of the authority, hex: each key counts its lists by itself. */
  readonly authorityKey: string;
  readonly number: bigint;
  /** Milliseconds since 1970-01-01 UTC. */
  readonly thisUpdate: number;
  /** Of its DER, hex. */
  readonly sha256: string;
}

export class CrlRecords {
  readonly #database: DatabaseSync;
  readonly #seen: StatementSync;
  readonly #see: StatementSync;
  readonly #kept: StatementSync;
  readonly #keep: StatementSync;
  readonly #letGo: StatementSync;

  constructor(database: DatabaseSync) {
    this.#database = database;
    this.#seen = database.prepare('SELECT * FROM crl_seen WHERE anchor = ? AND source = ?');
    this.#see = database.prepare(
      `INSERT INTO crl_seen (anchor, source, authority_key, number, this_update, sha256)
       VALUES (?, ?, ?, ?, ?, ?)
       ON CONFLICT (anchor, source) DO UPDATE SET authority_key = excluded.authority_key,
         number = excluded.number, this_update = excluded.this_update, sha256 = excluded.sha256`,
    );
    this.#kept = database.prepare('SELECT serial, since FROM crl_kept WHERE anchor = ?');
    this.#keep = database.prepare(
      `INSERT INTO crl_kept (anchor, serial, since) VALUES (?, ?, ?)
       ON CONFLICT (anchor, serial) DO NOTHING`,
    );
    this.#letGo = database.prepare('DELETE FROM crl_kept WHERE anchor = ? AND serial = ?');
  }

  /** @param source which one of the anchor's, as `idOfSource` names it. */
  seen(anchor: string, source: string): SeenList | undefined {
    const row = this.#seen.get(anchor, source);
    if (row === undefined) return undefined;
    return {
      authorityKey: text(row, 'authority_key'),
      number: BigInt(text(row, 'number')),
      thisUpdate: integer(row, 'this_update'),
      sha256: text(row, 'sha256'),
    };
  }

  /** Serial → since when it is on no list any more and revoked all the same. */
  kept(anchor: string): Map<string, number> {
    const kept = new Map<string, number>();
    for (const row of this.#kept.iterate(anchor))
      kept.set(text(row, 'serial'), integer(row, 'since'));
    return kept;
  }

  /** All of these, or none. */
  keep(anchor: string, serials: readonly string[], at: number): void {
    inTransaction(this.#database, () => {
      for (const serial of serials) this.#keep.run(anchor, serial, at);
    });
  }

  letGo(anchor: string, serials: readonly string[]): void {
    inTransaction(this.#database, () => {
      for (const serial of serials) this.#letGo.run(anchor, serial);
    });
  }

  see(anchor: string, source: string, list: SeenList): void {
    const { authorityKey, number, thisUpdate, sha256 } = list;
    this.#see.run(anchor, source, authorityKey, number.toString(), thisUpdate, sha256);
  }
}
