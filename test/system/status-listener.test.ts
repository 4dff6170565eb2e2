/**
 * The status listener as others use it: curl, `openssl ocsp`, `openssl crl`, `openssl s_client -status`, and the recipe of
 * docs/status-listener.md to the letter.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash, randomBytes, verify, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { repositoryRoot } from '../harness/cli.ts';
import type { Identity } from '../harness/gateway.ts';
import { readMetrics } from '../harness/metrics.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import { until, within } from '../harness/waiting.ts';

const { gateway } = await sharedGateway({
  listener: 'status: { host: 127.0.0.1, port: 0 }',
  workers: 2,
});
const url = `http://127.0.0.1:${gateway.statusPort}`;
const document = readFileSync(join(repositoryRoot, 'docs', 'status-listener.md'), 'utf8');
const [d1, d2, d3] = await gateway.devices('d1', 'd2', 'd3');
assert.ok(d1 !== undefined && d2 !== undefined && d3 !== undefined);
const folder = gateway.at('status');
mkdirSync(folder);
const root = d1.ca;
/** The second certificate of a device's chain. */
const issuing = join(folder, 'issuing.pem');
writeFileSync(issuing, certificatesIn(readFileSync(d1.crt, 'utf8'))[1] ?? '');

function certificatesIn(text: string): string[] {
  return text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n?/g) ?? [];
}

interface Ran {
  readonly code: number;
  readonly out: string;
}

/** Standard output and error of a program, together. */
async function run(program: string, args: readonly string[]): Promise<Ran> {
  const running = promisify(execFile)(program, [...args], { cwd: folder, timeout: 30_000 });
  // Not all of them read it.
  running.child.stdin?.on('error', () => {}).end();
  try {
    const { stdout, stderr } = await running;
    return { code: 0, out: stdout + stderr };
  } catch (error) {
    assert.ok(error instanceof Error && 'stdout' in error && 'stderr' in error && 'code' in error);
    return { code: Number(error.code), out: `${String(error.stdout)}${String(error.stderr)}` };
  }
}

async function fetched(path: string, init?: RequestInit): Promise<Response> {
  return fetch(`${url}${path}`, { signal: AbortSignal.timeout(10_000), ...init });
}

async function bytes(path: string, init?: RequestInit): Promise<Buffer> {
  const answer = await fetched(path, init);
  assert.equal(answer.status, 200, path);
  return Buffer.from(await answer.arrayBuffer());
}

function ocsp(device: Identity, ...more: readonly string[]): Promise<Ran> {
  const who = ['-issuer', issuing, '-cert', device.crt, '-CAfile', root, '-verify_other', issuing];
  return run('openssl', ['ocsp', ...who, '-url', `${url}/ocsp`, ...more]);
}

test('the CA certificates are there for whoever builds a chain', async () => {
  const all = certificatesIn((await bytes('/ca.pem')).toString('latin1'));
  const known = new X509Certificate(readFileSync(issuing));
  assert.ok(all.some((pem) => new X509Certificate(pem).raw.equals(known.raw)));
  assert.ok(
    all.some((pem) => new X509Certificate(pem).raw.equals(certificateOf(readFileSync(root)).raw)),
  );
  const text = await run('openssl', [
    'x509',
    '-in',
    issuing,
    '-noout',
    '-ext',
    'subjectKeyIdentifier',
  ]);
  const id = /((?:[0-9A-F]{2}:){19}[0-9A-F]{2})/
    .exec(text.out)?.[1]
    ?.replaceAll(':', '')
    .toLowerCase();
  assert.ok((await bytes(`/ca/${id}.cer`)).equals(known.raw));
  assert.equal((await fetched(`/ca/${'0'.repeat(40)}.cer`)).status, 404);
});

function certificateOf(pem: Buffer): X509Certificate {
  return new X509Certificate(pem);
}

test('whoever asks learns nothing of what answers', async () => {
  const plain = new Set(['date', 'content-length', 'connection']);
  for (const [path, method] of [
    ['/', 'GET'],
    ['/metrics', 'GET'],
    ['/api/v1/time', 'GET'],
    ['/ca.pem', 'DELETE'],
    ['/ca.pem', 'POST'],
    ['/.well-known/est/cacerts', 'GET'],
    ['/time', 'GET'],
  ] as const) {
    const answer = await fetched(path, { method });
    assert.ok([404, 400].includes(answer.status), path);
    assert.equal(await answer.text(), '');
    assert.deepEqual(
      [...answer.headers.keys()].filter((name) => !plain.has(name)),
      [],
      path,
    );
  }
  const { headers } = await fetched('/ca.pem');
  for (const [name, value] of headers) {
    assert.doesNotMatch(`${name}: ${value}`, /server|sallyport|node|version|powered/i);
  }
});

