/**
 * From a key's name on the wire to what verifies with it. A key is made ready when it is used for the first time and kept
 * as long as the snapshot has the very same one: one that was removed or changed is found no more from that moment on.
 */
import { createPublicKey, createSecretKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import type { Clock } from '../../common/base/clock.ts';
import { SallyportError } from '../../common/base/errors.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import { derivedKey } from '../../common/identity/derived-key.ts';
import { parseWireKeyId } from '../../common/identity/wire-key-id.ts';
import type { RegisteredKey } from '../../common/ipc/credentials.ts';
import type { IdentityDirectory, KeyedIdentity } from './ports.ts';

/** As RFC 9421 section 3.3 names them; a key has one and no other. */
export type SignatureAlgorithm =
  | 'hmac-sha256'
  | 'ecdsa-p256-sha256'
  | 'ecdsa-p384-sha384'
  | 'ed25519';

export interface UsableKey {
  readonly algorithm: SignatureAlgorithm;
  readonly key: KeyObject;
}

/** A derived key is its principal's own, even if two should be registered by one object. */
interface OwnedKey extends UsableKey {
  readonly principal: PrincipalName;
}

export interface FoundKey extends UsableKey {
  readonly principal: PrincipalName;
  /** The snapshot's live record. */
  readonly identity: KeyedIdentity;
  /** `RegisteredKey.id`. */
  readonly id: string;
  /** As the snapshot had it. */
  readonly registered: RegisteredKey;
}

/** Keys that are kept ready, of the fleet's hundreds of thousands: a derived one costs 8 µs to make again. */
const keptReady = 16_384;
/** RFC 2104 section 3: a shorter one than the hash is weak; longer ones are hashed before use. */
const secretBytes = { least: 16, most: 64 } as const;

export class RegisteredKeys {
  readonly #directory: IdentityDirectory;
  readonly #integrityKey: Buffer;
  readonly #clock: Clock;
  /** By the object of the snapshot, which is another one when the key is. The older half goes when the newer is full. */
  #newer = new Map<RegisteredKey, OwnedKey>();
  #older = new Map<RegisteredKey, OwnedKey>();

  /** @param integrityKey `WorkerKeys.integrity`, decoded. */
  constructor(directory: IdentityDirectory, integrityKey: Buffer, clock: Clock) {
    this.#directory = directory;
    this.#integrityKey = integrityKey;
    this.#clock = clock;
  }

  /**
   * Whether its principal may do anything is not looked at.
   *
   * @param name as it came on the wire; untrusted.
   * @returns why there is no such key, for the log, when there is none.
   */
  keyOf(name: string): FoundKey | string {
    const named = parseWireKeyId(name);
    if (named === undefined) return 'the key id names no key';
    const { principal, id } = named;
    const identity = this.#directory.identity(principal);
    const registered = identity?.keys.find((key) => key.id === id);
    if (identity === undefined || registered === undefined) return 'the key is not registered';
    return this.#found(identity, registered, principal);
  }

  /**
   * Whether it is registered as it was when it was found, and holds: what lasts longer than a request has to ask again.
   * Sessions do so every second, by the thousands: nothing is made ready for it.
   */
  stands({ principal, id, identity, registered }: FoundKey): boolean {
    if (this.#directory.identity(principal) !== identity) return false;
    const known = identity.keys.find((key) => key.id === id);
    return known !== undefined && isSameKey(known, registered) && !this.#isOver(known);
  }

  /** The HMAC keys of a principal that hold now, for a signature that names none. */
  hmacKeysOf(principal: PrincipalName): FoundKey[] {
    const identity = this.#directory.identity(principal);
    const found: FoundKey[] = [];
    for (const registered of identity?.keys ?? []) {
      if (identity === undefined || registered.type === 'public') continue;
      const key = this.#found(identity, registered, principal);
      if (typeof key !== 'string') found.push(key);
    }
    return found;
  }

  #found(
    identity: KeyedIdentity,
    registered: RegisteredKey,
    principal: PrincipalName,
  ): FoundKey | string {
    if (this.#isOver(registered)) return 'the key has expired';
    try {
      const { algorithm, key } = this.#ready(registered, principal);
      return { algorithm, key, principal, identity, id: registered.id, registered };
    } catch {
      // Of a control that knows more kinds than this worker does, for example. What it holds belongs in no log.
      return 'the key cannot be used';
    }
  }

  #isOver({ notAfter }: RegisteredKey): boolean {
    return notAfter !== undefined && notAfter <= this.#clock.now();
  }

  #ready(registered: RegisteredKey, principal: PrincipalName): UsableKey {
    const kept = this.#newer.get(registered);
    if (kept?.principal === principal) return kept;
    const older = this.#older.get(registered);
    const usable: OwnedKey =
      older?.principal === principal ? older : { ...this.#made(registered, principal), principal };
    if (this.#newer.size >= keptReady / 2) {
      this.#older = this.#newer;
      this.#newer = new Map();
    }
    this.#newer.set(registered, usable);
    return usable;
  }

  #made(registered: RegisteredKey, principal: PrincipalName): UsableKey {
    switch (registered.type) {
      case 'derived': {
        const secret = derivedKey(this.#integrityKey, { principal, id: registered.id });
        return { algorithm: 'hmac-sha256', key: createSecretKey(secret) };
      }
      case 'secret': {
        const secret = Buffer.from(registered.secret, 'base64');
        if (secret.length < secretBytes.least || secret.length > secretBytes.most) throw unusable();
        return { algorithm: 'hmac-sha256', key: createSecretKey(secret) };
      }
      case 'public': {
        const key = createPublicKey({
          key: Buffer.from(registered.spki, 'base64'),
          format: 'der',
          type: 'spki',
        });
        return { algorithm: publicAlgorithm(key), key };
      }
    }
  }
}

/** Of one principal and id: a fresh snapshot has other objects of the same keys. */
function isSameKey(a: RegisteredKey, b: RegisteredKey): boolean {
  return a === b || (a.type === b.type && materialOf(a) === materialOf(b));
}

function materialOf(key: RegisteredKey): string {
  switch (key.type) {
    case 'derived':
      return '';
    case 'secret':
      return key.secret;
    case 'public':
      return key.spki;
  }
}

function publicAlgorithm(key: KeyObject): SignatureAlgorithm {
  if (key.asymmetricKeyType === 'ed25519') return 'ed25519';
  const curve = key.asymmetricKeyType === 'ec' ? key.asymmetricKeyDetails?.namedCurve : undefined;
  if (curve === 'prime256v1') return 'ecdsa-p256-sha256';
  if (curve === 'secp384r1') return 'ecdsa-p384-sha384';
  throw unusable();
}

function unusable(): SallyportError {
  return new SallyportError('no-key', 'a key of a kind or size that is not for signatures');
}
