/** The status listener over real sockets; control is a function of the test. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { afterEach, beforeEach, test } from 'node:test';
import { proxyHeader } from '../../../../test/harness/proxy-bytes.ts';
import { until, within } from '../../../../test/harness/waiting.ts';
import { systemClock } from '../../../common/base/clock.ts';
import { SallyportError } from '../../../common/base/errors.ts';
import { silentLogger } from '../../../common/base/logger.ts';
import type { ControlCall } from '../../../common/ipc/control-calls.ts';
import { PlainListener } from '../../transport/plain-server.ts';
import { SourceAdmission } from '../../transport/source-admission.ts';
import { Turnstile } from '../../transport/turnstile.ts';
import { StatusListener } from './listener.ts';

const request = Buffer.from('3003020101', 'hex');
const answerBytes = Buffer.from('3003020102', 'hex');
const host = 'Host: localhost\r\n';

let limits: ReturnType<typeof defaultLimits>;
let calls: ControlCall[];
let control: (call: ControlCall) => unknown;
let counted: string[];
let faults: object[];
let status: StatusListener;
let plain: PlainListener;
let turnstile: Turnstile;
let admission: SourceAdmission;
let port: number;
let sockets: Socket[];
/** Where the clock of durations stands still, for tests of rates. */
let stopped: number | undefined;

function defaultLimits() {
  return {
    sourceStatusPerSecond: 1_000,
    statusCallsPerSecond: 100,
    signedTimesPerSecond: 100,
    ocspRequestBytes: 4_096,
    ocspCacheBytes: 1_000_000,
    headerBytes: 8_192,
    headers: 64,
    headersMs: 10_000,
    requestMs: 30_000,
    idleMs: 75_000,
    stalledMs: 30_000,
    sourceConnectionsPerSecond: 1_000,
    sourceConnections: 100,
    halfOpen: 100,
    sourceHalfOpen: 100,
    sessions: 200,
    sourceFailures: 1_000,
    sourceSlowedPerSecond: 1_000,
    handshakesPerSecond: 10_000,
    eventLoopDelayMs: 10_000,
    admissionQueue: 100,
    admissionWaitMs: 10_000,
  };
}

beforeEach(async () => {
  limits = defaultLimits();
  calls = [];
  counted = [];
  faults = [];
  sockets = [];
  stopped = undefined;
  control = () => ({
    der: answerBytes.toString('base64'),
    cacheUntil: Date.now() + 60_000,
    certificates: ['internal:01'],
  });
  const logger = { ...silentLogger, error: (fields: object) => void faults.push(fields) };
  const count = (name: string): void => void counted.push(name);
  const clock = systemClock;
  status = new StatusListener({
    clock: { now: () => clock.now(), monotonic: () => stopped ?? clock.monotonic() },
    logger,
    count,
    limits: () => limits,
    call: async (call) => {
      calls.push(call);
      return control(call);
    },
  });
  admission = new SourceAdmission({ clock, limits: () => limits });
  turnstile = new Turnstile({ clock, limits: () => limits, failures: admission.failures });
  plain = new PlainListener({
    name: 'status',
    admission,
    turnstile,
    proxies: ['127.7.0.0/16'],
    proxyHeaderMs: 5_000,
    clock,
    judge: (refusal) => refusal,
    logger,
    count,
    onConnection: (socket, admitted) => status.accept(socket, admitted),
  });
  port = await plain.listen({ host: '127.0.0.1', port: 0 });
});

afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  const closed = plain.stopAccepting();
  status.drain(0);
  turnstile.close();
  await closed;
  assert.deepEqual(faults, []);
});

function open(localAddress = '127.0.0.1'): Socket {
  const socket = connect({ port, host: '127.0.0.1', localAddress, noDelay: true });
  socket.on('error', () => {});
  sockets.push(socket);
  return socket;
}

/** Everything that comes until the other side closes. */
async function all(socket: Socket): Promise<string> {
  let text = '';
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1');
  });
  await within(once(socket, 'close'), 10_000, `the end of the connection; so far ${text}`);
  return text;
}

