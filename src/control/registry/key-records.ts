/** A registered key as the registry keeps it, and how it is read back. Times are milliseconds since 1970-01-01 UTC. */
import type { PrincipalName } from '../../common/base/principal.ts';
import { revocationReasons } from '../../common/base/revocation-reason.ts';
import type { RegisteredKey } from '../../common/ipc/credentials.ts';
import { bytes, integer, optionalInteger, optionalText, text } from '../store/row.ts';
import type { Row } from '../store/row.ts';

export interface KeyRecord {
  readonly principal: PrincipalName;
  /** As `RegisteredKey.id`. */
  readonly id: string;
  readonly type: RegisteredKey['type'];
  /** Hex: of a public key SHA-256 of its SubjectPublicKeyInfo, of a secret a MAC; undefined for a derived key. */
  readonly fingerprint: string | undefined;
  /** DER SubjectPublicKeyInfo, or the sealed secret. */
  readonly material: Uint8Array | undefined;
  readonly createdAt: number;
  readonly createdBy: string;
  /** Undefined = until it is removed. */
  readonly notAfter: number | undefined;
  readonly revokedAt: number | undefined;
  /** Of the revocation (RFC 5280 section 5.3.1); 0 = unspecified. */
  readonly reasonCode: number;
}

export function keyRecordOf(row: Row): KeyRecord {
  return {
    principal: text(row, 'principal') as PrincipalName, // a foreign key into identities
    id: text(row, 'id'),
    type: text(row, 'type') as KeyRecord['type'], // the table's CHECK allows no other
    fingerprint: optionalText(row, 'fingerprint'),
    material: row['material'] === null ? undefined : bytes(row, 'material'),
    createdAt: integer(row, 'created_at'),
    createdBy: text(row, 'created_by'),
    notAfter: optionalInteger(row, 'not_after'),
    revokedAt: optionalInteger(row, 'revoked_at'),
    reasonCode: integer(row, 'reason_code'),
  };
}

/** Whether something can still be signed with it. */
export function isLive({ notAfter, revokedAt }: KeyRecord, now: number): boolean {
  return revokedAt === undefined && (notAfter === undefined || now < notAfter);
}

/** Whether somebody else may have it, and could register it again. An id of a derived one never comes again. */
export function isExposed({ fingerprint, revokedAt, reasonCode }: KeyRecord): boolean {
  const { keyCompromise } = revocationReasons;
  return fingerprint !== undefined && revokedAt !== undefined && reasonCode === keyCompromise;
}
