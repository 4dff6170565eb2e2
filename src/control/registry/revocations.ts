/** What the registry knows of the certificates of our own CAs, as CRLs and OCSP need it: by issuer and serial number. */
import type { DatabaseSync } from 'node:sqlite';
import { inTransaction } from '../store/database.ts';
import { integer, optionalInteger, text } from '../store/row.ts';

const anchor = 'internal';

export interface RevokedCertificate {
  /** Lower-case hex without leading zeros. */
  readonly serial: string;
  /** Milliseconds. */
  readonly revokedAt: number;
  /** CRLReason (RFC 5280 section 5.3.1). */
  readonly reason: number;
}

/** Undefined where it is asked for: never issued. */
export type CertificateStatus = 'good' | Omit<RevokedCertificate, 'serial'>;

/** A certificate that the gateway has issued to itself and that belongs to no principal. */
export interface OwnCertificate {
  readonly issuer: string;
  readonly serial: string;
  readonly notAfter: number;
}

export class Revocations {
  readonly #database: DatabaseSync;
  readonly #page: ReturnType<DatabaseSync['prepare']>;
  readonly #status: ReturnType<DatabaseSync['prepare']>;
  readonly #own: ReturnType<DatabaseSync['prepare']>;

  constructor(database: DatabaseSync) {
    this.#database = database;
    this.#page = database.prepare(
      `SELECT serial, revoked_at, reason_code FROM certificates
        WHERE anchor = '${anchor}' AND issuer = ? AND serial > ? AND revoked_at IS NOT NULL AND not_after >= ?
        ORDER BY serial LIMIT ?`,
    );
    this.#status = database.prepare(
      `SELECT revoked_at, reason_code FROM certificates
        WHERE anchor = '${anchor}' AND serial = ? AND issuer = ?`,
    );
    this.#own = database.prepare(
      'SELECT 1 AS known FROM own_certificates WHERE serial = ? AND issuer = ?',
    );
  }

  /** A page of what `issuer` has revoked and what had not expired at `expiringFrom`, in the order of the serials' text. */
  revoked(
    issuer: string,
    expiringFrom: number,
    after: string,
    limit: number,
  ): readonly RevokedCertificate[] {
    return this.#page.all(issuer, after, expiringFrom, limit).map((row) => ({
      serial: text(row, 'serial'),
      revokedAt: integer(row, 'revoked_at'),
      reason: integer(row, 'reason_code'),
    }));
  }

  statusOf(issuer: string, serial: string): CertificateStatus | undefined {
    const row = this.#status.get(serial, issuer);
    if (row === undefined) {
      return this.#own.get(serial, issuer) === undefined ? undefined : 'good';
    }
    const revokedAt = optionalInteger(row, 'revoked_at');
    return revokedAt === undefined ? 'good' : { revokedAt, reason: integer(row, 'reason_code') };
  }

  /** From now on it is known to have been issued; what has expired is forgotten. Idempotent. */
  rememberOwn(certificates: readonly OwnCertificate[], nowMs: number): void {
    const insert = this.#database.prepare(
      'INSERT INTO own_certificates (issuer, serial, not_after) VALUES (?, ?, ?) ON CONFLICT DO NOTHING',
    );
    const unknown = certificates.filter(
      ({ serial, issuer }) => this.#own.get(serial, issuer) === undefined,
    );
    if (unknown.length === 0) return;
    inTransaction(this.#database, () => {
      this.#database.prepare('DELETE FROM own_certificates WHERE not_after < ?').run(nowMs);
      for (const { issuer, serial, notAfter } of unknown) insert.run(issuer, serial, notAfter);
    });
  }
}