async function ask(...bytes: readonly (string | Buffer)[]): Promise<string> {
  const socket = open();
  for (const some of bytes) socket.write(some);
  return all(socket);
}

async function get(path: string, method = 'GET'): Promise<string> {
  return ask(`${method} ${path} HTTP/1.1\r\n${host}Connection: close\r\n\r\n`);
}

function post(body: Buffer, more = 'Connection: close\r\n'): Buffer {
  const head = `POST /ocsp HTTP/1.1\r\n${host}Content-Length: ${body.length}\r\n${more}\r\n`;
  return Buffer.concat([Buffer.from(head), body]);
}

function bodyOf(text: string): string {
  return text.slice(text.indexOf('\r\n\r\n') + 4);
}

test('an OCSP answer comes from control once, then from store, by POST and GET', async () => {
  const posted = await ask(post(request));
  assert.match(posted, /^HTTP\/1\.1 200 OK\r\nContent-Type: application\/ocsp-response\r\n/);
  assert.equal(bodyOf(posted), answerBytes.toString('latin1'));
  for (const path of ['/ocsp/MAMCAQE=', '/ocsp/MAMCAQE%3D', '/ocsp//MAMCAQE%3d']) {
    assert.equal(bodyOf(await get(path)), answerBytes.toString('latin1'), path);
  }
  assert.deepEqual(calls, [{ what: 'ocsp', request: request.toString('base64') }]);
});

test('HEAD has the length of what it stands for and nothing else', async () => {
  const text = await get('/ocsp/MAMCAQE=', 'HEAD');
  assert.match(text, /Content-Length: 5\r\n/);
  assert.equal(bodyOf(text), '');
});

test('a client of HTTP/1.0 is answered and left', async () => {
  const text = await ask('POST /ocsp HTTP/1.0\r\nContent-Length: 5\r\n\r\n', request);
  assert.equal(bodyOf(text), answerBytes.toString('latin1'));
});

test('several requests follow each other on one connection', async () => {
  const socket = open();
  for (let i = 0; i < 3; i += 1) {
    socket.write(post(request, ''));
    const [chunk] = (await within(once(socket, 'data'), 5_000, `answer ${i}`)) as [Buffer];
    assert.match(chunk.toString('latin1'), /^HTTP\/1\.1 200/);
  }
  socket.end();
  await within(once(socket, 'close'), 5_000, 'the end');
});

test('who does not wait for an answer gets that one and no other', async () => {
  const nothing = `GET /nothing HTTP/1.1\r\n${host}\r\n`;
  const text = await ask(nothing.repeat(1_000));
  assert.equal(text.match(/HTTP\/1\.1 /g)?.length, 1);
  assert.match(text, /Connection: close/);
  // Also while control is asked.
  const { promise, resolve } = Promise.withResolvers<unknown>();
  const given = control({ what: 'ocsp', request: '' });
  control = () => promise;
  const socket = open();
  socket.write(post(request, ''));
  await until('the call', 5_000, () => calls.length === 1);
  socket.write(nothing.repeat(1_000));
  await until('more of them', 5_000, () => counted.includes('status_pipelined'));
  const answered = all(socket);
  resolve(given);
  assert.equal((await answered).match(/HTTP\/1\.1 /g)?.length, 1);
});

const outside: readonly (readonly [what: string, bytes: string])[] = [
  ['the root', 'GET / HTTP/1.1'],
  ['another path', 'GET /status HTTP/1.1'],
  ['a path that is longer', 'GET /ca.pem/x HTTP/1.1'],
  ['a query where there is none', 'GET /ca.pem?x HTTP/1.1'],
  ['a CA that there is not', 'GET /ca/00112233.cer HTTP/1.1'],
  ['a CRL of a CA that there is not', 'GET /crl/00112233.crl HTTP/1.1'],
  ['a path upwards', 'GET /ca/../ca.pem HTTP/1.1'],
  ['another method', 'PUT /ocsp HTTP/1.1'],
  ['POST elsewhere', 'POST /time HTTP/1.1'],
  ['GET of the responder', 'GET /ocsp HTTP/1.1'],
  ['a certificate of the time while there is none', 'GET /time.cer HTTP/1.1'],
];

