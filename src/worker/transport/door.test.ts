/** Connections before their handshake, over real sockets: PROXY headers, limits by the source that they name, waiting. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect as tcpConnect } from 'node:net';
import type { Socket } from 'node:net';
import { after, test } from 'node:test';
import type { TestContext } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { connect as tlsConnect } from 'node:tls';
import type { TLSSocket } from 'node:tls';
import { issueLeaf, makeAuthority } from '../../../test/harness/openssl.ts';
import { proxyHeader } from '../../../test/harness/proxy-bytes.ts';
import { temporaryFolder } from '../../../test/harness/temporary-folder.ts';
import { until } from '../../../test/harness/waiting.ts';
import { systemClock } from '../../common/base/clock.ts';
import { silentLogger } from '../../common/base/logger.ts';
import type { SecureConnection } from './secure-connection.ts';
import { SourceAdmission } from './source-admission.ts';
import type { AdmissionLimits } from './source-admission.ts';
import { TlsListener } from './tls-server.ts';
import { Turnstile } from './turnstile.ts';
import type { TurnstileLimits } from './turnstile.ts';

const ticketSecret = randomBytes(32);

const folder = temporaryFolder();
after(() => folder[Symbol.dispose]());
const authority = makeAuthority(folder.at('ca'), 'Test Root');
const root = readFileSync(authority.crt, 'utf8');
const server = issueLeaf(authority, folder.at('server'), 'server', '', {
  subject: '/CN=server',
  extensions: ['extendedKeyUsage=serverAuth', 'subjectAltName=DNS:localhost'],
});

/** Trusted; every other address is not. */
const balancer = '127.7.0.9';
const stranger = '127.8.0.9';
const claimed = '198.51.100.7';

async function setUp(
  t: TestContext,
  limited: Partial<AdmissionLimits & TurnstileLimits> = {},
  proxyHeaderMs = 10_000,
  faultyJudge?: (refusal: string | undefined) => string | undefined,
) {
  const limits = {
    sourceConnectionsPerSecond: 1_000,
    sourceConnections: 100,
    halfOpen: 100,
    sourceHalfOpen: 100,
    sessions: 100,
    sourceFailures: 1_000,
    sourceSlowedPerSecond: 1_000,
    handshakesPerSecond: 10_000,
    eventLoopDelayMs: 10_000,
    admissionQueue: 100,
    admissionWaitMs: 10_000,
    ...limited,
  };
  const admission = new SourceAdmission({ clock: systemClock, limits: () => limits });
  const { failures } = admission;
  const turnstile = new Turnstile({ clock: systemClock, limits: () => limits, failures });
  const counted: string[] = [];
  const accepted: SecureConnection[] = [];
  const lines: object[] = [];
  const faults: object[] = [];
  const listener = new TlsListener({
    name: 'test',
    material: {
      certificateChain: readFileSync(server.crt, 'utf8'),
      privateKey: readFileSync(server.key, 'utf8'),
      minVersion: '1.2',
      groups: ['X25519', 'P-256'],
      anchors: [{ name: 'internal', certificates: [root], mapping: { type: 'spiffe' } }],
    },
    ticketSecret: () => ticketSecret,
    handshakeMs: 10_000,
    admission,
    turnstile,
    proxies: ['127.7.0.0/16', '2001:db8::/32'],
    proxyHeaderMs,
    clock: systemClock,
    judge: faultyJudge ?? ((refusal) => refusal),
    logger: {
      ...silentLogger,
      info: (fields) => void lines.push(fields),
      error: (fields) => void faults.push(fields),
    },
    count: (name) => void counted.push(name),
    onSecure: (connection) => {
      connection.onData = (chunk) => void connection.write(chunk);
      accepted.push(connection);
    },
  });
  const port = await listener.listen({ host: '127.0.0.1', port: 0 });
  const sockets = new Set<Socket>();
  t.after(async () => {
    for (const socket of sockets) socket.destroy();
    await listener.stopAccepting();
    turnstile.close();
    if (faultyJudge === undefined) assert.deepEqual(faults, []);
  });
  const open = (localAddress: string): Socket => {
    const socket = tcpConnect({ host: '127.0.0.1', port, localAddress, noDelay: true });
    socket.on('error', () => {});
    sockets.add(socket);
    return socket;
  };
  /** TLS over a socket on which something has been sent already. */
  const secure = (socket: Socket): TLSSocket => {
    const client = tlsConnect({ socket, servername: 'localhost', ca: root });
    client.on('error', () => {});
    return client;
  };
  return { admission, turnstile, counted, accepted, lines, faults, open, secure };
}

async function echoes(client: TLSSocket): Promise<void> {
  client.write('ping');
  const [chunk] = (await once(client, 'data')) as [Buffer];
  assert.equal(chunk.toString(), 'ping');
}

function closed(socket: Socket): Promise<void> {
  socket.resume();
  return new Promise((resolve) => {
    if (socket.closed) resolve();
    else socket.once('close', () => resolve());
  });
}

