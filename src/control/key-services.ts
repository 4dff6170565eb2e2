/** What operators can do about the keys with which devices and services sign: registry, audit log and workers in the right order. */
import { createPublicKey, hash } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import type { Clock } from '../common/base/clock.ts';
import { errorCodeOf, messageOf, SallyportError } from '../common/base/errors.ts';
import { principalParts, printable } from '../common/base/principal.ts';
import type { PrincipalName } from '../common/base/principal.ts';
import { decodePem } from '../common/codec/der/pem.ts';
import { plainKeyKind } from '../common/codec/der/spki-form.ts';
import { derivedKey } from '../common/identity/derived-key.ts';
import { wireKeyId } from '../common/identity/wire-key-id.ts';
import type {
  Actor,
  AddedKey,
  KeyToAdd,
  KeyView,
  RegisteredIdentity,
  RemovedKey,
} from './admin/ports.ts';
import type { AuditLog } from './audit-log/audit-log.ts';
import { assertStrongKey } from './enrolment/checks/key-strength.ts';
import { certificateKeyPrefix } from './registry/certificate-keys.ts';
import type { CertificateKeys } from './registry/certificate-keys.ts';
import { isLive } from './registry/key-records.ts';
import type { KeyRecord } from './registry/key-records.ts';
import type { NewKey, RegisteredKeys, Replacement } from './registry/registered-keys.ts';
import type { Registry } from './registry/registry.ts';
import { secretWeakness } from './registry/secret-weakness.ts';
import { hintFor } from './registry/standing.ts';
import type { SnapshotPublisher } from './snapshot/publisher.ts';

const ownAnchor = 'internal';
const publicKinds = ['P-256', 'P-384', 'Ed25519'] as const;
const makePublic = 'take the public half: openssl pkey -in KEY -pubout -out FILE';

export interface KeyServiceParts {
  readonly clock: Clock;
  readonly registry: Pick<
    Registry,
    'get' | 'entry' | 'register' | 'assertRegistrable' | 'assertKeyFree'
  >;
  readonly keys: RegisteredKeys;
  readonly certificateKeys: Pick<CertificateKeys, 'of'>;
  /** `WorkerKeys.integrity`, decoded. */
  readonly integrityKey: Buffer;
  readonly auditLog: Pick<AuditLog, 'append'>;
  readonly publisher: Pick<SnapshotPublisher, 'publish' | 'publishAddition'>;
}

export class KeyServices {
  readonly #parts: KeyServiceParts;

  constructor(parts: KeyServiceParts) {
    this.#parts = parts;
  }

  /** Oldest first, those of certificates last. @throws SallyportError `unknown-principal`. */
  list(name: PrincipalName): readonly KeyView[] {
    const { registry, keys, certificateKeys } = this.#parts;
    if (registry.get(name) === undefined) throw unknown(name);
    return [
      ...keys.list(name).map(viewOf),
      ...certificateKeys.of(name).flatMap((key): KeyView[] => {
        if (key.type !== 'public') return [];
        const spki = Buffer.from(key.spki, 'base64');
        return [
          {
            id: key.id,
            keyId: wireKeyId({ principal: name, id: key.id }),
            type: 'certificate',
            algorithm: plainKeyKind(spki) ?? 'P-256',
            notAfter: key.notAfter,
          },
        ];
      }),
    ];
  }

  /** On record before it is registered: an identity that can sign has to have come from somewhere. */
  async register(actor: Actor, name: PrincipalName, role: string): Promise<RegisteredIdentity> {
    const { registry, auditLog, publisher } = this.#parts;
    assertSigner(name);
    registry.assertRegistrable(name, role, ownAnchor);
    const isNew = registry.get(name) === undefined;
    if (isNew) {
      auditLog.append({
        actor,
        action: 'register',
        target: name,
        detail: { anchor: ownAnchor, role },
      });
    }
    const change = registry.register(name, role, ownAnchor);
    if (change !== undefined) {
      await publisher.publishAddition([{ type: 'identity', entry: change.entry }]);
    }
    return { name, role, created: isNew };
  }

