/**
 * Microseconds of CPU, of all threads, to authenticate a request by a token: one that was verified before, one that is new,
 * and one with a DPoP proof; and what the signature alone costs with `jose` and with `node:crypto`.
 * Prints one JSON line per subject: the median and the spread of the rounds.
 */
import { generateKeyPairSync, hash, sign, verify } from 'node:crypto';
import { compactVerify } from 'jose';
import { systemClock } from '../src/common/base/clock.ts';
import { thumbprint } from '../src/worker/credentials/tokens/public-jwk.ts';
import { Tokens } from '../src/worker/credentials/tokens/tokens.ts';
import type { TokenRequest } from '../src/worker/credentials/tokens/tokens.ts';

const rounds = 7;
const perRound = 1_000;
const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const jwk = { ...publicKey.export({ format: 'jwk' }) };
const now = Math.floor(Date.now() / 1_000);

function jws(header: object, claims: object): string {
  const input = [header, claims]
    .map((each) => Buffer.from(JSON.stringify(each)).toString('base64url'))
    .join('.');
  const key = { key: privateKey, dsaEncoding: 'ieee-p1363' as const };
  return `${input}.${sign('sha256', Buffer.from(input), key).toString('base64url')}`;
}

function access(jti: string, claims: object = {}): string {
  const standard = { iss: 'https://id.example', aud: 'x', sub: 'a', client_id: 'a', iat: now };
  const all = { ...standard, exp: now + 3_600, jti, ...claims };
  return jws({ alg: 'ES256', typ: 'at+jwt', kid: 'k' }, all);
}

const identity = { standing: 'active', role: 'backend', anchor: 'internal' } as const;
const tokens = new Tokens({
  clock: systemClock,
  names: () => ({ trustDomain: 'fleet.example', hosts: ['gateway.example'] }),
  bounds: () => ({
    tokenBytes: 8_192,
    cachedTokens: 10_000,
    tokenClockMs: 600_000,
    deviceTokenLifeMs: 3_600_000,
  }),
  identity: () => identity,
  keyOf: () => 'none',
  remember: () => 'new',
  refreshKeys: () => {},
  introspector: () => ({
    ask: () => Promise.resolve({ outcome: 'inactive' }),
    close: () => {},
  }),
});
tokens.update({
  issuers: [
    {
      name: 'id',
      issuer: 'https://id.example',
      audiences: ['x'],
      algorithms: ['ES256'],
      binding: 'bearer',
      strictType: true,
      keys: [{ ...jwk, kid: 'k' }],
      keysNotAfter: (now + 86_400) * 1_000,
      introspection: undefined,
      principal: {
        kind: 'service',
        claim: 'sub',
        prefix: '',
        register: 'known',
        role: '',
        scopes: [],
      },
    },
  ],
});

async function passes(authorization: string, dpop: readonly string[] = []): Promise<boolean> {
  const request: TokenRequest = {
    authorization,
    dpop,
    method: 'GET',
    authority: 'gateway.example',
    path: '/x',
    peer: { certificate: undefined, principal: undefined },
  };
  return (await tokens.authenticate(request)).ok;
}

async function measure(subject: string, work: (i: number) => Promise<boolean>): Promise<void> {
  const results: number[] = [];
  for (let round = 0; round < rounds + 1; round += 1) {
    const before = process.cpuUsage();
    for (let i = 0; i < perRound; i += 1) {
      if (!(await work(round * perRound + i))) throw new TypeError(`${subject}: refused`);
    }
    const { user, system } = process.cpuUsage(before);
    // The first round warms the compiler up.
    if (round > 0) results.push((user + system) / perRound);
  }
  results.sort((a, b) => a - b);
  const figure = (index: number): number => Number((results[index] ?? 0).toFixed(1));
  const [median, min, max] = [figure(Math.floor(rounds / 2)), figure(0), figure(rounds - 1)];
  console.log(JSON.stringify({ subject, unit: 'µs', median, min, max }));
}

const made = (rounds + 1) * perRound;
const same = access('same');
const fresh = Array.from({ length: made }, (_, i) => access(`fresh ${i}`));
const bound = access('bound', { cnf: { jkt: thumbprint(jwk) } });
const ath = hash('sha256', bound, 'base64url');
const proofs = Array.from({ length: made }, (_, i) =>
  jws(
    { alg: 'ES256', typ: 'dpop+jwt', jwk },
    { jti: String(i), htm: 'GET', htu: 'https://gateway.example/x', iat: now, ath },
  ),
);
const byJose = async (token: string): Promise<boolean> =>
  (await compactVerify(token, publicKey, { algorithms: ['ES256'] })).payload.length > 0;
const byNode = (token: string): Promise<boolean> => {
  const dot = token.lastIndexOf('.');
  const key = { key: publicKey, dsaEncoding: 'ieee-p1363' as const };
  const signature = Buffer.from(token.slice(dot + 1), 'base64url');
  return Promise.resolve(verify('sha256', Buffer.from(token.slice(0, dot)), key, signature));
};

await measure('token that was verified before', () => passes(`Bearer ${same}`));
await measure('new token', (i) => passes(`Bearer ${fresh[i]}`));
await measure('token with a DPoP proof', (i) => passes(`DPoP ${bound}`, [proofs[i] ?? '']));
await measure('signature by jose', (i) => byJose(fresh[i] ?? ''));
await measure('signature by node:crypto', (i) => byNode(fresh[i] ?? ''));
