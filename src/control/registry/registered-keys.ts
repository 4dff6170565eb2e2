/**
 * The keys with which principals sign, beside their certificates: derived, brought along, or public. Secrets are sealed
 * under the master key and leave here only for the workers.
 */
import { createHmac, hash, randomBytes } from 'node:crypto';
import type { DatabaseSync } from 'node:sqlite';
import type { Clock } from '../../common/base/clock.ts';
import { messageOf, SallyportError } from '../../common/base/errors.ts';
import type { Logger } from '../../common/base/logger.ts';
import { principalParts, printable } from '../../common/base/principal.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import { keyIdPattern } from '../../common/identity/wire-key-id.ts';
import type { RegisteredKey } from '../../common/ipc/credentials.ts';
import { inTransaction } from '../store/database.ts';
import type { MasterKey } from '../store/master-key.ts';
import { certificateKeyPrefix } from './certificate-keys.ts';
import type { CertificateKeys } from './certificate-keys.ts';
import { isExposed, isLive, keyRecordOf } from './key-records.ts';
import type { KeyRecord } from './key-records.ts';
import type { EntryKeys } from './registry.ts';

/** Keys of one principal that can be signed with: each is looked through, sealed, and sent to every worker. */
const maxLive = 16;
/** The same with those that have ended and were not removed. */
const maxKept = 32;
/** Without letters that look like digits; 32 of them. */
const idAlphabet = '0123456789abcdefghjkmnpqrstvwxyz';
const idLength = 8;
/** Hex digits of a public key's SHA-256 that name it: whoever has the key can tell what it is called. */
const digestDigits = 8;

export type NewKey = {
  readonly createdBy: string;
  readonly notAfter: number | undefined;
} & (
  | { readonly type: 'derived' }
  /** `id`: by which the device calls it already. */
  | { readonly type: 'secret'; readonly secret: Buffer; readonly id: string | undefined }
  | { readonly type: 'public'; readonly spki: Buffer; readonly id: string | undefined }
);

export interface RegisteredKeysParts {
  readonly database: DatabaseSync;
  readonly clock: Clock;
  readonly masterKey: Pick<MasterKey, 'seal' | 'open' | 'deriveKey'>;
  readonly certificateKeys: CertificateKeys;
  readonly logger: Pick<Logger, 'error'>;
}

/** A key that takes the place of another, which ends by then at the latest. */
export interface Replacement {
  readonly id: string;
  readonly endsAt: number;
}

export class RegisteredKeys implements EntryKeys {
  readonly #parts: RegisteredKeysParts;
  readonly #statements: Statements;
  readonly #fingerprintKey: Buffer;
  /** What the last snapshot has opened: another one of 100,000 secrets takes 0.2 s instead of 2.7. */
  #opened: ReadonlyMap<string, string> = new Map();

  constructor(parts: RegisteredKeysParts) {
    this.#parts = parts;
    this.#statements = prepareStatements(parts.database);
    this.#fingerprintKey = parts.masterKey.deriveKey('registered secret fingerprint', 32);
  }

  /** Oldest first, with those that have ended. */
  list(name: PrincipalName): readonly KeyRecord[] {
    return this.#statements.ofPrincipal.all(name).map(keyRecordOf);
  }

  /** @throws SallyportError `not-found`. */
  get(name: PrincipalName, id: string): KeyRecord {
    const row = this.#statements.one.get(name, id);
    if (row !== undefined) return keyRecordOf(row);
    const { kind, id: owner } = principalParts(name);
    throw new SallyportError('not-found', `${name} has no key "${printable(id)}"`, {
      hint: `see: sallyport ${kind} key list ${owner}`,
    });
  }

  /**
   * What `add` would keep, with its id. Nothing has changed yet; with nothing in between, `add` keeps it.
   *
   * @throws SallyportError `usage` for an id that cannot be given; `already-exists` when it is taken, or the key is
   *   somebody's; `quota`.
   */
  prepare(name: PrincipalName, key: NewKey): KeyRecord {
    if (key.type !== 'derived' && key.id !== undefined) assertId(key.id);
    const now = this.#parts.clock.now();
    const known = this.list(name);
    this.#assertRoom(name, known, now);
    const fingerprint = this.#fingerprintOf(key);
    if (fingerprint !== undefined) this.#assertFree(name, fingerprint);
    const id = idFor(key, known, fingerprint);
    return {
      principal: name,
      id,
      type: key.type,
      fingerprint,
      material: this.#materialOf(name, id, key),
      createdAt: now,
      createdBy: key.createdBy,
      notAfter: key.notAfter,
      revokedAt: undefined,
      reasonCode: 0,
    };
  }

