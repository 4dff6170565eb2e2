/**
 * How a device gets its first certificate over the network, with curl and openssl as docs/enrolment.md says it: by a token,
 * after an operator's approval, by the certificate of its manufacturer. And how it does not.
 */
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { after, test } from 'node:test';
import { promisify } from 'node:util';
import { startGateway } from '../harness/gateway.ts';
import type { Identity } from '../harness/gateway.ts';
import { readMetrics } from '../harness/metrics.ts';
import { issueLeaf, makeAuthority, makeRequest } from '../harness/openssl.ts';
import { RawMqtt } from '../harness/raw-mqtt.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { until } from '../harness/waiting.ts';

const factory = temporaryFolder();
after(() => factory[Symbol.dispose]());
const acme = makeAuthority(factory.at('acme'), 'ACME IDevID CA');

const gateway = await startGateway({
  workers: 2,
  listener: 'est: { host: 127.0.0.1, port: 0 }',
  config: configWith('none'),
  files: { 'acme.pem': readFileSync(acme.crt, 'utf8') },
});
after(async () => {
  await gateway.stop();
  await gateway[Symbol.asyncDispose]();
});
const { ca } = await gateway.device('lab-1');

function configWith(approval: string): string {
  return `enrolment:
  approval: ${approval}
  approvalRetry: 7s
  renewalDays: 3650
  manufacturers: [ { name: acme, file: acme.pem, prefix: acme- } ]`;
}

interface Answer {
  readonly status: number;
  readonly headers: string;
  readonly body: string;
}

async function est(operation: string, ...options: readonly string[]): Promise<Answer> {
  const url = `https://localhost:${gateway.estPort}/.well-known/est/${operation}`;
  const always = ['-sS', '--max-time', '20', '--cacert', ca, '-D', '-', '-w', '\n%{http_code}'];
  const { stdout } = await promisify(execFile)('curl', [...always, ...options, url]);
  const end = stdout.lastIndexOf('\n');
  const [headers = '', body = ''] = stdout.slice(0, end).split('\r\n\r\n', 2);
  return { status: Number(stdout.slice(end + 1)), headers: headers.toLowerCase(), body };
}

/** A key and a request for it: PEM, and base64 as EST wants it. */
function deviceFiles(id: string, folder = id): { readonly key: string; readonly body: string } {
  const { key, csr } = makeRequest(factory.at(folder), id);
  const der = execFileSync('openssl', ['req', '-in', csr, '-outform', 'DER']);
  const body = factory.at(folder, `${id}.b64`);
  writeFileSync(body, execFileSync('openssl', ['base64'], { input: der }));
  return { key, body };
}

function enrolBy(token: string, body: string): Promise<Answer> {
  const type = 'content-type: application/pkcs10';
  return est('simpleenroll', '-u', `x:${token}`, '-H', type, '--data-binary', `@${body}`);
}

/** The certificate in an answer beside the key: what a device connects with. */
function identityOf(id: string, key: string, { status, body }: Answer): Identity {
  assert.equal(status, 200, body);
  const der = execFileSync('openssl', ['base64', '-d', '-A'], { input: body });
  const crt = key.replace(/\.key$/, '.crt');
  const pem = execFileSync('openssl', ['pkcs7', '-inform', 'DER', '-print_certs'], { input: der });
  writeFileSync(crt, pem);
  return { id, key, crt, ca };
}

async function tokenBy(...options: readonly string[]): Promise<string> {
  const askedAt = Date.now();
  const { stdout } = await gateway.ok('enrolment', 'token', ...options, '--json');
  const { token, expires } = JSON.parse(stdout) as Record<string, unknown>; // an object, or the test fails below
  // One that is good for a second may be late by now: the command takes its time to end.
  assert.ok(typeof token === 'string' && typeof expires === 'number' && expires > askedAt);
  return token;
}

/** Publishes over a connection of its own, to whichever worker takes it. */
async function publishes(identity: Identity): Promise<boolean> {
  using client = await RawMqtt.open({ port: gateway.mqttsPort, identity });
  const { code } = await client.connect({ clientId: identity.id });
  if (code !== 0) return false;
  await client.publish(`devices/${identity.id}/telemetry`, '{"seq":1}');
  return true;
}

async function outcomes(): Promise<Readonly<Record<string, number>>> {
  const metrics = await readMetrics(gateway);
  return Object.fromEntries(
    ['issued', 'pending', 'unauthenticated', 'forbidden'].map((outcome) => [
      outcome,
      metrics.sum('sallyport_control_enrolments_total', { outcome }),
    ]),
  );
}

