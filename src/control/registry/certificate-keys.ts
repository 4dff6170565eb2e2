/**
 * The keys of certificates, where somebody may sign with them: a device that has a certificate needs no other key. Only
 * of certificates that our own CA has issued: whether another authority still stands by one, the registry does not know.
 */
import type { DatabaseSync } from 'node:sqlite';
import type { Clock } from '../../common/base/clock.ts';
import { errorCodeOf } from '../../common/base/errors.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import { plainKeyKind } from '../../common/codec/der/spki-form.ts';
import { spkiOfCertificate } from '../../common/identity/certificate-spki.ts';
import type { RegisteredKey } from '../../common/ipc/credentials.ts';
import { bytes, integer, text } from '../store/row.ts';
import type { Row } from '../store/row.ts';

export const certificateKeyPrefix = 'cert-';
/** Hex digits of the key's SHA-256: whoever has the key can tell what it is called. */
const digestDigits = 8;
/** Different keys of one identity: the newest certificates', so that a renewal leaves the one before its time. */
const maxKeys = 4;

interface CertificateKey {
  readonly name: PrincipalName;
  readonly issuedAt: number;
  readonly key: Extract<RegisteredKey, { type: 'public' }> & { readonly notAfter: number };
}

export class CertificateKeys {
  readonly #clock: Clock;
  readonly #areUsed: () => boolean;
  readonly #ofPrincipal: ReturnType<DatabaseSync['prepare']>;
  readonly #all: ReturnType<DatabaseSync['prepare']>;

  /** @param areUsed whether anything in the configuration takes signatures that could be made with them. */
  constructor(database: DatabaseSync, clock: Clock, areUsed: () => boolean) {
    this.#clock = clock;
    this.#areUsed = areUsed;
    // An operator signs nothing that a device listener would take.
    const valid = `SELECT principal, spki_sha256, not_after, der, issued_at FROM certificates
      WHERE anchor = 'internal' AND revoked_at IS NULL AND not_after > ?
        AND principal NOT LIKE 'operator/%'`;
    this.#all = database.prepare(valid);
    this.#ofPrincipal = database.prepare(`${valid} AND principal = ?`);
  }

  of(name: PrincipalName): readonly RegisteredKey[] {
    if (!this.#areUsed()) return [];
    return newest(this.#ofPrincipal.all(this.#clock.now(), name).flatMap(certificateKey));
  }

  all(): ReadonlyMap<PrincipalName, readonly RegisteredKey[]> {
    const found = new Map<PrincipalName, CertificateKey[]>();
    if (!this.#areUsed()) return new Map();
    for (const row of this.#all.iterate(this.#clock.now())) {
      for (const each of certificateKey(row)) {
        const known = found.get(each.name);
        if (known === undefined) found.set(each.name, [each]);
        else known.push(each);
      }
    }
    return new Map(Array.from(found, ([name, keys]) => [name, newest(keys)]));
  }
}

/** None when it is of a kind that nothing is signed with here. */
function certificateKey(row: Row): CertificateKey[] {
  const spki = spkiOf(bytes(row, 'der'));
  if (spki === undefined || plainKeyKind(spki) === undefined) return [];
  const id = `${certificateKeyPrefix}${text(row, 'spki_sha256').slice(0, digestDigits)}`;
  return [
    {
      name: text(row, 'principal') as PrincipalName, // a foreign key into identities
      issuedAt: integer(row, 'issued_at'),
      key: {
        type: 'public',
        id,
        spki: spki.toString('base64'),
        notAfter: integer(row, 'not_after'),
      },
    },
  ];
}

function spkiOf(der: Uint8Array): Buffer | undefined {
  try {
    return spkiOfCertificate(Buffer.from(der.buffer, der.byteOffset, der.length));
  } catch (thrown) {
    // What is no certificate has no key; `ca check` finds it.
    if (errorCodeOf(thrown) === 'malformed') return undefined;
    throw thrown;
  }
}

/** Each key once, for as long as the last of its certificates is good. */
function newest(keys: readonly CertificateKey[]): RegisteredKey[] {
  const byId = new Map<string, CertificateKey['key']>();
  const order = keys.toSorted((a, b) => b.issuedAt - a.issuedAt || b.key.notAfter - a.key.notAfter);
  for (const { key } of order) {
    const known = byId.get(key.id);
    if (known === undefined) byId.set(key.id, key);
    // A digest that begins alike is another key, and the newer one has the name.
    else if (known.spki === key.spki && key.notAfter > known.notAfter) byId.set(key.id, key);
  }
  return [...byId.values()].slice(0, maxKeys);
}