  /** Durable when it returns. @throws SallyportError `not-found` when there is nothing to replace. */
  add(record: KeyRecord, replaces?: Replacement): void {
    const { principal, id, type, fingerprint, material, createdAt, createdBy, notAfter } = record;
    inTransaction(this.#parts.database, () => {
      if (fingerprint !== undefined) this.#statements.forgetRevoked.run(principal, fingerprint);
      this.#statements.insert.run(
        principal,
        id,
        type,
        fingerprint ?? null,
        material ?? null,
        createdAt,
        createdBy,
        notAfter ?? null,
      );
      if (replaces === undefined) return;
      const { changes } = this.#statements.end.run(replaces.endsAt, principal, replaces.id);
      if (changes !== 1) this.get(principal, replaces.id);
    });
  }

  /**
   * Nothing of it stays. Durable when it returns.
   *
   * @throws SallyportError `not-found`; `usage` for one that is to be known for as long as anybody could register it.
   */
  remove(name: PrincipalName, id: string): KeyRecord {
    return inTransaction(this.#parts.database, () => {
      const record = this.get(name, id);
      if (isExposed(record)) {
        throw new SallyportError('usage', `the key ${id} of ${name} was revoked: key compromise`, {
          hint: 'leave it: it signs nothing, and stays on record so that nobody registers it again',
        });
      }
      this.#statements.remove.run(name, id);
      return record;
    });
  }

  of(name: PrincipalName): readonly RegisteredKey[] {
    const now = this.#parts.clock.now();
    const keys = this.list(name).flatMap((record) => this.#entryKey(record, now));
    return [...keys, ...this.#parts.certificateKeys.of(name)];
  }

  all(): ReadonlyMap<PrincipalName, readonly RegisteredKey[]> {
    const now = this.#parts.clock.now();
    const all = new Map<PrincipalName, RegisteredKey[]>();
    const opened = new Map<string, string>();
    const add = (name: PrincipalName, keys: readonly RegisteredKey[]): void => {
      const known = all.get(name);
      if (known !== undefined) known.push(...keys);
      else if (keys.length > 0) all.set(name, [...keys]);
    };
    for (const row of this.#statements.all.iterate()) {
      const record = keyRecordOf(row);
      add(record.principal, this.#entryKey(record, now, opened));
    }
    this.#opened = opened;
    for (const [name, keys] of this.#parts.certificateKeys.all()) add(name, keys);
    return all;
  }

  /** None when it has ended, or cannot be read: then it is of no use, and everybody else's still are. */
  #entryKey(record: KeyRecord, now: number, opened?: Map<string, string>): RegisteredKey[] {
    if (!isLive(record, now)) return [];
    const { principal, id, type, material, notAfter } = record;
    if (type === 'derived') return [{ type, id, notAfter }];
    if (material === undefined) return [];
    if (type === 'public') return [{ type, id, spki: base64(material), notAfter }];
    const { masterKey, logger } = this.#parts;
    // With its fingerprint: another secret may have the name of one that was removed.
    const cacheKey = `${principal} ${id} ${record.fingerprint ?? ''}`;
    try {
      const secret =
        this.#opened.get(cacheKey) ?? base64(masterKey.open(material, contextOf(principal, id)));
      opened?.set(cacheKey, secret);
      return [{ type, id, secret, notAfter }];
    } catch (error) {
      logger.error({ principal, key: id, err: messageOf(error) }, 'a registered key is unreadable');
      return [];
    }
  }

  #assertRoom(name: PrincipalName, known: readonly KeyRecord[], now: number): void {
    const live = known.filter((record) => isLive(record, now)).length;
    // Those that stay for good are no reason to be out of room for good.
    const kept = known.filter((record) => !isExposed(record)).length;
    if (live < maxLive && kept < maxKept) return;
    const { kind, id } = principalParts(name);
    const many = live < maxLive ? `${maxKept} keys, ended ones among them` : `${maxLive} keys`;
    throw new SallyportError('quota', `${name} has ${many}`, {
      hint: `remove one: sallyport ${kind} key remove ${id} KEY`,
    });
  }

  /** A key that left one identity must not return as another; its own may be registered again, as it may be certified. */
  #assertFree(name: PrincipalName, fingerprint: string): void {
    const row = this.#statements.byFingerprint.get(fingerprint);
    if (row === undefined) return;
    const record = keyRecordOf(row);
    const { principal, id, revokedAt } = record;
    if (isExposed(record)) {
      throw new SallyportError('already-exists', 'this key was revoked: key compromise', {
        hint: 'make a new one',
      });
    }
    if (principal !== name) {
      throw new SallyportError('already-exists', `${principal} has this key as ${id}`, {
        hint: 'each identity has its own: make a new one, or remove it there first',
      });
    }
    if (revokedAt === undefined) {
      const { kind, id: owner } = principalParts(name);
      throw new SallyportError('already-exists', `${name} has this key already, as ${id}`, {
        hint: `to register it anew: sallyport ${kind} key remove ${owner} ${id}`,
      });
    }
  }

  #fingerprintOf(key: NewKey): string | undefined {
    if (key.type === 'public') return hash('sha256', key.spki);
    if (key.type === 'derived') return undefined;
    return createHmac('sha256', this.#fingerprintKey).update(key.secret).digest('hex');
  }

  #materialOf(name: PrincipalName, id: string, key: NewKey): Uint8Array | undefined {
    if (key.type === 'public') return key.spki;
    if (key.type === 'derived') return undefined;
    return this.#parts.masterKey.seal(key.secret, contextOf(name, id));
  }
}