test('with a token a device enrols, and is served by every worker at once', async () => {
  const token = await tokenBy('--device', 'd1');
  const { key, body } = deviceFiles('d1');
  const d1 = identityOf('d1', key, await enrolBy(token, body));
  for (let n = 0; n < 6; n += 1) assert.ok(await publishes(d1), `connection ${n}`);

  const second = deviceFiles('d1', 'thief');
  assert.equal((await enrolBy(token, second.body)).status, 401, 'it was good once');
  const other = await tokenBy('--device', 'd1');
  assert.equal((await enrolBy(other, deviceFiles('d2').body)).status, 403, 'it is for d1');
  const late = await tokenBy('--ttl', '1s');
  await until('the token is late', 30_000, async () => {
    const { stdout } = await gateway.ok('enrolment', 'list', '--json');
    const { tokens } = JSON.parse(stdout) as { tokens: unknown[] }; // as the API's document says
    return tokens.length === 1 ? tokens : undefined;
  });
  assert.equal((await enrolBy(late, deviceFiles('d3').body)).status, 401);

  const { stdout } = await gateway.ok('audit-log', 'show', '--json');
  assert.equal(
    [token, other, late].some((secret) => stdout.includes(secret)),
    false,
  );
  assert.equal(stdout.match(/"enrolment-refused"/g)?.length, 3);
  const { issued, unauthenticated, forbidden } = await outcomes();
  assert.deepEqual([issued, unauthenticated, forbidden], [1, 2, 1]);
});

test('where the operator wants to see it, a device waits for him and asks again', async () => {
  gateway.configure(configWith('all'), 'est: { host: 127.0.0.1, port: 0 }');
  assert.match((await gateway.ok('reload')).stdout, /enrolment/);
  const token = await tokenBy('--uses', '2');
  const { key, body } = deviceFiles('d10');
  const waits = await enrolBy(token, body);
  assert.equal(waits.status, 202);
  assert.match(waits.headers, /^retry-after: 7\r?$/m);
  const stranger = deviceFiles('d11');
  assert.equal((await enrolBy(token, stranger.body)).status, 202);

  const { stdout } = await gateway.ok('enrolment', 'list');
  assert.match(stdout, /^1 +d10 +waiting +token:/m);
  await gateway.ok('enrolment', 'approve', '1');
  await gateway.ok('enrolment', 'deny', '2', '--reason', 'not ours');
  assert.equal((await enrolBy(token, stranger.body)).status, 403);
  const d10 = identityOf('d10', key, await enrolBy(token, body));
  assert.ok(await publishes(d10));
  const left = await gateway.ok('enrolment', 'list', '--json');
  assert.deepEqual(
    (JSON.parse(left.stdout) as { requests: { state: string }[] }).requests.map(
      ({ state }) => state,
    ), // as above
    ['denied'],
  );
  gateway.configure(configWith('none'), 'est: { host: 127.0.0.1, port: 0 }');
  await gateway.ok('reload');
});

test('the certificate of the manufacturer gets a device its own, and opens nothing else', async () => {
  const born = issueLeaf(acme, factory.at('born'), 'born', ca, {
    subject: '/serialNumber=sn-1/CN=Model T',
    extensions: ['basicConstraints=critical,CA:FALSE', 'keyUsage=critical,digitalSignature'],
  });
  const refused = publishes({ ...born, id: 'acme-sn-1' }).catch(() => false);
  assert.equal(await refused, false);
  const { key, body } = deviceFiles('acme-sn-1');
  const type = 'content-type: application/pkcs10';
  const tls = ['--cert', born.crt, '--key', born.key];
  const answer = await est('simpleenroll', ...tls, '-H', type, '--data-binary', `@${body}`);
  const device = identityOf('acme-sn-1', key, answer);
  assert.ok(await publishes(device));

  const renewal = deviceFiles('acme-sn-1', 'renewed');
  const own = ['--cert', device.crt, '--key', device.key];
  const renewed = await est(
    'simplereenroll',
    ...own,
    '-H',
    type,
    '--data-binary',
    `@${renewal.body}`,
  );
  assert.ok(await publishes(identityOf('acme-sn-1', renewal.key, renewed)));
});

test('while control is away enrolment waits, and the fleet does not', async () => {
  const token = await tokenBy('--device', 'd20');
  const { key, body } = deviceFiles('d20');
  const d1: Identity = {
    id: 'd1',
    key: factory.at('d1', 'd1.key'),
    crt: factory.at('d1', 'd1.crt'),
    ca,
  };
  process.kill(gateway.controlPid, 'SIGKILL');
  assert.ok(await publishes(d1));
  // It is back within a second or two: until then the answer is 503, and the token is as good as before.
  const answer = await until('control is back', 60_000, async () => {
    const tried = await enrolBy(token, body);
    if (tried.status === 200) return tried;
    assert.equal(tried.status, 503, tried.body);
    assert.match(tried.headers, /^retry-after: /m);
    return undefined;
  });
  assert.ok(await publishes(identityOf('d20', key, answer)));
});
