/**
 * Requests that ask for more than one's own name with one's own sound key, by every way in: refused, nothing issued, one
 * event each.
 */
import assert from 'node:assert/strict';
import { request as httpRequest } from 'node:http';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { encodePem } from '../../src/common/codec/der/pem.ts';
import { acceptedRequests, refusedRequests } from '../harness/csr-requests.ts';
import { startGateway } from '../harness/gateway.ts';
import type { Identity } from '../harness/gateway.ts';
import { readAnswer } from '../harness/https-answer.ts';
import { HttpsDevice } from '../harness/https-device.ts';
import { readMetrics } from '../harness/metrics.ts';
import { within } from '../harness/waiting.ts';

const gateway = await startGateway({
  listener: 'est: { host: 127.0.0.1, port: 0 }',
  config: `trustDomain: fleet.example
enrolment: { tokenFailures: 10000, renewalDays: 3650, renewalsPerDay: 1000 }`,
});
after(async () => {
  await gateway.stop();
  await gateway[Symbol.asyncDispose]();
});
const lab = await gateway.device('lab');

/** Empty ones, and those that are larger than what each way in reads at all: nobody looks into them. */
const mostBytes = 10_000;
const isLookedInto = ({ length }: Buffer): boolean => length > 0 && length <= mostBytes;
const sequenceTag = 0x30;
const attacks = refusedRequests.map(([what, make]) => [what, Buffer.from(make())] as const);

interface Way {
  /** @returns the status. */
  readonly send: (request: Buffer) => Promise<number>;
  /** How many events there are of requests that were refused. */
  readonly events: () => Promise<number>;
  readonly refusal: number;
}

async function overAdminApi(request: Buffer): Promise<number> {
  const csr = request[0] === sequenceTag ? encodePem('CERTIFICATE REQUEST', request) : request;
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const post = httpRequest(
    {
      socketPath: join(gateway.dataDir, 'control', 'admin.sock'),
      method: 'POST',
      path: '/v1/principals/device/d1/enrol',
      agent: false,
      headers: { 'content-type': 'application/json' },
    },
    (response) => {
      readAnswer(response).then(({ status }) => resolve(status), reject);
    },
  );
  // Whoever sends too much is told so, or finds the connection closed before he has sent it all.
  post.on('error', (error) => (isLookedInto(request) ? reject(error) : resolve(413)));
  post.end(JSON.stringify({ csr: csr.toString('latin1') }));
  return within(promise, 60_000, 'an answer of the admin API');
}

function overEst(identity: Identity | undefined, operation: string, authorization?: string) {
  const client = new HttpsDevice({ port: gateway.estPort, identity, ca: lab.ca });
  after(() => client[Symbol.dispose]());
  return async (request: Buffer): Promise<number> => {
    const text = request.toString('latin1');
    const [, inner] = /-----\n([^-]*)-----END/.exec(text) ?? [];
    const isPem = text.indexOf('-----BEGIN') === text.lastIndexOf('-----BEGIN');
    const body = isPem && inner !== undefined ? inner : request.toString('base64');
    const headers = {
      'content-type': 'application/pkcs10',
      ...(authorization === undefined ? {} : { authorization }),
    };
    const path = `/.well-known/est/${operation}`;
    const { status } = await client.request('POST', path, { headers, body });
    return status;
  };
}

async function refusalsOnRecord(): Promise<number> {
  const { stdout } = await gateway.ok('audit-log', 'show', '--limit', '1000', '--json');
  return stdout.split('"enrolment-refused"').length - 1;
}

/** Counted one by one: of lines of the audit log there is a bound in a minute. */
async function refusalsCounted(): Promise<number> {
  const metrics = await readMetrics(gateway);
  const codes = ['invalid-csr', 'forbidden'];
  return codes.reduce(
    (sum, outcome) => sum + metrics.sum('sallyport_control_enrolments_total', { outcome }),
    0,
  );
}

async function assertRefused({ send, events, refusal }: Way): Promise<void> {
  const before = await events();
  let reported = 0;
  for (const [what, request] of attacks) {
    const status = await send(request);
    if (!isLookedInto(request)) {
      assert.ok(status >= 400 && status < 500, `${what}: ${status}`);
      continue;
    }
    // A token that names a device is not for the device that the request names.
    const expected = status === 403 ? 403 : refusal;
    assert.equal(status, expected, what);
    reported += 1;
  }
  assert.equal((await events()) - before, reported, 'one event for each');
}

const { stdout } = await gateway.ok('enrolment', 'token', '--device', 'd1', '--json');
const { token } = JSON.parse(stdout) as { token: string }; // as docs/cli.md says
const byToken = overEst(undefined, 'simpleenroll', `Bearer ${token}`);

test('over the admin API nothing is issued for any of them', async () => {
  await assertRefused({
    send: overAdminApi,
    events: refusalsOnRecord,
    refusal: 422,
  });
  assert.notEqual((await gateway.cli('device', 'show', 'd1')).code, 0, 'registered');
});

test('over EST with a token nothing is issued for any of them, and the token stays good', async () => {
  await assertRefused({ send: byToken, events: refusalsCounted, refusal: 400 });
  assert.notEqual((await gateway.cli('device', 'show', 'd1')).code, 0, 'registered');
  const good = acceptedRequests['its own SPIFFE id']?.();
  assert.ok(good !== undefined);
  assert.equal(await byToken(good), 200);
});

test('over EST with a certificate nothing is issued for any of them', async () => {
  const count = async (): Promise<number> => {
    const shown = await gateway.ok('device', 'show', 'd1', '--json');
    return (JSON.parse(shown.stdout) as { certificates: unknown[] }).certificates.length; // as docs/cli.md says
  };
  const identity = await gateway.device('d1');
  const before = await count();
  await assertRefused({
    send: overEst(identity, 'simplereenroll'),
    events: refusalsCounted,
    refusal: 400,
  });
  assert.equal(await count(), before);
});

test('what has been issued passes the check that knows nothing of the others', async () => {
  const { stdout: text } = await gateway.ok('ca', 'check');
  assert.match(text, /certificates checked: each is what it should be/);
});