/**
 * @param known of the same principal, whose ids are not given again.
 * @throws SallyportError `already-exists`.
 */
function idFor(key: NewKey, known: readonly KeyRecord[], fingerprint: string | undefined): string {
  // The same key from before a revocation makes room for itself.
  const others = known.filter(
    (each) => fingerprint === undefined || each.fingerprint !== fingerprint,
  );
  const isTaken = (id: string): boolean => others.some((each) => each.id === id);
  // A number would come again: after a backup is restored, or when the last one has been removed. The same id derives
  // the same key.
  if (key.type === 'derived') return randomId(isTaken);
  if (key.id !== undefined) {
    if (isTaken(key.id)) {
      throw new SallyportError('already-exists', `there is a key ${key.id} already`, {
        hint: 'give another --id, or none',
      });
    }
    return key.id;
  }
  if (key.type === 'secret') return randomId(isTaken);
  const id = `key-${(fingerprint ?? '').slice(0, digestDigits)}`;
  return isTaken(id) ? randomId(isTaken) : id;
}

function assertId(id: string): void {
  if (keyIdPattern.test(id) && !id.startsWith(certificateKeyPrefix)) return;
  throw new SallyportError('usage', `"${printable(id)}" is not a valid id of a key`, {
    hint: `use 1 to 32 letters, digits, "_" and "-", not beginning with "${certificateKeyPrefix}"`,
  });
}

function randomId(isTaken: (id: string) => boolean): string {
  for (;;) {
    const id = Array.from(randomBytes(idLength), (octet) => idAlphabet[octet & 31]).join('');
    if (!isTaken(id)) return id;
  }
}

function contextOf(name: PrincipalName, id: string): string {
  return `registered key ${name} ${id}`;
}

function base64(material: Uint8Array): string {
  return Buffer.from(material.buffer, material.byteOffset, material.length).toString('base64');
}

const sql = {
  all: 'SELECT * FROM registered_keys ORDER BY principal, created_at, id',
  ofPrincipal: 'SELECT * FROM registered_keys WHERE principal = ? ORDER BY created_at, id',
  one: 'SELECT * FROM registered_keys WHERE principal = ? AND id = ?',
  byFingerprint: 'SELECT * FROM registered_keys WHERE fingerprint = ?',
  forgetRevoked: `DELETE FROM registered_keys
    WHERE principal = ? AND fingerprint = ? AND revoked_at IS NOT NULL`,
  insert: `INSERT INTO registered_keys
    (principal, id, type, fingerprint, material, created_at, created_by, not_after)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
  end: `UPDATE registered_keys SET not_after = min(coalesce(not_after, ?1), ?1)
    WHERE principal = ?2 AND id = ?3`,
  remove: 'DELETE FROM registered_keys WHERE principal = ? AND id = ?',
} as const;

type Statements = Readonly<Record<keyof typeof sql, ReturnType<DatabaseSync['prepare']>>>;

function prepareStatements(database: DatabaseSync): Statements {
  const prepared = Object.entries(sql).map(([name, words]) => [name, database.prepare(words)]);
  return Object.freeze(Object.fromEntries(prepared)) as Statements; // a statement for each name of the table above
}