test('openssl ocsp verifies that a device is good, with and without a nonce', async () => {
  for (const options of [['-no_nonce'], ['-nonce']]) {
    const { code, out } = await ocsp(d1, ...options);
    assert.equal(code, 0, out);
    assert.match(out, /Response verify OK/);
    assert.match(out, /: good/);
    assert.doesNotMatch(out, /WARNING/);
  }
});

test('what is asked again is answered from store, and a revocation is seen at once on every worker', async () => {
  const before = (await readMetrics(gateway)).sum('sallyport_ocsp_answers_total', {
    from: 'store',
  });
  for (let i = 0; i < 8; i += 1) {
    assert.match((await ocsp(d2, '-no_nonce')).out, /: good/);
  }
  await until('answers from store', 30_000, async () => {
    const stored = (await readMetrics(gateway)).sum('sallyport_ocsp_answers_total', {
      from: 'store',
    });
    return stored - before >= 6;
  });
  await gateway.ok('device', 'revoke', 'd2');
  for (let i = 0; i < 8; i += 1) {
    const { out } = await ocsp(d2, '-no_nonce');
    assert.match(out, /Response verify OK/);
    assert.match(out, /: revoked/);
  }
  assert.match((await ocsp(d1, '-no_nonce')).out, /: good/);
});

test('a serial number that nobody has issued is unknown', async () => {
  const who = [
    '-issuer',
    issuing,
    '-serial',
    '0x123456',
    '-CAfile',
    root,
    '-verify_other',
    issuing,
  ];
  const { out } = await run('openssl', ['ocsp', ...who, '-url', `${url}/ocsp`]);
  assert.match(out, /Response verify OK/);
  assert.match(out, /0x123456: unknown/);
});

test('the same request by GET has the same answer, and caches are told how long it holds', async () => {
  const request = join(folder, 'request.der');
  const who = ['-issuer', issuing, '-cert', d1.crt, '-no_nonce', '-reqout', request];
  assert.equal((await run('openssl', ['ocsp', ...who])).code, 0);
  const der = readFileSync(request);
  const got = await fetched(`/ocsp/${encodeURIComponent(der.toString('base64'))}`);
  assert.equal(got.status, 200);
  assert.equal(got.headers.get('content-type'), 'application/ocsp-response');
  assert.match(got.headers.get('cache-control') ?? '', /^max-age=[1-9]\d*, public/);
  const response = join(folder, 'response.der');
  writeFileSync(response, Buffer.from(await got.arrayBuffer()));
  const check = ['-issuer', issuing, '-cert', d1.crt, '-CAfile', root, '-verify_other', issuing];
  const { out } = await run('openssl', ['ocsp', '-respin', response, '-no_nonce', ...check]);
  assert.match(out, /Response verify OK/);
  assert.match(out, /: good/);
});

test('openssl verifies the revocation list, and by it who is revoked', async () => {
  await gateway.ok('device', 'revoke', 'd3');
  const der = await bytes('/crl.crl');
  writeFileSync(join(folder, 'list.der'), der);
  const pem = join(folder, 'list.pem');
  const list = await run('openssl', [
    'crl',
    '-inform',
    'DER',
    '-in',
    'list.der',
    '-CAfile',
    issuing,
    '-out',
    pem,
  ]);
  assert.match(list.out, /verify OK/);
  const chain = ['-CAfile', root, '-untrusted', issuing];
  const checked = (device: Identity): Promise<Ran> =>
    run('openssl', ['verify', '-crl_check', '-CRLfile', pem, ...chain, device.crt]);
  assert.equal((await checked(d1)).code, 0);
  assert.match((await checked(d3)).out, /certificate revoked/);
});

for (const version of ['-tls1_2', '-tls1_3']) {
  test(`s_client ${version} -status gets the status of the server with its handshake`, async () => {
    const at = ['-connect', `127.0.0.1:${gateway.mqttsPort}`, '-servername', 'localhost'];
    const as = ['-cert', d1.crt, '-key', d1.key, '-CAfile', root];
    const { out } = await run('openssl', ['s_client', ...at, ...as, version, '-status']);
    assert.match(out, /OCSP Response Status: successful/);
    assert.match(out, /Cert Status: good/);
    assert.match(out, /Verify return code: 0/);
  });
}

test('the recipe of the documentation verifies the time', async () => {
  const [, recipe = ''] = /^```bash\n(.*?)^```$/ms.exec(document) ?? [];
  assert.notEqual(recipe, '');
  copyFileSync(root, join(folder, 'root.pem'));
  const script = `set -euo pipefail\nGATEWAY=${url}\n${recipe}`;
  const { code, out } = await run('bash', ['-c', script]);
  assert.equal(code, 0, out);
  assert.match(out, /Verified OK/);
  assert.match(out, /time\.pem: OK/);
  // A signature over something else does not pass it; the nonce is hexadecimal, so x is another character.
  const wrong = script.replace(/nonce=\$nonce"\)/, 'nonce=${nonce:0:31}x")');
  assert.notEqual(wrong, script);
  assert.notEqual((await run('bash', ['-c', wrong])).code, 0);
});

