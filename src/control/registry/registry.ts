/**
 * Who exists, with which standing, and which certificates they hold. Synchronous: it serves operators and snapshots and
 * is never on a packet's path. Each mutation is one transaction, durable when it returns, and says what it changed.
 */
import type { DatabaseSync } from 'node:sqlite';
import type { Clock } from '../../common/base/clock.ts';
import { SallyportError } from '../../common/base/errors.ts';
import { principalKinds } from '../../common/base/principal.ts';
import type { PrincipalKind, PrincipalName, StandingAction } from '../../common/base/principal.ts';
import { revocationReasons } from '../../common/base/revocation-reason.ts';
import type { RegisteredKey } from '../../common/ipc/credentials.ts';
import type { IdentityEntry } from '../../common/ipc/snapshot.ts';
import { inTransaction } from '../store/database.ts';
import { integer, text } from '../store/row.ts';
import type { Row } from '../store/row.ts';
import { assertNotLocalOperator } from './local-operator.ts';
import { certificateOf, cloneOf, entryOf, identityOf } from './records.ts';
import type {
  CertificateRecord,
  CloneRecord,
  Identity,
  NewCertificate,
  RegistryChange,
} from './records.ts';
import { hintFor, nextStanding } from './standing.ts';
import type { StoredStanding } from './standing.ts';
import { prepareStatements } from './statements.ts';
import type { Statements } from './statements.ts';

/** Keeps one answer of `list` small enough to send. */
const maxPage = 1000;
const maxReasonCharacters = 500;

export interface IdentityQuery {
  readonly kind: PrincipalKind;
  readonly standing?: StoredStanding | undefined;
  /** The last name of the page before. */
  readonly after?: string | undefined;
  /** 1 to 1,000; 100 when left out. */
  readonly limit?: number | undefined;
}

/** The keys by which workers know an identity; none of those that have ended. */
export interface EntryKeys {
  of(name: PrincipalName): readonly RegisteredKey[];
  all(): ReadonlyMap<PrincipalName, readonly RegisteredKey[]>;
}

const withoutKeys: EntryKeys = Object.freeze({ of: () => [], all: () => new Map() });

/** Times are milliseconds since 1970-01-01 UTC. */
export type LastCertificate = Pick<
  CertificateRecord,
  'principal' | 'anchor' | 'serial' | 'notBefore' | 'notAfter'
>;

export class Registry {
  readonly #database: DatabaseSync;
  readonly #clock: Clock;
  readonly #statements: Statements;
  readonly #keys: EntryKeys;

  /**
   * @param database has been opened by `openDatabase` and outlives the registry.
   * @param keys that go with the entries of workers.
   */
  constructor(database: DatabaseSync, clock: Clock, keys: EntryKeys = withoutKeys) {
    this.#database = database;
    this.#clock = clock;
    this.#keys = keys;
    this.#statements = prepareStatements(database);
  }

  get(name: PrincipalName): Identity | undefined {
    const row = this.#statements.identity.get(name);
    return row === undefined ? undefined : identityOf(row);
  }

  /** Identities of one kind in the order of their names, a page at a time; `next` is the `after` of the next page. */
  list(query: IdentityQuery): {
    readonly identities: readonly Identity[];
    readonly next: PrincipalName | undefined;
  } {
    const limit = Math.min(Math.max(query.limit ?? 100, 1), maxPage);
    const start = `${query.kind}/`;
    const after = query.after !== undefined && query.after > start ? query.after : start;
    const standing = query.standing ?? null;
    // '0' is the character after '/': the range ends where the kind does.
    const rows = this.#statements.page.all(after, `${query.kind}0`, standing, standing, limit);
    const identities = rows.map(identityOf);
    return { identities, next: identities.length === limit ? identities.at(-1)?.name : undefined };
  }

  count(): Readonly<Record<PrincipalKind, number>> {
    const counts: Record<PrincipalKind, number> = { device: 0, service: 0, operator: 0 };
    for (const row of this.#statements.countByKind.iterate()) {
      const kind = principalKinds.find((known) => known === text(row, 'kind'));
      if (kind !== undefined) counts[kind] = integer(row, 'n');
    }
    return counts;
  }