test('a load balancer says where a connection comes from, and TLS begins after that', async (t) => {
  const { accepted, admission, counted, open, secure } = await setUp(t);
  for (const address of [claimed, '2001:db8:1::7']) {
    const socket = open(balancer);
    socket.write(proxyHeader({ address, port: 4_711, tlvs: randomBytes(524 - 24) }));
    await echoes(secure(socket));
    const connection = accepted.at(-1);
    assert.deepEqual([connection?.remoteAddress, connection?.remotePort], [address, 4_711]);
  }
  assert.equal(admission.open, 2);
  assert.deepEqual(new Set(counted), new Set(['tls_handshakes{group="X25519"}']));
});

test('a header may come in any pieces, and with the first bytes of TLS', async (t) => {
  const { accepted, open, secure } = await setUp(t);
  const header = proxyHeader({ address: claimed, tlvs: Buffer.from('030004deadbeef', 'hex') });
  for (let at = 1; at < header.length; at += 3) {
    const socket = open(balancer);
    await once(socket, 'connect');
    socket.write(header.subarray(0, at));
    // Turns of the event loop in which the first piece is read.
    for (let turn = 0; turn < 5; turn += 1) await nextTurn();
    socket.cork();
    socket.write(header.subarray(at));
    const client = secure(socket);
    await nextTurn();
    socket.uncork();
    await echoes(client);
    assert.equal(accepted.at(-1)?.remoteAddress, claimed);
    client.destroy();
  }
});

test('from anybody else a header is garbage', async (t) => {
  const { accepted, counted, open, secure } = await setUp(t);
  const socket = open(stranger);
  socket.write(proxyHeader({ address: claimed }));
  await closed(secure(socket));
  assert.equal(accepted.length, 0);
  await until('it is counted', 5_000, () => counted.includes('tls_handshake_failures'));
  await echoes(secure(open(stranger)));
  assert.equal(accepted.at(-1)?.remoteAddress, stranger);
});

const notHeaders: Readonly<Record<string, Buffer>> = {
  'the text of version 1': Buffer.from(`PROXY TCP4 ${claimed} 198.51.100.1 50000 8883\r\n`),
  'an unknown family': proxyHeader({ family: 0x00 }),
  'a header that is too long': proxyHeader({ tlvs: Buffer.alloc(2_000) }),
};

for (const [what, bytes] of Object.entries(notHeaders)) {
  test(`a load balancer is refused before TLS for ${what}`, async (t) => {
    const { accepted, admission, counted, lines, open } = await setUp(t);
    const socket = open(balancer);
    let answer = 0;
    socket.on('data', (chunk: Buffer) => (answer += chunk.length));
    socket.write(bytes);
    await closed(socket);
    await until('its place is free', 5_000, () => admission.open === 0);
    assert.deepEqual([answer, accepted.length], [0, 0]);
    assert.deepEqual(counted, [
      'proxy_headers_refused',
      'admission_refused{reason="proxy-header"}',
    ]);
    assert.equal(Reflect.get(lines[0] ?? {}, 'remote'), balancer);
  });
}

test('a load balancer that sends no header, but TLS at once, is refused', async (t) => {
  const { accepted, counted, open, secure } = await setUp(t);
  await closed(secure(open(balancer)));
  assert.equal(accepted.length, 0);
  assert.ok(counted.includes('proxy_headers_refused'));
});

test('what follows a header is TLS or the end: neither a second header nor plain text is taken', async (t) => {
  const { accepted, admission, counted, open, secure } = await setUp(t);
  for (const more of [proxyHeader({ address: '203.0.113.9' }), Buffer.from('\x10\x0c\0\x04MQTT')]) {
    const socket = open(balancer);
    socket.write(Buffer.concat([proxyHeader({ address: claimed }), more]));
    await closed(secure(socket));
  }
  await until('both are gone', 5_000, () => admission.open === 0);
  assert.equal(accepted.length, 0);
  const failed = counted.filter((name) => name === 'tls_handshake_failures');
  assert.equal(failed.length, 2);
});

test('a health check speaks for itself, and is served as what it is', async (t) => {
  const { accepted, counted, open, secure } = await setUp(t);
  const socket = open(balancer);
  socket.write(proxyHeader({ command: 0x20, family: 0, addresses: Buffer.alloc(0) }));
  await echoes(secure(socket));
  assert.equal(accepted.at(-1)?.remoteAddress, balancer);
  const check = open(balancer);
  check.end(proxyHeader({ command: 0x20 }));
  await closed(check);
  assert.ok(!counted.includes('proxy_headers_refused'));
});

