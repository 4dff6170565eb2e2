/** What others learn of a revocation: CRLs and OCSP of a running gateway, over the status listener, by OpenSSL. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway, Identity } from '../harness/gateway.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { until } from '../harness/waiting.ts';

const folder = temporaryFolder();
const statusUrl = 'http://status.fleet.example:8080';
const options = {
  listener: 'status: { host: 127.0.0.1, port: 0 }',
  config: `ca: { statusUrl: "${statusUrl}" }`,
  workers: 2,
  folder,
};
let gateway: Gateway;

before(async () => {
  gateway = await startGateway(options);
});
after(async () => {
  await gateway[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

/** Both streams, however it ends. */
function openssl(...args: readonly string[]): Promise<string> {
  return new Promise((resolve) => {
    const child = execFile('openssl', args, (_, stdout, stderr) => resolve(stdout + stderr));
    // s_client would wait for what to send.
    child.stdin?.end();
  });
}

const url = (path: string): string => `http://127.0.0.1:${gateway.statusPort}${path}`;

/** The certificate of the device, of its issuer and of the root, as files. */
function filesOf({ id, crt, ca }: Identity): { leaf: string; issuer: string; root: string } {
  const [leaf = '', issuer = ''] = readFileSync(crt, 'utf8').split(
    /(?<=-----END CERTIFICATE-----\n)/,
  );
  const at = (name: string, pem: string): string => {
    const path = folder.at(`${id}-${name}.pem`);
    writeFileSync(path, pem);
    return path;
  };
  return { leaf: at('leaf', leaf), issuer: at('issuer', issuer), root: ca };
}

/** A verified answer, as text. */
async function ocsp(device: Identity, ...first: readonly string[]): Promise<string> {
  const { leaf, issuer, root } = filesOf(device);
  const asked = ['-issuer', issuer, '-cert', leaf, '-url', url('/ocsp'), '-CAfile', root];
  const answer = await openssl('ocsp', ...first, ...asked);
  assert.match(answer, /^Response verify OK$/m, answer);
  return answer;
}

async function issuerId(device: Identity): Promise<string> {
  const { issuer } = filesOf(device);
  const text = await openssl('x509', '-in', issuer, '-noout', '-ext', 'subjectKeyIdentifier');
  return text.split('\n')[1]?.trim().replaceAll(':', '').toLowerCase() ?? '';
}

async function fetchList(path: string): Promise<string> {
  const response = await fetch(url(path));
  assert.equal(response.status, 200, path);
  const file = folder.at(path.replaceAll('/', '_'));
  writeFileSync(file, Buffer.from(await response.arrayBuffer()));
  return file;
}

async function checkByList(device: Identity, list: string): Promise<string> {
  const { leaf, issuer, root } = filesOf(device);
  const trust = ['-CAfile', root, '-untrusted', issuer];
  return openssl('verify', '-x509_strict', ...trust, '-crl_check', '-CRLfile', list, leaf);
}

const numberOf = async (list: string): Promise<number> =>
  Number(/0x([0-9A-F]+)/i.exec(await openssl('crl', '-in', list, '-noout', '-crlnumber'))?.[0]);

test('a certificate says where to ask about it', async () => {
  const device = await gateway.device('addressed');
  const text = await openssl('x509', '-in', device.crt, '-noout', '-text');
  const id = await issuerId(device);
  for (const line of [
    `OCSP - URI:${statusUrl}/ocsp`,
    `CA Issuers - URI:${statusUrl}/ca/${id}.cer`,
    `URI:${statusUrl}/crl/${id}.crl`,
  ]) {
    assert.ok(text.includes(line), `${line} in\n${text}`);
  }
  const issuer = await fetch(url(`/ca/${id}.cer`));
  assert.equal(issuer.status, 200);
  assert.ok((await fetch(url(`/crl/${id}.crl`))).ok);
});