for (const [what, line] of outside) {
  test(`${what} is not found, without a word about the server`, async () => {
    const text = await ask(`${line}\r\n${host}Content-Length: 0\r\nConnection: close\r\n\r\n`);
    assert.match(
      text,
      /^HTTP\/1\.1 404 Not Found\r\nContent-Length: 0\r\nDate: [^\r]*\r\nConnection: close\r\n\r\n$/,
    );
    assert.deepEqual(calls, []);
  });
}

test('what is no HTTP is refused and the connection ends', async () => {
  assert.match(await ask('\x16\x03\x01 a TLS client\r\n\r\n'), /^HTTP\/1\.1 400 Bad Request\r\n/);
  assert.match(await ask(`GET /${'a'.repeat(9_000)}`), /^HTTP\/1\.1 431 /);
  const large = `POST /ocsp HTTP/1.1\r\n${host}Content-Length: 5000\r\n\r\n`;
  assert.match(await ask(large, Buffer.alloc(5_000)), /^HTTP\/1\.1 413 /);
});

for (const [what, path, expected] of [
  ['nothing', '/ocsp/', 400],
  ['no base64', '/ocsp/MAM*', 400],
  ['half an escape', '/ocsp/MAMCAQE%3', 400],
  ['too much', `/ocsp/${'A'.repeat(6_000)}`, 413],
  ['no nonce', '/time', 400],
  ['a short nonce', '/time?nonce=abc', 400],
  ['a nonce and more', `/time?nonce=${'a'.repeat(22)}&x=1`, 400],
] as const) {
  test(`${what} in a path is refused with ${expected}`, async () => {
    assert.match(await get(path), new RegExp(`^HTTP/1\\.1 ${expected} `));
    assert.deepEqual(calls, []);
  });
}

for (const [code, body] of [
  ['malformed', '30030a0101'],
  ['rate', '30030a0103'],
  ['busy', '30030a0103'],
  ['unavailable', '30030a0103'],
] as const) {
  test(`what control refuses with ${code} is said in the words of OCSP`, async () => {
    control = () => {
      throw new SallyportError(code, 'no');
    };
    const text = await ask(post(request));
    assert.match(text, /^HTTP\/1\.1 200 OK\r\nContent-Type: application\/ocsp-response\r\n/);
    assert.match(text, /Cache-Control: no-store/);
    assert.equal(Buffer.from(bodyOf(text), 'latin1').toString('hex'), body);
  });
}

test('a fault in answering is a 500 and a line in the log, and nothing else', async () => {
  control = () => ({ nonsense: true });
  assert.match(await ask(post(request)), /^HTTP\/1\.1 500 /);
  assert.equal(faults.length, 1);
  faults.length = 0;
});

test('an answer goes when its certificate is revoked', async () => {
  await ask(post(request));
  status.certificatesRevoked(new Set(['internal:01']));
  await ask(post(request));
  assert.equal(calls.length, 2);
});

test('a source has so many requests, and what control must answer counts ten times', async () => {
  stopped = systemClock.monotonic();
  limits = { ...limits, sourceStatusPerSecond: 3 };
  control = () => ({ der: answerBytes.toString('base64'), certificates: [] });
  const codes: string[] = [];
  for (let i = 0; i < 5; i += 1) {
    const text = await ask(post(Buffer.concat([request, Buffer.of(i)])));
    codes.push(text.slice(9, 12));
  }
  assert.deepEqual(codes, ['200', '200', '200', '429', '429']);
  // Another source is served as before.
  const other = open('127.0.0.2');
  other.write(post(request));
  assert.match(await all(other), /^HTTP\/1\.1 200/);
});

test('what a load balancer passes on counts for the source that it names', async () => {
  stopped = systemClock.monotonic();
  limits = { ...limits, sourceStatusPerSecond: 1 };
  const passed = async (source: string): Promise<string> => {
    const socket = open('127.7.0.9');
    const header = proxyHeader({ address: source });
    socket.write(Buffer.concat([header, Buffer.from(`GET /x HTTP/1.1\r\n${host}\r\n`)]));
    socket.end();
    return (await all(socket)).slice(9, 12);
  };
  const codes: string[] = [];
  for (let i = 0; i < 11; i += 1) codes.push(await passed('198.51.100.7'));
  assert.deepEqual(new Set(codes.slice(0, 10)), new Set(['404']));
  assert.equal(codes[10], '429');
  assert.equal(await passed('198.51.100.8'), '404');
});