  /** Newest first. */
  certificatesOf(name: PrincipalName): readonly CertificateRecord[] {
    return this.#statements.certificatesOf.all(name).map(certificateOf);
  }

  /**
   * Whether `enrol` would accept this, before anything is signed.
   *
   * @throws SallyportError `wrong-standing` when the identity is not active; `already-exists` when it has another role
   *   or anchor, another identity has ever held this key, or it was revoked as compromised; `usage` for the name of the command line.
   */
  assertEnrollable(name: PrincipalName, role: string, anchor: string, spkiSha256: string): void {
    this.assertRegistrable(name, role, anchor);
    this.assertKeyFree(name, spkiSha256);
  }

  /** What `assertEnrollable` says of the identity alone. @throws as it does. */
  assertRegistrable(name: PrincipalName, role: string, anchor: string): void {
    assertNotLocalOperator(name);
    const known = this.get(name);
    if (known !== undefined) assertSame(known, role, anchor);
    if (known !== undefined && known.standing !== 'active') {
      throw new SallyportError('wrong-standing', `${name} is ${known.standing} and cannot enrol`, {
        hint: hintFor(name, known.standing),
      });
    }
  }

  /** @throws SallyportError `already-exists` when another identity has ever held this key, or it was revoked as compromised. */
  assertKeyFree(name: PrincipalName, spkiSha256: string): void {
    const compromised = this.#statements.compromisedKey.get(
      spkiSha256,
      revocationReasons.keyCompromise,
    );
    // Reinstating brings the identity back, and not a key that somebody else may have.
    if (compromised !== undefined) {
      throw new SallyportError('already-exists', 'this key was revoked: key compromise', {
        hint: 'make a new key on the device',
      });
    }
    // Revoked and expired certificates count: a key that left one device must not return as another.
    const holder = this.otherHolderOf(spkiSha256, name);
    if (holder !== undefined) {
      throw new SallyportError('already-exists', `${holder} holds this key`, {
        hint: 'make a new key on the device: each identity has its own',
      });
    }
  }

  /**
   * Records a certificate that has been issued to `name`, registering it when it is new. `alongside` writes to the same
   * database what must happen with it or not at all.
   *
   * @throws as `assertEnrollable`, and what `alongside` throws.
   */
  enrol(
    name: PrincipalName,
    role: string,
    anchor: string,
    certificate: NewCertificate,
    alongside?: () => void,
  ): RegistryChange {
    return inTransaction(this.#database, () => {
      this.assertEnrollable(name, role, anchor, certificate.spkiSha256);
      alongside?.();
      const created = this.#insertIdentity(name, role, anchor);
      this.#insertCertificate(name, anchor, certificate);
      return this.#changed(name, [], created);
    });
  }

  /**
   * An identity without a certificate, for one that proves by a registered key who it is. Undefined when it is there
   * already, just so and active.
   *
   * @throws SallyportError as `assertEnrollable` for who it is.
   */
  register(name: PrincipalName, role: string, anchor: string): RegistryChange | undefined {
    return inTransaction(this.#database, () => {
      this.assertRegistrable(name, role, anchor);
      return this.#insertIdentity(name, role, anchor) ? this.#changed(name, [], true) : undefined;
    });
  }

  /**
   * Records a certificate of a configured trust anchor that a worker has verified, registering its identity when it is
   * new. Undefined when all of it was known already.
   *
   * @throws as `assertEnrollable`, and `already-exists` when the serial number belongs to another identity.
   */
  observe(
    name: PrincipalName,
    role: string,
    anchor: string,
    certificate: NewCertificate,
  ): RegistryChange | undefined {
    return inTransaction(this.#database, () => {
      const known = this.#statements.certificate.get(anchor, certificate.serial);
      if (known !== undefined && text(known, 'principal') === name) return undefined;
      this.assertEnrollable(name, role, anchor, certificate.spkiSha256);
      const created = this.#insertIdentity(name, role, anchor);
      this.#insertCertificate(name, anchor, certificate);
      return this.#changed(name, [], created);
    });
  }

  certificate(anchor: string, serial: string): CertificateRecord | undefined {
    const row = this.#statements.certificate.get(anchor, serial);
    return row === undefined ? undefined : certificateOf(row);
  }

  /** Everything that our own CAs have issued, in the order in which it was; `after` is the `row` of the last one before. */
  issuedAfter(
    after: number,
    limit: number,
  ): readonly { readonly row: number; readonly record: CertificateRecord }[] {
    return this.#statements.issuedAfter
      .all(after, limit)
      .map((row) => ({ row: integer(row, 'row'), record: certificateOf(row) }));
  }

  /** Another identity that has ever held this key. */
  otherHolderOf(spkiSha256: string, name: PrincipalName): string | undefined {
    const row = this.#statements.otherHolderOfKey.get(spkiSha256, name);
    return row === undefined ? undefined : text(row, 'principal');
  }

  /** How many certificates were issued to `name` after `sinceMs`. */
  issuedSince(name: PrincipalName, sinceMs: number): number {
    const row = this.#statements.issuedSince.get(name, sinceMs);
    return row === undefined ? 0 : integer(row, 'n');
  }

  /** Certificates that a version before issuers were recorded has left: there was only one issuer then. */
  adoptUnknownIssuer(issuer: string): void {
    this.#statements.adoptUnknownIssuer.run(issuer);
  }

  /** Issuer → when the last of what it has issued expires, of our own CAs. */
  lastExpiries(): ReadonlyMap<string, number> {
    const expiries = new Map<string, number>();
    for (const row of this.#statements.lastExpiries.iterate()) {
      expiries.set(text(row, 'issuer'), integer(row, 'last'));
    }
    return expiries;
  }

  /** The identity to which this certificate is recorded. */
  holderOf(anchor: string, serial: string): Identity | undefined {
    const row = this.#statements.certificate.get(anchor, serial);
    // A foreign key into identities.
    return row === undefined ? undefined : this.get(text(row, 'principal') as PrincipalName);
  }

  /** Where `changeStanding` would lead. @throws as it does. */
  standingAfter(name: PrincipalName, command: StandingAction): StoredStanding {
    return nextStanding(name, this.#require(name), command).standing;
  }

  /**
   * Revoking also revokes every certificate and registered key, and every token, invitation and approval by which the identity would come to
   * another: whoever has it may also have those. Reinstating brings none of them back.
   *
   * @param reasonCode of the certificates: CRLReason (RFC 5280 section 5.3.1), 0 = unspecified.
   * @throws SallyportError `unknown-principal`, or `wrong-standing` with a hint that names the command that applies.
   */
  changeStanding(
    name: PrincipalName,
    command: StandingAction,
    reason?: string,
    reasonCode = 0,
  ): RegistryChange {
    return inTransaction(this.#database, () => {
      const before = this.#require(name);
      const { standing, resumeTo } = nextStanding(name, before, command);
      const now = this.#clock.now();
      const words = reason?.slice(0, maxReasonCharacters) ?? null;
      this.#statements.setStanding.run(standing, resumeTo, words, now, name);
      const revoked = standing === 'revoked' ? this.#revokeAll(name, now, words, reasonCode) : [];
      return this.#changed(name, revoked, false);
    });
  }

  /** @throws SallyportError `unknown-principal`. */
  setRole(name: PrincipalName, role: string): RegistryChange {
    return inTransaction(this.#database, () => {
      this.#require(name);
      this.#statements.setRole.run(role, this.#clock.now(), name);
      return this.#changed(name, [], false);
    });
  }

  /**
   * Principal → when it was last seen. Names that do not exist, times that go back and what is no time are ignored; a
   * time to come is taken for now.
   */
  markSeen(seen: Iterable<readonly [name: string, atMs: number]>): void {
    const now = this.#clock.now();
    inTransaction(this.#database, () => {
      for (const [name, claimedMs] of seen) {
        if (!Number.isSafeInteger(claimedMs) || claimedMs < 0) continue;
        const atMs = Math.min(claimedMs, now);
        this.#statements.markSeen.run(atMs, name, atMs);
      }
    });
  }

  cloneOf(name: PrincipalName): CloneRecord | undefined {
    const row = this.#statements.clone.get(name);
    return row === undefined ? undefined : cloneOf(row);
  }

  /** @throws SallyportError `unknown-principal`. */
  markClone(name: PrincipalName, addresses: readonly [string, string]): void {
    this.#require(name);
    this.#statements.markClone.run(name, this.#clock.now(), ...addresses);
  }

  /**
   * For each identity that is not revoked the certificate that ends last, of those that are not revoked, in the order of
   * the names. @param after the last name of the page before.
   */
  lastCertificates(after: string, limit: number): readonly LastCertificate[] {
    return this.#statements.lastCertificates.all(after, limit).map((row) => ({
      principal: text(row, 'principal') as PrincipalName, // a foreign key into identities
      anchor: text(row, 'anchor'),
      serial: text(row, 'serial'),
      notBefore: integer(row, 'not_before'),
      notAfter: integer(row, 'not_after'),
    }));
  }

  /** What workers must know of one identity. @throws SallyportError `unknown-principal`. */
  entry(name: PrincipalName): IdentityEntry {
    return entryOf(this.#require(name), this.#keys.of(name));
  }

  /** The same of every identity. */
  snapshotEntries(): IdentityEntry[] {
    const keys = this.#keys.all();
    const entries: IdentityEntry[] = [];
    for (const row of this.#statements.allIdentities.iterate()) {
      const identity = identityOf(row);
      entries.push(entryOf(identity, keys.get(identity.name)));
    }
    return entries;
  }

  /** `<anchor>:<serial>` of every certificate that was revoked and has not expired. */
  revokedSerials(): string[] {
    const serials: string[] = [];
    for (const row of this.#statements.revokedSerials.iterate(
      expiryOfLastAccepted(this.#clock.now()),
    )) {
      serials.push(serialKey(row));
    }
    return serials;
  }

  #require(name: PrincipalName): Identity {
    const identity = this.get(name);
    if (identity === undefined) {
      throw new SallyportError('unknown-principal', `there is no ${name}`);
    }
    return identity;
  }

  #insertIdentity(name: PrincipalName, role: string, anchor: string): boolean {
    const now = this.#clock.now();
    const created = this.#statements.insertIdentity.run(name, role, anchor, now, now).changes === 1;
    if (!created) this.#statements.touch.run(now, name);
    return created;
  }

  #insertCertificate(name: PrincipalName, anchor: string, certificate: NewCertificate): void {
    const { serial, spkiSha256, notBefore, notAfter, der } = certificate;
    const { changes } = this.#statements.insertCertificate.run(
      anchor,
      serial,
      name,
      spkiSha256,
      notBefore,
      notAfter,
      der,
      this.#clock.now(),
      certificate.issuer ?? '',
    );
    if (changes !== 1) {
      throw new SallyportError(
        'already-exists',
        `${anchor} has issued serial number ${serial} before`,
      );
    }
  }

  #revokeAll(
    name: PrincipalName,
    now: number,
    reason: string | null,
    reasonCode: number,
  ): string[] {
    const { withdrawTokens, withdrawInvitations, withdrawApprovals, revokeKeys } = this.#statements;
    revokeKeys.run(now, reasonCode, name);
    withdrawTokens.run(name);
    withdrawInvitations.run(name);
    withdrawApprovals.run(reason, name);
    const revoked = this.#statements.revokeCertificates.all(now, reason, reasonCode, name);
    return revoked
      .filter((row) => integer(row, 'not_after') >= expiryOfLastAccepted(now))
      .map(serialKey);
  }

  #changed(
    name: PrincipalName,
    revokedSerials: readonly string[],
    created: boolean,
  ): RegistryChange {
    return { identity: this.#require(name), entry: this.entry(name), revokedSerials, created };
  }
}

/** notAfter is inclusive to the end of its second (RFC 5280 section 4.1.2.5). */
function expiryOfLastAccepted(now: number): number {
  return now - 999;
}

function serialKey(row: Row): string {
  return `${text(row, 'anchor')}:${text(row, 'serial')}`;
}

function assertSame(known: Identity, role: string, anchor: string): void {
  if (known.anchor !== anchor) {
    throw new SallyportError(
      'already-exists',
      `${known.name} belongs to the anchor ${known.anchor}`,
      {
        hint: 'an identity has one trust anchor for good: choose another id',
      },
    );
  }
  if (known.role !== role) {
    throw new SallyportError('already-exists', `${known.name} exists with the role ${known.role}`, {
      hint: `give the role ${known.role}, or choose another name`,
    });
  }
}