  /** Resolves when every worker takes it. */
  async add(actor: Actor, name: PrincipalName, order: KeyToAdd): Promise<AddedKey> {
    const { clock, keys, integrityKey, auditLog } = this.#parts;
    this.#assertMayHave(name);
    const now = clock.now();
    const replaces = this.#replacement(name, order, now);
    const notAfter = order.ttlMs === undefined ? undefined : now + order.ttlMs;
    const record = keys.prepare(name, this.#keyOf(name, order, { createdBy: actor, notAfter }));
    const view = viewOf(record);
    auditLog.append({
      actor,
      action: 'add-key',
      target: name,
      detail: {
        key: record.id,
        type: record.type,
        algorithm: view.algorithm,
        sha256: view.sha256,
        expires: timeOf(notAfter),
        replaces: replaces?.id,
        overlapsUntil: timeOf(replaces?.endsAt),
      },
    });
    keys.add(record, replaces);
    const told = await this.#publish(name, replaces === undefined);
    return {
      ...view,
      ...(record.type === 'derived'
        ? { key: derivedKey(integrityKey, { principal: name, id: record.id }).toString('hex') }
        : {}),
      ...(replaces === undefined ? {} : { replaced: viewOf(keys.get(name, replaces.id)) }),
      ...told,
    };
  }

  /** Resolves when no worker takes it any more. What takes something away does not wait for its record. */
  async remove(
    actor: Actor,
    name: PrincipalName,
    id: string,
    reason: string | undefined,
  ): Promise<RemovedKey> {
    const { registry, keys, auditLog } = this.#parts;
    if (registry.get(name) === undefined) throw unknown(name);
    assertNotOfCertificate(name, id);
    const removed = viewOf(keys.remove(name, id));
    const published = this.#publish(name, false);
    try {
      const { type, sha256 } = removed;
      auditLog.append({
        actor,
        action: 'remove-key',
        target: name,
        detail: { key: id, type, sha256, reason },
      });
    } finally {
      await published;
    }
    return { ...removed, ...(await published) };
  }

  /** The workers have been told when it returns. */
  #publish(name: PrincipalName, isAddition: boolean) {
    const { registry, publisher } = this.#parts;
    const changes = [{ type: 'identity', entry: registry.entry(name) } as const];
    return isAddition ? publisher.publishAddition(changes) : publisher.publish(changes);
  }

  #assertMayHave(name: PrincipalName): void {
    assertSigner(name);
    const identity = this.#parts.registry.get(name);
    if (identity === undefined) throw unknown(name);
    if (identity.standing === 'active') return;
    throw new SallyportError('wrong-standing', `${name} is ${identity.standing} and gets no key`, {
      hint: hintFor(name, identity.standing),
    });
  }

  #replacement(name: PrincipalName, { replaces }: KeyToAdd, now: number): Replacement | undefined {
    if (replaces === undefined) return undefined;
    assertNotOfCertificate(name, replaces.id);
    if (!isLive(this.#parts.keys.get(name, replaces.id), now)) {
      throw new SallyportError('usage', `the key ${replaces.id} of ${name} has ended`, {
        hint: 'there is nothing to replace: add a key without it',
      });
    }
    return { id: replaces.id, endsAt: now + replaces.overlapMs };
  }

  #keyOf(
    name: PrincipalName,
    { key }: KeyToAdd,
    common: Pick<NewKey, 'createdBy' | 'notAfter'>,
  ): NewKey {
    if (key.type === 'derived') return { ...common, ...key };
    const { id } = key;
    if (key.type === 'secret') {
      const { type, secret } = key;
      const weakness = secretWeakness(secret);
      if (weakness === undefined) return { ...common, type, secret, id };
      throw new SallyportError('usage', `the key is too weak: ${weakness}`, {
        hint: 'make one with: openssl rand -out FILE 32; or let the gateway derive one',
      });
    }
    const spki = publicKey(key.pem);
    this.#parts.registry.assertKeyFree(name, hash('sha256', spki));
    return { ...common, type: 'public', spki, id };
  }
}