test('a CRL of megabytes arrives whole, counts by its size, and is not sent again to who has it', async () => {
  const der = Buffer.alloc(4_000_000, 0x5a);
  control = () => ({ der: der.toString('base64'), number: 12, nextUpdate: Date.now() + 600_000 });
  const text = await get('/crl.crl');
  const [, tag = ''] = /pkix-crl\r\nETag: ("[0-9a-f]{32}")\r\n/.exec(text) ?? [];
  assert.equal(bodyOf(text).length, der.length);
  const again = `GET /crl.crl HTTP/1.1\r\n${host}If-None-Match: ${tag}\r\nConnection: close\r\n\r\n`;
  assert.match(await ask(again), /^HTTP\/1\.1 304 Not Modified\r\n(?!.*Content-Length)/s);
  const passedOn = again.replace(tag, `"11", W/${tag}`);
  assert.match(await ask(passedOn), /^HTTP\/1\.1 304 /);
  assert.match(await ask(again.replace(tag, '"12"')), /^HTTP\/1\.1 200 /);
  limits = { ...limits, sourceStatusPerSecond: 1 };
  const slow = open('127.0.0.3');
  slow.write(`GET /crl.crl HTTP/1.1\r\n${host}\r\n`);
  await within(once(slow, 'data'), 5_000, 'the list');
  const next = open('127.0.0.3');
  next.write(`GET /x HTTP/1.1\r\n${host}Connection: close\r\n\r\n`);
  assert.match(await all(next), /^HTTP\/1\.1 429 /);
});

test('a slow reader of a long answer is left, one that reads slowly is served', async () => {
  const der = Buffer.alloc(16_000_000, 0x5a);
  control = () => ({ der: der.toString('base64'), number: 1, nextUpdate: Date.now() + 600_000 });
  limits = { ...limits, stalledMs: 200 };
  const socket = open();
  socket.pause();
  socket.write(`GET /crl.crl HTTP/1.1\r\n${host}\r\n`);
  await until('the connection', 5_000, () => status.connections === 1);
  await until('its end', 10_000, () => status.connections === 0);
});

test('a request that does not come, or dribbles in, ends', async () => {
  limits = { ...limits, headersMs: 500 };
  assert.equal(await ask(), '');
  assert.match(await ask('GET / HT'), /^HTTP\/1\.1 408 Request Timeout\r\n/);
  limits = { ...limits, headersMs: 10_000, requestMs: 500 };
  assert.match(
    await ask(`POST /ocsp HTTP/1.1\r\n${host}Content-Length: 5\r\n\r\nab`),
    /^HTTP\/1\.1 408 /,
  );
});

test('when all places are taken the network that has most of them loses its oldest', async () => {
  limits = { ...limits, halfOpen: 3, sourceConnectionsPerSecond: 100 };
  const held = [open('127.0.0.1'), open('127.0.0.1'), open('127.0.0.1')];
  await until('three connections', 5_000, () => status.connections === 3);
  const other = open('127.9.0.1');
  other.write(`GET /x HTTP/1.1\r\n${host}Connection: close\r\n\r\n`);
  assert.match(await all(other), /^HTTP\/1\.1 404 /);
  await until('one to go', 5_000, () => held.some(({ destroyed }) => destroyed));
});

test('draining ends what is idle at once and what is being answered after its answer', async () => {
  const { promise, resolve } = Promise.withResolvers<unknown>();
  const given = control({ what: 'ocsp', request: '' });
  control = () => promise;
  const idle = open();
  const busy = open();
  busy.write(post(request, ''));
  await until('both', 5_000, () => status.connections === 2 && calls.length === 1);
  status.drain(5_000);
  await all(idle);
  const answered = all(busy);
  resolve(given);
  assert.match(await answered, /^HTTP\/1\.1 200 [^]*Connection: close/);
});
