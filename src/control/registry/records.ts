/** What the registry keeps, and how it is read back from its tables. */
import type { PrincipalName } from '../../common/base/principal.ts';
import type { RegisteredKey } from '../../common/ipc/credentials.ts';
import type { IdentityEntry } from '../../common/ipc/snapshot.ts';
import { bytes, integer, optionalInteger, optionalText, text } from '../store/row.ts';
import type { Row } from '../store/row.ts';
import type { StandingState } from './standing.ts';

/** Times are milliseconds since 1970-01-01 UTC. */
export interface Identity extends StandingState {
  readonly name: PrincipalName;
  /** Why it has this standing, in the operator's words. */
  readonly standingReason: string | undefined;
  readonly role: string;
  /** The only trust anchor that may vouch for it. */
  readonly anchor: string;
  readonly createdAt: number;
  readonly updatedAt: number;
  /** When a worker last saw it connected. */
  readonly seenAt: number | undefined;
}

export interface NewCertificate {
  /** Of our own CAs: the subject key identifier of the one that signed it, hex; empty or left out for another anchor. */
  readonly issuer?: string | undefined;
  /** Lower-case hex without leading zeros; unique within its anchor. */
  readonly serial: string;
  /** SHA-256 of the SubjectPublicKeyInfo, hex. */
  readonly spkiSha256: string;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly der: Uint8Array;
}

export interface CertificateRecord extends NewCertificate {
  readonly issuer: string;
  readonly anchor: string;
  readonly principal: PrincipalName;
  readonly issuedAt: number;
  readonly revokedAt: number | undefined;
  readonly reason: string | undefined;
  /** RFC 5280 section 5.3.1; 0 = unspecified. */
  readonly reasonCode: number;
}

/** What one mutation changed: enough to tell the workers. */
export interface RegistryChange {
  readonly identity: Identity;
  readonly entry: IdentityEntry;
  /** `<anchor>:<serial>` of unexpired certificates that this change revoked. */
  readonly revokedSerials: readonly string[];
  /** The identity did not exist before. */
  readonly created: boolean;
}

export function identityOf(row: Row): Identity {
  return {
    name: text(row, 'name') as PrincipalName, // only principal names are ever inserted
    standing: text(row, 'standing') as Identity['standing'], // the table's CHECK allows no other
    resumeTo: text(row, 'resume_to') as Identity['resumeTo'], // the table's CHECK allows no other
    standingReason: optionalText(row, 'standing_reason'),
    role: text(row, 'role'),
    anchor: text(row, 'anchor'),
    createdAt: integer(row, 'created_at'),
    updatedAt: integer(row, 'updated_at'),
    seenAt: optionalInteger(row, 'seen_at'),
  };
}

/** When a device was last found to be used from two addresses, and from which. */
export interface CloneRecord {
  readonly at: number;
  readonly addresses: readonly [string, string];
}

export function cloneOf(row: Row): CloneRecord {
  return { at: integer(row, 'at'), addresses: [text(row, 'address'), text(row, 'other')] };
}

export function certificateOf(row: Row): CertificateRecord {
  return {
    anchor: text(row, 'anchor'),
    serial: text(row, 'serial'),
    principal: text(row, 'principal') as PrincipalName, // a foreign key into identities
    spkiSha256: text(row, 'spki_sha256'),
    notBefore: integer(row, 'not_before'),
    notAfter: integer(row, 'not_after'),
    der: bytes(row, 'der'),
    issuedAt: integer(row, 'issued_at'),
    revokedAt: optionalInteger(row, 'revoked_at'),
    reason: optionalText(row, 'reason'),
    issuer: text(row, 'issuer'),
    reasonCode: integer(row, 'reason_code'),
  };
}

export function entryOf(
  { name, standing, role, anchor }: Identity,
  keys: readonly RegisteredKey[] = [],
): IdentityEntry {
  return keys.length === 0
    ? { name, standing, role, anchor }
    : { name, standing, role, anchor, keys };
}