/** DER SubjectPublicKeyInfo, judged as the key of a certificate is. @throws SallyportError `usage`. */
function publicKey(pem: string): Buffer {
  if (pem.includes('PRIVATE KEY')) {
    throw new SallyportError('usage', 'this is a private key, which stays on the device', {
      hint: makePublic,
    });
  }
  const blocks = blocksOf(pem);
  const [spki] = blocks;
  if (spki === undefined || blocks.length > 1) {
    throw new SallyportError('usage', 'this is not one public key in PEM', { hint: makePublic });
  }
  try {
    assertStrongKey(spki, readKey(spki), publicKinds);
  } catch (thrown) {
    if (!(thrown instanceof SallyportError) || thrown.code !== 'invalid-csr') throw thrown;
    const { hint } = thrown;
    throw new SallyportError('usage', thrown.message, hint === undefined ? {} : { hint });
  }
  return spki;
}

function blocksOf(pem: string): readonly Buffer[] {
  try {
    return decodePem('PUBLIC KEY', pem);
  } catch (thrown) {
    if (errorCodeOf(thrown) !== 'malformed') throw thrown;
    throw new SallyportError('usage', messageOf(thrown), { hint: makePublic });
  }
}

function readKey(spki: Buffer): KeyObject {
  try {
    return createPublicKey({ key: spki, format: 'der', type: 'spki' });
  } catch (thrown) {
    throw new SallyportError('usage', 'the public key cannot be read', {
      hint: makePublic,
      cause: thrown,
    });
  }
}

function viewOf(record: KeyRecord): KeyView {
  const { principal, id, type, fingerprint, material, createdAt, createdBy } = record;
  const { notAfter, revokedAt } = record;
  const common = { id, keyId: wireKeyId(record), createdAt, createdBy, notAfter, revokedAt };
  if (type !== 'public') return { ...common, type, algorithm: 'HMAC-SHA-256' };
  const algorithm = plainKeyKind(Buffer.from(material ?? []));
  if (algorithm !== undefined) return { ...common, type, algorithm, sha256: fingerprint };
  throw new SallyportError('tampered', `the key ${id} of ${principal} is of no known kind`);
}

function timeOf(ms: number | undefined): string | undefined {
  return ms === undefined ? undefined : new Date(ms).toISOString();
}

/** Operators act on the admin API, which takes certificates only. */
function assertSigner(name: PrincipalName): void {
  const { kind } = principalParts(name);
  if (kind !== 'operator') return;
  throw new SallyportError('usage', 'operators have certificates and no other keys', {
    hint: 'invite them: sallyport operator invite NAME',
  });
}

function assertNotOfCertificate(name: PrincipalName, id: string): void {
  if (!id.startsWith(certificateKeyPrefix)) return;
  const { kind, id: owner } = principalParts(name);
  throw new SallyportError('usage', `${printable(id)} is the key of a certificate`, {
    hint: `it ends with the certificate: sallyport ${kind} revoke ${owner}`,
  });
}

function unknown(name: PrincipalName): SallyportError {
  const { kind, id } = principalParts(name);
  if (kind === 'operator') {
    return new SallyportError('unknown-principal', `${name} is not known`, {
      hint: `see: sallyport operator list; or invite them: sallyport operator invite ${id}`,
    });
  }
  const register =
    kind === 'device' ? `device register ${id}` : `service register ${id} --role ROLE`;
  return new SallyportError('unknown-principal', `${name} is not known`, {
    hint: `give it a certificate, or register it without one: sallyport ${register}`,
  });
}
