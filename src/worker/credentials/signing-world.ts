/** For tests: principals with keys, and messages signed by code of its own, line by line as docs/signatures.md says. */
import { createHmac, generateKeyPairSync, hash, sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import type { Clock } from '../../common/base/clock.ts';
import { SallyportError } from '../../common/base/errors.ts';
import { silentLogger } from '../../common/base/logger.ts';
import { principalName } from '../../common/base/principal.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import type { IntegrityDocument } from '../../common/config/proxied-route.ts';
import { derivedKey } from '../../common/identity/derived-key.ts';
import type { RegisteredKey } from '../../common/ipc/credentials.ts';
import type { IdentityDirectory, KeyedIdentity, OnceStore } from './ports.ts';
import { RegisteredKeys } from './registered-keys.ts';
import { ReplayGuard } from './replay-guard.ts';
import { Signatures } from './signatures.ts';
import type { SignedRequestParts } from './signatures.ts';

export const d1 = principalName('device', 'd1');
export const d2 = principalName('device', 'd2');

export const rules: IntegrityDocument = {
  required: true,
  accept: ['hmac', 'http-signature'],
  windowMs: 60_000,
};

const pairs = {
  p256: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  p384: generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  ed25519: generateKeyPairSync('ed25519'),
};
export type PairName = keyof typeof pairs;
const secret = Buffer.from('0123456789abcdef0123456789abcdef');

/** What `new` would have to be told of, in memory. */
class Seen implements OnceStore {
  fails = false;
  readonly #keys = new Set<string>();

  async putIfAbsent(key: Buffer): Promise<boolean> {
    if (this.fails) throw new SallyportError('io', 'down');
    const name = key.toString('hex');
    if (this.#keys.has(name)) return false;
    this.#keys.add(name);
    return true;
  }

  sweep(): Promise<number> {
    return Promise.resolve(0);
  }
}

export class SigningWorld implements IdentityDirectory {
  now = 1_763_740_800_000;
  readonly clock: Clock = { now: () => this.now, monotonic: () => this.now };
  readonly store = new Seen();
  readonly complaints: unknown[] = [];
  perOwner = 1_000;
  readonly integrityKey = Buffer.alloc(32, 1);
  readonly identities = new Map<PrincipalName, KeyedIdentity>();
  readonly keys = new RegisteredKeys(this, this.integrityKey, this.clock);
  readonly replays = this.guard();
  readonly signatures = this.worker();

  constructor() {
    for (const name of [d1, d2]) this.register(name, ...standardKeys());
  }

  identity(name: PrincipalName): KeyedIdentity | undefined {
    return this.identities.get(name);
  }

  register(name: PrincipalName, ...keys: readonly RegisteredKey[]): void {
    this.identities.set(name, { standing: 'active', role: 'device', anchor: 'internal', keys });
  }

  /** Another worker of the same gateway. */
  worker(): Signatures {
    return new Signatures({ keys: this.keys, replays: this.guard(), clock: this.clock });
  }

  guard(): ReplayGuard {
    return new ReplayGuard({
      store: this.store,
      durability: () => 'process',
      perOwner: () => this.perOwner,
      clock: this.clock,
      logger: {
        ...silentLogger,
        error: (fields: object) => void this.complaints.push(fields),
      },
    });
  }

  derived(principal: PrincipalName, id = 'own'): Buffer {
    return derivedKey(this.integrityKey, { principal, id });
  }

  /** Signed with the derived key of the device. */
  hmac(request: Partial<SignedRequestParts> & Fields = {}): SignedRequestParts {
    const { timestamp = String(this.now / 1_000), nonce = nextNonce(), keyId = 'd1.own' } = request;
    const parts = { ...telemetry, ...request };
    const lines = [
      'SALLYPORT-HMAC-SHA256',
      parts.method,
      parts.path,
      parts.query ?? '',
      timestamp,
      nonce,
      keyId,
      hash('sha256', parts.body, 'hex'),
    ];
    const key = request.key ?? this.derived(d1);
    const signature = createHmac('sha256', key).update(lines.join('\n')).digest('hex');
    const rawHeaders = ['Host', 'gateway.example'];
    rawHeaders.push('X-IoT-Signature', signature, 'X-IoT-Timestamp', timestamp);
    rawHeaders.push('X-IoT-Nonce', nonce, 'X-IoT-Key-Id', keyId);
    return { ...parts, rawHeaders };
  }

  /** RFC 9421 with any of the keys; `components` and `parameters` as they are to be written. */
  message(request: Partial<SignedRequestParts> & MessageFields = {}): SignedRequestParts {
    const parts = { ...telemetry, ...request };
    const {
      by = 'own',
      components = '"@method" "@path" "content-digest"',
      digest = hash('sha256', parts.body, 'base64'),
    } = request;
    const seconds = this.now / 1_000;
    const parameters =
      request.parameters ?? `;created=${seconds};nonce="${nextNonce()}";keyid="d1.${by}"`;
    const values: Readonly<Record<string, string>> = {
      '@method': parts.method,
      '@path': parts.path,
      '@query': `?${parts.query ?? ''}`,
      '@target-uri': `https://gateway.example${parts.path}${parts.query === undefined ? '' : `?${parts.query}`}`,
      '@request-target': `${parts.path}${parts.query === undefined ? '' : `?${parts.query}`}`,
      '@authority': 'gateway.example',
      '@scheme': 'https',
      host: 'Gateway.Example:443',
      'content-digest': `sha-256=:${digest}:`,
      'x-twice': 'a, b',
    };
    const names = components === '' ? [] : components.split(' ');
    const lines = names.map((name) => `${name}: ${values[name.slice(1, -1)] ?? ''}`);
    const input = `(${components})${parameters}`;
    const base = [...lines, `"@signature-params": ${input}`].join('\n');
    const signature = this.#signed(by, base).toString('base64');
    const rawHeaders = ['Host', 'Gateway.Example:443', 'Signature-Input', `sig1=${input}`];
    rawHeaders.push('Signature', `sig1=:${signature}:`, 'X-Twice', 'a', 'x-twice', ' b');
    if (digest !== '') rawHeaders.push('Content-Digest', `sha-256=:${digest}:`);
    return { ...parts, rawHeaders };
  }

  #signed(by: string, base: string): Buffer {
    if (by === 'own') return createHmac('sha256', this.derived(d1)).update(base).digest();
    if (by === 'secret') return createHmac('sha256', secret).update(base).digest();
    const { privateKey } = pairs[by as PairName]; // the only others that tests name
    if (by === 'ed25519') return sign(null, Buffer.from(base), privateKey);
    const key = { key: privateKey, dsaEncoding: 'ieee-p1363' } as const;
    return sign(by === 'p384' ? 'sha384' : 'sha256', Buffer.from(base), key);
  }
}

interface Fields {
  readonly timestamp?: string;
  readonly nonce?: string;
  readonly keyId?: string;
  readonly key?: Buffer;
}

interface MessageFields {
  readonly by?: 'own' | 'secret' | PairName;
  readonly components?: string;
  readonly parameters?: string;
  /** Base64; empty = none. */
  readonly digest?: string;
}

export const telemetry: SignedRequestParts = {
  method: 'POST',
  path: '/api/v1/telemetry',
  query: undefined,
  rawHeaders: [],
  body: Buffer.from('{"temp": 22.5, "unit": "C"}'),
  principal: undefined,
};

let nonces = 0;

export function nextNonce(): string {
  nonces += 1;
  return `nonce-${String(nonces).padStart(12, '0')}`;
}

export function publicRegistration(id: string, key: KeyObject): RegisteredKey {
  const spki = key.export({ type: 'spki', format: 'der' }).toString('base64');
  return { type: 'public', id, spki, notAfter: undefined };
}

/** Of each kind one, named after it. */
function standardKeys(): RegisteredKey[] {
  return [
    { type: 'derived', id: 'own', notAfter: undefined },
    { type: 'secret', id: 'secret', secret: secret.toString('base64'), notAfter: undefined },
    ...Object.entries(pairs).map(([id, { publicKey }]) => publicRegistration(id, publicKey)),
  ];
}

/** With the header of this name, in whatever case, changed; undefined = left out. */
export function withHeader(
  parts: SignedRequestParts,
  name: string,
  change: (value: string) => string | undefined,
): SignedRequestParts {
  const rawHeaders: string[] = [];
  for (let i = 0; i + 1 < parts.rawHeaders.length; i += 2) {
    const [key = '', value = ''] = parts.rawHeaders.slice(i, i + 2);
    const changed = key.toLowerCase() === name.toLowerCase() ? change(value) : value;
    if (changed !== undefined) rawHeaders.push(key, changed);
  }
  return { ...parts, rawHeaders };
}
