/**
 * For the tests of this folder: tokens made from bytes by hand, so that no library's idea of what a token may be stands
 * between a test and what it sends; and a small world in which they are judged.
 */
import { createHmac, generateKeyPairSync, sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import type { Clock } from '../../../common/base/clock.ts';
import { principalName } from '../../../common/base/principal.ts';
import type { PrincipalName } from '../../../common/base/principal.ts';
import type { IntrospectionSettings, TokenIssuer } from '../../../common/ipc/credentials.ts';
import type { IdentityRecord } from '../../policy/ports.ts';
import type { IntrospectionAnswer, RegisteredPublicKey, Remembered, TokenPorts } from './ports.ts';
import { Tokens } from './tokens.ts';
import type { TokenRequest } from './tokens.ts';

export interface Pair {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}

export function pair(kind: 'P-256' | 'P-384' | 'P-521' | 'Ed25519' | 'RSA'): Pair {
  if (kind === 'Ed25519') return generateKeyPairSync('ed25519');
  if (kind === 'RSA') return generateKeyPairSync('rsa', { modulusLength: 2_048 });
  return generateKeyPairSync('ec', { namedCurve: kind });
}

export function jwkOf({ publicKey }: Pair): Readonly<Record<string, unknown>> {
  return { ...publicKey.export({ format: 'jwk' }) };
}

export type Json = Readonly<Record<string, unknown>>;

export function segment(value: string | Buffer | Json): string {
  const bytes = typeof value === 'string' || Buffer.isBuffer(value) ? value : JSON.stringify(value);
  return Buffer.from(bytes).toString('base64url');
}

/** Over the two segments, as RFC 7515 section 5.1 has it. */
export type Signer = (input: string) => Buffer;

export function ecdsa({ privateKey: key }: Pair, hash = 'sha256', der = false): Signer {
  const dsaEncoding = der ? 'der' : 'ieee-p1363';
  return (input) => sign(hash, Buffer.from(input), { key, dsaEncoding });
}

export function eddsa({ privateKey }: Pair): Signer {
  return (input) => sign(null, Buffer.from(input), privateKey);
}

export function hmac(secret: string | Buffer, hash = 'sha256'): Signer {
  return (input) => createHmac(hash, secret).update(input).digest();
}

export function jws(
  header: string | Buffer | Json,
  claims: string | Buffer | Json,
  by: Signer,
): string {
  const input = `${segment(header)}.${segment(claims)}`;
  return `${input}.${by(input).toString('base64url')}`;
}

/** 2023-11-14T22:13:20Z, in seconds. */
export const now = 1_700_000_000;

export class HandClock implements Clock {
  ms = now * 1_000;

  now(): number {
    return this.ms;
  }

  monotonic(): number {
    return this.ms;
  }
}

export const issuerUrl = 'https://login.example';
export const audience = 'https://gateway.example';
export const host = 'gateway.example:8443';
export const path = '/backend/x';

export function issuerOf(keys: TokenIssuer['keys'], more: Partial<TokenIssuer> = {}): TokenIssuer {
  return {
    name: 'login',
    issuer: issuerUrl,
    audiences: [audience, 'sallyport'],
    algorithms: ['ES256'],
    binding: 'bearer',
    strictType: true,
    keys,
    keysNotAfter: (now + 86_400) * 1_000,
    introspection: undefined,
    principal: {
      kind: 'service',
      claim: 'sub',
      prefix: 'app-',
      register: 'known',
      role: 'guest',
      scopes: [],
    },
    ...more,
  };
}

/** Ports with nothing behind them: what a test registers, remembers and answers. */
export class World {
  readonly clock = new HandClock();
  readonly identities = new Map<PrincipalName, IdentityRecord>();
  readonly keys = new Map<string, RegisteredPublicKey>();
  readonly remembered = new Set<string>();
  readonly refreshed: string[] = [];
  /** What was sent to whom, to be introspected. */
  readonly asked: string[] = [];
  readonly closed: string[] = [];
  memory: Remembered | undefined;
  answer: (token: string) => IntrospectionAnswer = () => ({ outcome: 'inactive' });
  readonly tokens: Tokens;

  constructor() {
    const ports: TokenPorts = {
      clock: this.clock,
      names: () => ({
        trustDomain: 'fleet.example',
        hosts: ['gateway.example', '*.site.example', '::1'],
      }),
      bounds: () => ({
        tokenBytes: 8_192,
        cachedTokens: 100,
        tokenClockMs: 60_000,
        deviceTokenLifeMs: 3_600_000,
      }),
      identity: (name) => this.identities.get(name),
      keyOf: (id) => this.keys.get(id) ?? 'the key is not registered',
      remember: (owner, id, ttlMs) => this.#remember(`${owner} ${id}`, ttlMs),
      refreshKeys: (issuer) => this.refreshed.push(issuer),
      introspector: ({ url }: IntrospectionSettings) => ({
        ask: (token) => {
          this.asked.push(`${url} ${token}`);
          return Promise.resolve(this.answer(token));
        },
        close: () => this.closed.push(url),
      }),
    };
    this.tokens = new Tokens(ports);
  }

  lastTtlMs = 0;

  async #remember(entry: string, ttlMs: number): Promise<Remembered> {
    this.lastTtlMs = ttlMs;
    await Promise.resolve();
    if (this.memory !== undefined) return this.memory;
    if (this.remembered.has(entry)) return 'seen';
    this.remembered.add(entry);
    return 'new';
  }

  register(kind: 'device' | 'service' | 'operator', id: string, role = 'reader'): IdentityRecord {
    const record: IdentityRecord = { standing: 'active', role, anchor: 'internal' };
    this.identities.set(principalName(kind, id), record);
    return record;
  }

  registerKey(wireId: string, device: string, { publicKey }: Pair): void {
    const stands = (): boolean => this.keys.get(wireId)?.key.equals(publicKey) === true;
    this.keys.set(wireId, { principal: principalName('device', device), key: publicKey, stands });
  }
}

export function requestWith(
  authorization: string | undefined,
  more: Partial<TokenRequest> = {},
): TokenRequest {
  return {
    authorization,
    dpop: [],
    method: 'POST',
    authority: host,
    path,
    peer: { certificate: undefined, principal: undefined },
    ...more,
  };
}
