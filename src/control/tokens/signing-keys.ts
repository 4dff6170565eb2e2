/**
 * Keys with which the gateway signs what others verify by its JWK Set: ES256, sealed at rest. One signs; the next is
 * published some time before it does, so that whoever keeps the set for a while knows it; the last one stays published
 * until nothing that it has signed is good any more.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, hash } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import type { DatabaseSync } from 'node:sqlite';
import type { Clock } from '../../common/base/clock.ts';
import { messageOf, SallyportError } from '../../common/base/errors.ts';
import type { Logger } from '../../common/base/logger.ts';
import { inTransaction } from '../store/database.ts';
import type { MasterKey } from '../store/master-key.ts';
import { bytes, integer, text } from '../store/row.ts';
import type { Row } from '../store/row.ts';

/** How long before it signs a key is published; a quarter of its life at most. */
const announcedMs = 86_400_000;

export interface SigningKeysParts {
  readonly database: DatabaseSync;
  readonly masterKey: Pick<MasterKey, 'seal' | 'open'>;
  readonly clock: Clock;
  readonly logger: Pick<Logger, 'error'>;
  /** Says what they sign; part of what seals them. */
  readonly purpose: 'access-tokens' | 'identity-assertions';
  /** For how long one key signs. */
  readonly rotationMs: () => number;
  /** For how long what is signed is good, with what clocks may differ: the last key stays for as long. */
  readonly keptMs: number;
}

export interface SigningKey {
  /** Its JWK thumbprint (RFC 7638). */
  readonly kid: string;
  readonly privateKey: KeyObject;
}

interface Key extends SigningKey {
  readonly publicJwk: Readonly<Record<string, string>>;
  /** Milliseconds, wall clock. */
  readonly signsFrom: number;
}

export class SigningKeys {
  readonly #parts: SigningKeysParts;
  /** In the order in which they sign. */
  #keys: readonly Key[];
  /** Which one signed at the last look. */
  #signed: string | undefined;

  /** Without those that cannot be opened: another one is made in their place, and the gateway serves on. */
  constructor(parts: SigningKeysParts) {
    this.#parts = parts;
    this.#keys = parts.database
      .prepare('SELECT * FROM signing_keys WHERE purpose = ? ORDER BY signs_from, kid')
      .all(parts.purpose)
      .flatMap((row) => this.#opened(row));
  }

  /** The one that signs now. @throws SallyportError `no-key` before the first `tend`. */
  get current(): SigningKey {
    const key = this.#signing();
    if (key === undefined)
      throw new SallyportError('no-key', `no key signs ${this.#parts.purpose}`);
    return key;
  }

  /** Public JWKs of all whose signatures are, or will soon be, good. */
  get publicKeys(): readonly Readonly<Record<string, string>>[] {
    return this.#keys.map(({ publicJwk }) => publicJwk);
  }

  /**
   * Makes what is missing and due, and forgets what is over. To be called again and again.
   *
   * @returns whether `publicKeys` are others, or `current` is. @throws SallyportError `io`.
   */
  tend(): boolean {
    const { clock, rotationMs } = this.#parts;
    const now = clock.now();
    const life = rotationMs();
    const ahead = Math.min(announcedMs, life / 4);
    this.#bringForward(now, ahead);
    const before = this.#keys;
    const signed = this.#signed;
    const current = this.#signing();
    if (current === undefined) this.#make(now);
    else if (current === this.#keys.at(-1) && now >= current.signsFrom + life - ahead) {
      // One that should have been replaced while the gateway was off still announces its successor.
      this.#make(now + ahead);
    }
    this.#forget(now);
    this.#signed = this.#signing()?.kid;
    return this.#keys !== before || this.#signed !== signed;
  }

  #opened(row: Row): Key[] {
    const { masterKey, logger, purpose } = this.#parts;
    const kid = text(row, 'kid');
    try {
      const der = masterKey.open(bytes(row, 'sealed'), this.#contextOf(kid));
      const privateKey = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
      der.fill(0);
      return [keyOf(privateKey, integer(row, 'signs_from'))];
    } catch (error) {
      const fields = { purpose, kid, err: messageOf(error) };
      logger.error(fields, 'a key that signs is unreadable and is not used; another one is made');
      return [];
    }
  }

  /** The newest whose time has come; after a clock has gone back, the first. */
  #signing(): Key | undefined {
    const now = this.#parts.clock.now();
    return this.#keys.findLast(({ signsFrom }) => signsFrom <= now) ?? this.#keys[0];
  }

  #make(signsFrom: number): void {
    const { database, masterKey, purpose } = this.#parts;
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const key = keyOf(privateKey, signsFrom);
    const der = privateKey.export({ type: 'pkcs8', format: 'der' });
    const sealed = masterKey.seal(der, this.#contextOf(key.kid));
    der.fill(0);
    database
      .prepare('INSERT INTO signing_keys (purpose, kid, sealed, signs_from) VALUES (?, ?, ?, ?)')
      .run(purpose, key.kid, sealed, signsFrom);
    this.#keys = [...this.#keys, key];
  }

  /**
   * Keys that were made while the clock was ahead of itself are those of now: until their time came none would be made,
   * and the one that signs would do so for years.
   */
  #bringForward(now: number, ahead: number): void {
    const signing = this.#signing();
    const latest = (key: Key): number => (key === signing ? now : now + ahead);
    if (this.#keys.every((key) => key.signsFrom <= latest(key))) return;
    const { database, purpose } = this.#parts;
    const move = database.prepare(
      'UPDATE signing_keys SET signs_from = ? WHERE purpose = ? AND kid = ?',
    );
    const keys = this.#keys.map((key) => ({
      ...key,
      signsFrom: Math.min(key.signsFrom, latest(key)),
    }));
    inTransaction(database, () => {
      for (const { kid, signsFrom } of keys) move.run(signsFrom, purpose, kid);
    });
    this.#keys = keys;
  }

  #forget(now: number): void {
    const { database, purpose, keptMs } = this.#parts;
    const over = this.#keys.filter((_key, index) => {
      const next = this.#keys[index + 1];
      return next !== undefined && now >= next.signsFrom + keptMs;
    });
    if (over.length === 0) return;
    const remove = database.prepare('DELETE FROM signing_keys WHERE purpose = ? AND kid = ?');
    inTransaction(database, () => {
      for (const { kid } of over) remove.run(purpose, kid);
    });
    this.#keys = this.#keys.filter((key) => !over.includes(key));
  }

  #contextOf(kid: string): string {
    return `tokens/${this.#parts.purpose}/${kid}`;
  }
}

function keyOf(privateKey: KeyObject, signsFrom: number): Key {
  const {
    kty = '',
    crv = '',
    x = '',
    y = '',
  } = createPublicKey(privateKey).export({ format: 'jwk' });
  // RFC 7638 section 3: these members, in this order.
  const kid = hash('sha256', JSON.stringify({ crv, kty, x, y }), 'base64url');
  return {
    kid,
    privateKey,
    publicJwk: { kty, crv, x, y, kid, use: 'sig', alg: 'ES256' },
    signsFrom,
  };
}
