/**
 * EST and everybody who must not be given a certificate: each is told so in an answer of HTTP, over TLS 1.2 and 1.3, also
 * who shows a certificate that no other listener would let in; nothing is issued, and no right is used up.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { after, test } from 'node:test';
import { estRequest } from '../harness/est-listener.ts';
import type { Identity } from '../harness/gateway.ts';
import { RawHttps } from '../harness/https-raw.ts';
import { readMetrics } from '../harness/metrics.ts';
import { clientExtensions, issueLeaf, makeAuthority, makeRequest } from '../harness/openssl.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';

const { gateway } = await sharedGateway({
  workers: 2,
  listener: 'est: { host: 127.0.0.1, port: 0 }',
  config: 'enrolment: { renewalDays: 3650 }\nlimits: { sourceFailures: 100000 }',
});
const port = gateway.estPort;
const [d1, d2, suspended, revoked] = await gateway.devices('d1', 'd2', 'suspended', 'revoked');
assert.ok(d1 !== undefined && d2 !== undefined);
assert.ok(suspended !== undefined && revoked !== undefined);
await gateway.ok('device', 'suspend', 'suspended');
await gateway.ok('device', 'revoke', 'revoked');
const service = await gateway.service('be', 'backend');
const { ca } = d1;
const rootFile = gateway.at('root.pem');
await gateway.ok('ca', 'export-root', rootFile);
const root = { crt: rootFile, key: rootFile };
const folder = temporaryFolder();
after(() => folder[Symbol.dispose]());
const foreign = makeAuthority(folder.at('foreign'), 'Sallyport Root CA');
const dayMs = 86_400_000;

const ours = clientExtensions('spiffe://fleet.internal/device/d1');
const leaf = (name: string, changed: object = {}, by = root): Identity =>
  issueLeaf(by, folder.at('leaves'), name, ca, { subject: '/CN=d1', extensions: ours, ...changed });

/** A request for the name, by a key that nobody has. */
function csrFor(name: string): string {
  const { csr } = makeRequest(
    folder.at('requests'),
    `${name}-${randomBytes(4).toString('hex')}`,
    `/CN=${name}`,
  );
  return execFileSync('openssl', ['req', '-in', csr, '-outform', 'DER']).toString('base64');
}

const body = csrFor('d1');
const hour = 3_600_000;

interface Row {
  readonly what: string;
  readonly identity?: Identity;
  readonly body?: string;
  readonly lines?: readonly string[];
  readonly statuses: readonly number[];
}

const rows: readonly Row[] = [
  { what: 'nothing at all', statuses: [401] },
  {
    what: 'an expired certificate of ours',
    identity: leaf('expired', {
      notBefore: new Date(Date.now() - 2 * dayMs),
      notAfter: new Date(Date.now() - hour),
    }),
    statuses: [401],
  },
  {
    what: 'one that does not hold yet',
    identity: leaf('early', {
      notBefore: new Date(Date.now() + dayMs),
      notAfter: new Date(Date.now() + 2 * dayMs),
    }),
    statuses: [401],
  },
  { what: 'a revoked one', identity: revoked, body: csrFor('revoked'), statuses: [401, 403] },
  {
    what: 'one of a suspended device',
    identity: suspended,
    body: csrFor('suspended'),
    statuses: [403],
  },
  {
    what: 'one that our root signed and nobody has on record',
    identity: leaf('unrecorded'),
    statuses: [401],
  },
  {
    what: 'one of a CA with the same name',
    identity: leaf('foreign', {}, foreign),
    statuses: [401],
  },
  { what: 'a self-signed one', identity: { id: 'd1', ...foreign, ca }, statuses: [401] },
  {
    what: 'one for servers',
    identity: leaf('server', { extensions: ['extendedKeyUsage=serverAuth'] }),
    statuses: [401],
  },
  { what: 'one of another device', identity: d2, statuses: [400, 403] },
  { what: 'one of a service', identity: service, statuses: [400, 403] },
  {
    what: 'a token that is guessed',
    lines: [`Authorization: Bearer ${randomBytes(32).toString('base64url')}`],
    statuses: [401],
  },
  {
    what: 'the same as a password',
    lines: [`Authorization: Basic ${Buffer.from('d1:secret').toString('base64')}`],
    statuses: [401],
  },
  ...[
    'Digest username="d1"',
    'Bearer',
    'Basic',
    'Basic !',
    'Bearer a b',
    `Bearer ${'x'.repeat(4_000)}`,
  ].map((text) => ({
    what: `Authorization: ${text.slice(0, 20)}`,
    lines: [`Authorization: ${text}`],
    statuses: [400, 401],
  })),
  { what: 'no request in it', identity: d1, body: 'TUlJ', statuses: [400] },
  { what: 'no base64', identity: d1, body: '-----BEGIN X-----', statuses: [400] },
  {
    what: 'another media type',
    identity: d1,
    lines: ['Content-Type: text/plain'],
    statuses: [415],
  },
];

