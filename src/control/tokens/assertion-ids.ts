/** Which client assertions have been used: each is good once (RFC 7523 section 3, 7), whatever is restarted. */
import { hash } from 'node:crypto';
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { PrincipalName } from '../../common/base/principal.ts';
import { inTransaction } from '../store/database.ts';

/**
 * For how long after its end an assertion is known: whoever sets the clock back by less brings none of them back to life.
 */
const keptLongerMs = 3_600_000;

export class AssertionIds {
  readonly #database: DatabaseSync;
  readonly #insert: StatementSync;
  readonly #sweep: StatementSync;

  constructor(database: DatabaseSync) {
    this.#database = database;
    this.#insert = database.prepare(
      `INSERT INTO assertion_ids (client, id_sha256, expires_at) VALUES (?, ?, ?)
       ON CONFLICT (client, id_sha256) DO NOTHING`,
    );
    this.#sweep = database.prepare('DELETE FROM assertion_ids WHERE expires_at <= ?');
  }

  /**
   * On the disk when it returns. How many there are is bounded by how many tokens a client may have.
   *
   * @param expiresAt milliseconds: from then on nobody would take the assertion.
   * @returns false when it was used before.
   */
  use(client: PrincipalName, id: string, expiresAt: number, now: number): boolean {
    return inTransaction(this.#database, () => {
      this.#sweep.run(now - keptLongerMs);
      return this.#insert.run(client, hash('sha256', id), expiresAt).changes === 1;
    });
  }
}