test('a load balancer that says nothing is given up in time, and one that leaves is forgotten', async (t) => {
  const { admission, counted, open } = await setUp(t, {}, 100);
  const silent = open(balancer);
  const half = open(balancer);
  half.write(proxyHeader({}).subarray(0, 20));
  await Promise.all([closed(silent), closed(half)]);
  await until('their places are free', 5_000, () => admission.open === 0);
  assert.equal(counted.filter((name) => name === 'proxy_headers_refused').length, 2);
  const brief = open(balancer);
  brief.end();
  await closed(brief);
  await until('its place is free', 5_000, () => admission.open === 0);
});

test('limits per source are those of the source behind the load balancer', async (t) => {
  const { counted, open, secure } = await setUp(t, { sourceConnections: 1 });
  const from = (address: string): TLSSocket => {
    const socket = open(balancer);
    socket.write(proxyHeader({ address }));
    return secure(socket);
  };
  const first = from(claimed);
  await echoes(first);
  await echoes(from('198.51.100.8'));
  await closed(from(claimed));
  assert.ok(counted.includes('admission_refused{reason="source-connections"}'));
});

test('failed handshakes slow down the network that they came from, and no other', async (t) => {
  const { admission, open } = await setUp(t, { sourceFailures: 2 });
  for (let n = 0; n < 4; n += 1) {
    const socket = open(`127.8.0.${n + 1}`);
    socket.write('this is no ClientHello at all\r\n\r\n');
    await closed(socket);
  }
  await until('they are counted', 5_000, () => admission.failures.isSlowed('127.8.0'));
  assert.equal(admission.failures.isSlowed('127.9.0'), false);
});

test('a handshake that its peer breaks off is a failed one', async (t) => {
  const { admission, open } = await setUp(t, { sourceFailures: 2 });
  for (let n = 0; n < 4; n += 1) {
    const socket = open(stranger);
    // The beginning of a ClientHello.
    socket.end(Buffer.from('1603010200010001fc0303', 'hex'));
    await closed(socket);
  }
  await until('they are counted', 5_000, () => admission.failures.isSlowed('127.8.0'));
});

test('a connection that says nothing is no failed handshake', async (t) => {
  const { admission, open } = await setUp(t, { sourceFailures: 1 });
  for (let n = 0; n < 4; n += 1) {
    const socket = open(stranger);
    await once(socket, 'connect');
    await until('it is in', 5_000, () => admission.halfOpen === 1);
    socket.destroy();
    await until('it is gone', 5_000, () => admission.open === 0);
  }
  assert.equal(admission.failures.isSlowed('127.8.0'), false);
});

test('connections that say nothing make way for who comes from another network, even when their handshake is done', async (t) => {
  const { admission, accepted, counted, open, secure } = await setUp(t, { halfOpen: 2 });
  const shaken = secure(open(stranger));
  await echoes(shaken);
  const silent = open(stranger);
  await until('both places are taken', 5_000, () => admission.halfOpen === 2);
  await echoes(secure(open('127.9.0.1')));
  await closed(shaken);
  assert.deepEqual(
    counted.filter((name) => !name.startsWith('tls_handshakes')),
    ['admission_refused{reason="half-open"}'],
  );
  assert.equal(accepted.length, 2);
  assert.equal(silent.closed, false);
  await until('its place is left', 5_000, () => admission.open === 2);
  assert.equal(admission.halfOpen, 2);
});

test('a herd waits at the door and comes in one after the other; not a byte is read before', async (t) => {
  // Slow enough for most of them to be seen waiting, on a machine with other work too.
  const { admission, turnstile, accepted, open, secure } = await setUp(t, {
    handshakesPerSecond: 10,
    admissionWaitMs: 60_000,
  });
  const herd = Array.from({ length: 40 }, () => secure(open(stranger)));
  await until('all are there', 5_000, () => admission.open + accepted.length >= 40);
  assert.ok(turnstile.waiting > 20, `${turnstile.waiting} wait`);
  assert.ok(admission.halfOpen <= 20);
  await Promise.all(herd.map(echoes));
  assert.equal(turnstile.waiting, 0);
});

test('who finds no place to wait is reset at once', async (t) => {
  const { counted, open } = await setUp(t, { handshakesPerSecond: 1, admissionQueue: 5 });
  for (let n = 0; n < 12; n += 1) open(stranger);
  await until('the others are refused', 5_000, () => {
    const refused = counted.filter((name) => name === 'admission_refused{reason="queue-full"}');
    return refused.length >= 5;
  });
});

test('a fault in judging who has waited too long is the end of that connection alone', async (t) => {
  const judge = (refusal: string | undefined): string | undefined => {
    if (refusal === 'queue-wait') throw new Error('a defect');
    return refusal;
  };
  const limits = { handshakesPerSecond: 20, admissionWaitMs: 50 };
  const { admission, counted, faults, open } = await setUp(t, limits, 10_000, judge);
  const herd = Array.from({ length: 12 }, () => open(stranger));
  await until('one has waited too long', 5_000, () => faults.length > 0);
  assert.ok(counted.includes('internal_errors'));
  for (const socket of herd) socket.destroy();
  await until('all are gone', 5_000, () => admission.open === 0);
});