async function issued(): Promise<number> {
  const metrics = await readMetrics(gateway);
  return metrics.sum('sallyport_control_enrolments_total', { outcome: 'issued' });
}

for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
  for (const row of rows) {
    test(`${row.what}, ${maxVersion}: a readable refusal`, async () => {
      const before = await issued();
      for (const operation of ['simplereenroll', 'simpleenroll']) {
        using raw = await RawHttps.open({ port, ca, maxVersion, identity: row.identity });
        const type = row.what === 'another media type' ? [] : ['Content-Type: application/pkcs10'];
        raw.send(estRequest(operation, row.body ?? body, ...type, ...(row.lines ?? [])));
        const answer = await raw.answer();
        const text = answer.body.toString();
        assert.ok(row.statuses.includes(answer.status), `${operation}: ${answer.status} ${text}`);
        assert.match(text, /^[a-z-]+: [^\n]+\n$/);
        assert.equal(answer.headers.has('www-authenticate'), answer.status === 401);
      }
      assert.equal(await issued(), before);
    });
  }
}

test('and who may have one is given it, so that all of these are refused for what they are', async () => {
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    using raw = await RawHttps.open({ port, ca, maxVersion, identity: d1 });
    raw.send(estRequest('simplereenroll', csrFor('d1'), 'Content-Type: application/pkcs10'));
    assert.equal((await raw.answer()).status, 200);
  }
});

test('a token that is good once is good once, however many come with it at the same time', async () => {
  const { stdout } = await gateway.ok('enrolment', 'token', '--json');
  const { token } = JSON.parse(stdout) as Record<string, unknown>; // an object, or nobody is let in below
  const lines = ['Content-Type: application/pkcs10', `Authorization: Bearer ${String(token)}`];
  const bodies = Array.from({ length: 12 }, (_, n) => csrFor(`thief-${n}`));
  const all = await Promise.all(bodies.map(() => RawHttps.open({ port, ca, identity: undefined })));
  for (const [n, raw] of all.entries()) raw.send(estRequest('simpleenroll', bodies[n], ...lines));
  const statuses = await Promise.all(all.map(async (raw) => (await raw.answer()).status));
  for (const raw of all) raw[Symbol.dispose]();
  assert.deepEqual(
    statuses.toSorted((a, b) => a - b),
    [200, ...Array.from({ length: 11 }, () => 401)],
  );
  const { stdout: devices } = await gateway.ok('device', 'list', '--json');
  assert.equal(new Set(devices.match(/thief-\d+/g)).size, 1);
});

test('a certificate is asked for without names of CAs, so that a device may show what it has', () => {
  const args = ['s_client', '-connect', `127.0.0.1:${port}`, '-CAfile', ca, '-brief', '-msg'];
  const said = execFileSync('openssl', args.slice(0, 5), {
    input: '',
    stdio: ['pipe', 'pipe', 'pipe'],
    timeout: 20_000,
  }).toString();
  assert.match(said, /No client certificate CA names sent/);
  assert.match(said, /Verify return code: 0 \(ok\)/);
});

test('nobody learns what the software is', async () => {
  using raw = await RawHttps.open({ port, ca, identity: undefined });
  raw.send(estRequest('simpleenroll', body));
  const { lines, body: text } = await raw.answer();
  assert.doesNotMatch(JSON.stringify(lines) + text.toString(), /sallyport|node|openssl|\/\d+\.\d/i);
});