test('the exact bytes of the documentation are right', async () => {
  const [ca = '', time = '', jws = ''] = [...document.matchAll(/^```text\n(.*?)^```$/gms)].map(
    ([, block = '']) => block,
  );
  const cell = (name: string): string =>
    new RegExp(`^\\| ${name} \\| \`(.*)\` \\|$`, 'm').exec(document)?.[1] ?? '';
  const [header = '', payload = '', signature = ''] = jws.trim().split('.');
  assert.equal(jws.trim().length, 277);
  assert.equal(Buffer.from(header, 'base64url').toString(), cell('header'));
  assert.equal(Buffer.from(payload, 'base64url').toString(), cell('payload'));
  const signed = `${header}.${payload}`;
  const digest = createHash('sha256').update(signed).digest('hex');
  assert.equal(digest, cell('SHA-256 of what is signed'));
  assert.equal(Buffer.from(signature, 'base64url').toString('hex'), cell('R') + cell('S'));
  const certificate = new X509Certificate(time);
  const key = { key: certificate.publicKey, dsaEncoding: 'ieee-p1363' } as const;
  assert.ok(verify('sha256', Buffer.from(signed), key, Buffer.from(signature, 'base64url')));
  const thumbprint = createHash('sha256').update(certificate.raw).digest('base64url');
  assert.ok(cell('header').includes(thumbprint));
  writeFileSync(join(folder, 'example-ca.pem'), ca);
  writeFileSync(join(folder, 'example-time.pem'), time);
  const at = /"time":(\d+)/.exec(cell('payload'))?.[1] ?? '';
  const how = ['-partial_chain', '-purpose', 'timestampsign', '-attime', at];
  const files = ['-trusted', 'example-ca.pem', 'example-time.pem'];
  assert.match((await run('openssl', ['verify', ...how, ...files])).out, /OK/);
});

test('the time is that of this machine, small, and not much more than what was sent for it', async () => {
  const request = `GET /time?nonce=${randomBytes(16).toString('hex')} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`;
  const socket = connect({ host: '127.0.0.1', port: gateway.statusPort });
  let answer = '';
  socket.setEncoding('latin1').on('data', (text: string) => {
    answer += text;
  });
  socket.write(request);
  await within(once(socket, 'close'), 30_000, 'the answer');
  assert.ok(answer.length < 10 * request.length, `${answer.length} for ${request.length} bytes`);
  const jws = answer.slice(answer.indexOf('\r\n\r\n') + 4);
  assert.ok(jws.length < 400);
  const payload: unknown = JSON.parse(Buffer.from(jws.split('.')[1] ?? '', 'base64url').toString());
  assert.ok(typeof payload === 'object' && payload !== null && 'time' in payload);
  assert.ok(Math.abs(Number(payload.time) * 1_000 - Date.now()) < 30_000);
});

test('what workers have goes on being served while control stands still', async () => {
  // On a connection of its own, which goes to either worker.
  const alone = { headers: { connection: 'close' } };
  // Until every worker has them.
  for (let i = 0; i < 32; i += 1) {
    assert.match((await ocsp(d1, '-no_nonce')).out, /: good/);
    await bytes('/crl.crl', alone);
  }
  const { controlPid } = gateway;
  process.kill(controlPid, 'SIGSTOP');
  try {
    for (let i = 0; i < 4; i += 1) {
      assert.match((await ocsp(d1, '-no_nonce')).out, /: good/);
      for (const path of ['/crl.crl', '/ca.pem', '/time.cer', `/time?nonce=${'x'.repeat(22)}`])
        await bytes(path, alone);
    }
  } finally {
    process.kill(controlPid, 'SIGCONT');
  }
});

test('who asks for the time without end is told to wait, and others are not', async () => {
  const statuses = new Set<number>();
  // On connections of their own: other workers have an allowance of their own.
  await until('a refusal', 60_000, async () => {
    const asked = Array.from({ length: 50 }, () => fetched(`/time?nonce=${'x'.repeat(22)}`));
    for (const { status } of await Promise.all(asked)) statuses.add(status);
    return statuses.has(429);
  });
  assert.deepEqual(statuses, new Set([200, 429]));
  const quietly = ['-sS', '-o', '/dev/null', '-w', '%{http_code}', '--interface', '127.0.0.99'];
  const other = await run('curl', [...quietly, `${url}/time?nonce=${'x'.repeat(22)}`]);
  assert.equal(other.out, '200');
});