test('after device revoke, OCSP and the revocation list say so with its reason, on every worker', async () => {
  const [stolen, kept] = await gateway.devices('stolen', 'kept');
  assert.ok(stolen !== undefined && kept !== undefined);
  const id = await issuerId(stolen);
  assert.match(await ocsp(stolen), /stolen-leaf\.pem: good/);
  // Such an answer is kept by the workers that were asked.
  for (let i = 0; i < 6; i += 1) assert.match(await ocsp(stolen, '-no_nonce'), /leaf\.pem: good/);
  assert.match(await checkByList(stolen, await fetchList(`/crl/${id}.crl`)), /: OK/);

  const reason = 'keyCompromise: sold on a flea market';
  const said = await gateway.ok('device', 'revoke', 'stolen', '--reason', reason, '--json');
  assert.match(said.stdout, /"revocationReason": ?"keyCompromise"/);

  // A connection goes to either worker.
  for (let i = 0; i < 12; i += 1) {
    const answer = await ocsp(stolen, i % 2 === 0 ? '-nonce' : '-no_nonce');
    assert.match(answer, /stolen-leaf\.pem: revoked\n(?:.*\n)*\s+Reason: keyCompromise/);
  }
  assert.match(await ocsp(kept, '-sha256'), /kept-leaf\.pem: good/);
  for (let i = 0; i < 6; i += 1) {
    const list = await fetchList(`/crl/${id}.crl`);
    assert.match(await checkByList(stolen, list), /certificate revoked/);
    assert.match(await checkByList(kept, list), /: OK/);
  }
  const delta = await fetchList(`/crl/${id}-delta.crl`);
  const text = await openssl('crl', '-in', delta, '-noout', '-text');
  assert.match(text, /Delta CRL Indicator: critical/);
  assert.match(text, /Key Compromise/);
});

test('a serial number that was never issued is unknown', async () => {
  const device = await gateway.device('known');
  const { issuer, root } = filesOf(device);
  const asked = ['-issuer', issuer, '-serial', '0x7777', '-url', url('/ocsp'), '-CAfile', root];
  const answer = await openssl('ocsp', ...asked);
  assert.match(answer, /^0x7777: unknown$/m);
  assert.match(answer, /^Response verify OK$/m);
});

test('the server staples an answer about its own certificate', async () => {
  const device = await gateway.device('looks');
  const connect = ['-connect', `127.0.0.1:${gateway.mqttsPort}`, '-servername', 'localhost'];
  const client = ['-cert', device.crt, '-key', device.key, '-CAfile', device.ca];
  const said = await until('a stapled answer', 60_000, async () => {
    const text = await openssl(
      's_client',
      '-status',
      ...connect,
      ...client,
      '-verify_return_error',
    );
    return text.includes('OCSP Response Status: successful') ? text : undefined;
  });
  assert.match(said, /Cert Status: good/);
});

test('after a restart numbers go on, and what was revoked stays so', async () => {
  const device = await gateway.device('restarted');
  const id = await issuerId(device);
  await gateway.ok('device', 'revoke', 'restarted');
  const earlier = await numberOf(await fetchList(`/crl/${id}.crl`));
  await gateway.stop();
  gateway = await startGateway(options);
  const list = await fetchList(`/crl/${id}.crl`);
  assert.ok((await numberOf(list)) > earlier);
  assert.match(await checkByList(device, list), /certificate revoked/);
  const answer = await ocsp(device);
  assert.match(answer, /restarted-leaf\.pem: revoked/);
  assert.doesNotMatch(answer, /Reason:/);
});

test('the CA that was rotated away goes on to answer for what it has issued', async () => {
  const [old, revoked] = await gateway.devices('old', 'old-revoked');
  assert.ok(old !== undefined && revoked !== undefined);
  const previous = await issuerId(old);
  await gateway.ok('ca', 'rotate');
  const young = await gateway.device('young');
  const now = await issuerId(young);
  assert.notEqual(now, previous);
  await gateway.ok('device', 'revoke', 'old-revoked', '--reason', 'superseded');
  assert.match(await ocsp(old), /old-leaf\.pem: good/);
  assert.match(await ocsp(revoked), /Reason: superseded/);
  assert.match(await ocsp(young), /young-leaf\.pem: good/);
  const list = await fetchList(`/crl/${previous}.crl`);
  assert.match(await checkByList(revoked, list), /certificate revoked/);
  assert.match(await checkByList(old, list), /: OK/);
  // Of all generations, with the addresses that they carry.
  await gateway.ok('ca', 'check');
  assert.match(await checkByList(young, await fetchList(`/crl/${now}.crl`)), /: OK/);
});
