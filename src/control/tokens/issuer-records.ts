/** The last good keys of every token issuer, in control's database: a control that starts while it is down has them. */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { integer, text } from '../store/row.ts';

export interface KeptKeys {
  /** Where they came from: another URL means other keys. */
  readonly url: string;
  /** A JWK Set, of what was good of it. */
  readonly keys: string;
  /** Milliseconds, wall clock. */
  readonly fetchedAt: number;
}

export class IssuerRecords {
  readonly #find: StatementSync;
  readonly #keep: StatementSync;
  readonly #names: StatementSync;
  readonly #remove: StatementSync;

  constructor(database: DatabaseSync) {
    this.#find = database.prepare('SELECT * FROM issuer_keys WHERE issuer = ?');
    this.#keep = database.prepare(
      `INSERT INTO issuer_keys (issuer, url, keys, fetched_at) VALUES (?, ?, ?, ?)
       ON CONFLICT (issuer) DO UPDATE SET url = excluded.url, keys = excluded.keys,
         fetched_at = excluded.fetched_at`,
    );
    this.#names = database.prepare('SELECT issuer FROM issuer_keys');
    this.#remove = database.prepare('DELETE FROM issuer_keys WHERE issuer = ?');
  }

  /** @param issuer its name in the configuration. */
  find(issuer: string): KeptKeys | undefined {
    const row = this.#find.get(issuer);
    if (row === undefined) return undefined;
    return {
      url: text(row, 'url'),
      keys: text(row, 'keys'),
      fetchedAt: integer(row, 'fetched_at'),
    };
  }

  keep(issuer: string, { url, keys, fetchedAt }: KeptKeys): void {
    this.#keep.run(issuer, url, keys, fetchedAt);
  }

  /** Removes those of all others. */
  keepOnly(issuers: readonly string[]): void {
    for (const row of this.#names.all()) {
      const name = text(row, 'issuer');
      if (!issuers.includes(name)) this.#remove.run(name);
    }
  }
}
