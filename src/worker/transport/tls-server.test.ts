import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect as tcpConnect } from 'node:net';
import type { Socket } from 'node:net';
import { after, test } from 'node:test';
import type { TestContext } from 'node:test';
import { connect as tlsConnect } from 'node:tls';
import type { TLSSocket } from 'node:tls';
import { issueLeaf, makeAuthority } from '../../../test/harness/openssl.ts';
import { temporaryFolder } from '../../../test/harness/temporary-folder.ts';
import { until } from '../../../test/harness/waiting.ts';
import { systemClock } from '../../common/base/clock.ts';
import { silentLogger } from '../../common/base/logger.ts';
import type { TlsMaterial } from '../../common/ipc/snapshot.ts';
import type { SecureConnection } from './secure-connection.ts';
import { SourceAdmission } from './source-admission.ts';
import type { AdmissionLimits } from './source-admission.ts';
import { TlsListener } from './tls-server.ts';
import type { TlsListenerOptions } from './tls-server.ts';
import { Turnstile } from './turnstile.ts';
import type { TurnstileLimits } from './turnstile.ts';

const ticketSecret = randomBytes(32);

const folder = temporaryFolder();
after(() => folder[Symbol.dispose]());
const authority = makeAuthority(folder.at('ca'), 'Test Root');
const root = readFileSync(authority.crt, 'utf8');

function materialFor(commonName: string): TlsMaterial {
  const server = issueLeaf(authority, folder.at('server'), commonName, '', {
    subject: `/CN=${commonName}`,
    extensions: ['extendedKeyUsage=serverAuth', 'subjectAltName=DNS:localhost'],
  });
  return {
    certificateChain: readFileSync(server.crt, 'utf8'),
    privateKey: readFileSync(server.key, 'utf8'),
    minVersion: '1.2',
    groups: ['X25519', 'P-256'],
    anchors: [{ name: 'internal', certificates: [root], mapping: { type: 'spiffe' } }],
  };
}

const material = materialFor('first');

/** A listener that is gone with its test. */
async function setUp(
  t: TestContext,
  changed: Partial<TlsListenerOptions> = {},
  host = '127.0.0.1',
  limited: Partial<AdmissionLimits & TurnstileLimits> = {},
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
  const counted: string[] = [];
  const faults: object[] = [];
  const accepted: SecureConnection[] = [];
  const listener = new TlsListener({
    name: 'test',
    material,
    ticketSecret: () => ticketSecret,
    handshakeMs: 10_000,
    admission,
    turnstile: new Turnstile({
      clock: systemClock,
      limits: () => limits,
      failures: admission.failures,
    }),
    proxies: [],
    proxyHeaderMs: 10_000,
    clock: systemClock,
    judge: (refusal) => refusal,
    logger: { ...silentLogger, error: (fields) => void faults.push(fields) },
    count: (name) => void counted.push(name),
    onSecure: (connection) => void accepted.push(connection),
    ...changed,
  });
  const port = await listener.listen({ host, port: 0 });
  const clients = new Set<TLSSocket>();
  t.after(async () => {
    for (const client of clients) client.destroy();
    await listener.stopAccepting();
  });
  const connect = (): TLSSocket => {
    const client = tlsConnect({ host: '127.0.0.1', port, servername: 'localhost', ca: root });
    client.on('error', () => {});
    clients.add(client);
    return client;
  };
  return { listener, admission, port, connect, counted, faults, accepted };
}

/** Whatever the way: an error that comes with it is expected here. */
function closed(socket: Socket): Promise<void> {
  socket.on('error', () => {});
  socket.resume();
  return new Promise((resolve) => {
    if (socket.closed) resolve();
    else socket.once('close', () => resolve());
  });
}

function echo(connection: SecureConnection): void {
  connection.onData = (chunk) => void connection.write(chunk);
}

async function echoes(client: TLSSocket): Promise<void> {
  client.write('ping');
  const chunk = await new Promise<Buffer>((resolve) => client.once('data', resolve));
  assert.equal(chunk.toString(), 'ping');
}

function defect(): never {
  throw new Error('a defect');
}

/** Where one connection's code may throw; every other connection is an echo. */
const faultyPlaces: Readonly<Record<string, (connection: SecureConnection) => void>> = {
  onSecure: defect,
  onData: (connection) => {
    connection.onData = defect;
  },
  onDrain: (connection) => {
    connection.onData = () => {
      connection.onDrain = defect;
      // More than one write can take, so that a drain follows.
      connection.write(Buffer.alloc(4 * 1024 * 1024));
    };
  },
  onEnd: (connection) => {
    connection.onEnd = defect;
  },
  onClose: (connection) => {
    connection.onClose = defect;
    connection.onData = () => connection.destroy();
  },
};

for (const [place, misbehave] of Object.entries(faultyPlaces)) {
  test(`an exception in ${place} ends that connection only, and is reported`, async (t) => {
    let connections = 0;
    const { connect, counted, faults, admission } = await setUp(t, {
      onSecure: (connection) => {
        connections += 1;
        if (connections === 2) misbehave(connection);
        else echo(connection);
      },
    });
    const before = connect();
    await echoes(before);
    const hit = connect();
    hit.once('secureConnect', () => (place === 'onEnd' ? hit.end() : hit.write('anything')));
    await closed(hit);
    await until('the fault is reported', 5_000, () => faults.length > 0);
    assert.equal(faults.length, 1);
    assert.match(String(Reflect.get(faults[0] ?? {}, 'err')), /a defect/);
    assert.deepEqual(
      counted.filter((name) => name === 'internal_errors'),
      ['internal_errors'],
    );
    await echoes(before);
    await echoes(connect());
    await until('its place is free', 5_000, () => admission.open === 2);
  });
}

test('what is written before an end soon arrives whole, however late it is read, and then the end', async (t) => {
  const bytes = 4_000_000;
  const ends: string[] = [];
  const { connect } = await setUp(t, {
    onSecure: (connection) => {
      connection.onClose = () => void ends.push('closed');
      connection.onData = () => {
        connection.write(Buffer.alloc(bytes / 2, 1));
        connection.write(Buffer.alloc(bytes / 2, 2));
        connection.closeSoon();
      };
    },
  });
  const client = connect();
  client.write('go');
  await once(client, 'readable');
  assert.deepEqual(ends, []);
  let read = 0;
  client.on('data', (chunk: Buffer) => (read += chunk.length));
  await until('its end is told', 10_000, () => ends.length === 1);
  await until('all is there', 10_000, () => read === bytes);
  client.destroy();
});

test('however often reading is paused, every byte comes once, in order, never meanwhile, and then the end', async (t) => {
  const read: Buffer[] = [];
  const ends: string[] = [];
  let chunks = 0;
  const { connect, counted } = await setUp(t, {
    onSecure: (connection) => {
      let paused = false;
      const pause = (): void => {
        paused = true;
        connection.pause();
      };
      const resume = (): void => {
        paused = false;
        connection.resume();
      };
      connection.onClose = () => void ends.push('closed');
      connection.onData = (chunk) => {
        assert.equal(paused, false, 'nothing is read while reading is paused');
        read.push(Buffer.from(chunk));
        chunks += 1;
        if (chunks % 3 === 0) pause();
        // Some pauses last long enough for the stream to fill up, some are over at once.
        if (chunks % 30 === 0) setTimeout(resume, 5);
        else if (chunks % 6 === 0) setImmediate(resume);
        else if (chunks % 3 === 0) resume();
      };
    },
  });
  const sent = randomBytes(4 * 1024 * 1024);
  const client = connect();
  for (let at = 0; at < sent.length; at += 1_000) client.write(sent.subarray(at, at + 1_000));
  client.end();
  await until('its end is told', 20_000, () => ends.length === 1);
  assert.ok(Buffer.concat(read).equals(sent));
  assert.ok(!counted.includes('internal_errors'));
});

test('a client that offers other protocols only is refused; one that offers none is not', async (t) => {
  const { connect, port, accepted } = await setUp(t, { applicationProtocols: ['http/1.1'] });
  const offer = (...protocols: string[]): TLSSocket =>
    tlsConnect({
      host: '127.0.0.1',
      port,
      servername: 'localhost',
      ca: root,
      ALPNProtocols: protocols,
    });
  const refused = offer('h2');
  const [error] = (await once(refused, 'error')) as [NodeJS.ErrnoException];
  assert.equal(error.code, 'ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL');
  const taken = offer('h2', 'http/1.1');
  await once(taken, 'secureConnect');
  assert.equal(taken.alpnProtocol, 'http/1.1');
  await once(connect(), 'secureConnect');
  await until('both are known', 5_000, () => accepted.length === 2);
  taken.destroy();
});

test('an exception while a connection is judged ends that connection and frees its place', async (t) => {
  let judged = 0;
  const { connect, admission, counted } = await setUp(t, {
    judge: () => {
      judged += 1;
      return judged === 1 ? defect() : undefined;
    },
    onSecure: echo,
  });
  await closed(connect());
  await echoes(connect());
  assert.equal(admission.open, 1);
  assert.ok(counted.includes('internal_errors'));
});

test('who is refused at the door is reset before any TLS', async (t) => {
  const { port, counted, admission, accepted } = await setUp(t, { judge: () => 'not today' });
  const socket = tcpConnect({ host: '127.0.0.1', port });
  let bytes = 0;
  socket.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
  });
  await closed(socket);
  assert.equal(bytes, 0);
  assert.deepEqual(counted, ['admission_refused{reason="policy"}']);
  await until('its place is free', 5_000, () => admission.open === 0);
  assert.deepEqual([admission.halfOpen, accepted.length], [0, 0]);
});

test('a handshake that does not come to its end is given up, and its place is free', async (t) => {
  const { port, admission } = await setUp(t, { handshakeMs: 50 });
  const socket = tcpConnect({ host: '127.0.0.1', port });
  await closed(socket);
  await until('its place is free', 5_000, () => admission.open === 0);
  assert.equal(admission.halfOpen, 0);
});

test('what is no TLS ends the connection and is counted', async (t) => {
  const { port, counted, connect } = await setUp(t, { onSecure: echo });
  const socket = tcpConnect({ host: '127.0.0.1', port });
  socket.write('GET / HTTP/1.1\r\n\r\n');
  await closed(socket);
  await until('it is counted', 5_000, () => counted.includes('tls_handshake_failures'));
  await echoes(connect());
});

test('a connection is half-open until its peer has authenticated', async (t) => {
  const { connect, admission, accepted } = await setUp(t);
  const client = connect();
  await once(client, 'secureConnect');
  await until('it is accepted', 5_000, () => accepted.length === 1);
  assert.equal(admission.halfOpen, 1);
  accepted[0]?.authenticated();
  assert.equal(admission.halfOpen, 0);
  assert.equal(admission.open, 1);
  client.destroy();
  await until('it is gone', 5_000, () => admission.open === 0);
  assert.equal(admission.halfOpen, 0);
});

test('a peer without a certificate is let through to the listener, which sees that there is none', async (t) => {
  const { connect, accepted } = await setUp(t);
  connect();
  await until('it is accepted', 5_000, () => accepted.length === 1);
  const [connection] = accepted;
  assert.ok(connection !== undefined);
  assert.equal(connection.peerCertificate, undefined);
  assert.notEqual(connection.verifyError, undefined);
  assert.equal(connection.protocol, 'TLSv1.3');
  assert.equal(connection.remoteAddress, '127.0.0.1');
});

test('end: what was written arrives, and a peer that does not close is cut off', async (t) => {
  const { connect, accepted } = await setUp(t);
  const client = connect();
  // Of the kind that never answers the end of the other side with its own.
  client.allowHalfOpen = true;
  const received: Buffer[] = [];
  client.on('data', (chunk: Buffer) => received.push(chunk));
  await until('it is accepted', 5_000, () => accepted.length === 1);
  const [connection] = accepted;
  assert.ok(connection !== undefined);
  let chunks = 0;
  connection.onData = () => {
    chunks += 1;
  };
  const over = new Promise<void>((resolve) => {
    connection.onClose = resolve;
  });
  connection.write(Buffer.from('last words'));
  connection.end(50);
  client.write('too late');
  await once(client, 'end');
  await over;
  assert.equal(Buffer.concat(received).toString(), 'last words');
  assert.equal(chunks, 0);
});

test('new material holds for the handshakes to come; what is established lives on', async (t) => {
  const { listener, connect } = await setUp(t, { onSecure: echo });
  const before = connect();
  await echoes(before);
  assert.equal(before.getPeerCertificate().subject.CN, 'first');
  listener.update(materialFor('second'));
  const next = connect();
  await echoes(next);
  assert.equal(next.getPeerCertificate().subject.CN, 'second');
  await echoes(before);
});

test('stopAccepting ends handshakes under way and lets established connections go on', async (t) => {
  const { listener, port, connect, admission } = await setUp(t, { onSecure: echo });
  const established = connect();
  await echoes(established);
  const silent = tcpConnect({ host: '127.0.0.1', port });
  const gone = closed(silent);
  await until('the silent one is in', 5_000, () => admission.open === 2);
  const stopped = listener.stopAccepting();
  await gone;
  await echoes(established);
  const late = tcpConnect({ host: '127.0.0.1', port });
  const error = await new Promise<NodeJS.ErrnoException>((resolve) => late.once('error', resolve));
  assert.equal(error.code, 'ECONNREFUSED');
  established.destroy();
  await stopped;
});

/** Chunks as the client gets them: one is one TLS record. */
async function oneConnection(t: TestContext) {
  const { connect, accepted } = await setUp(t);
  const client = connect();
  const chunks: string[] = [];
  client.on('data', (chunk: Buffer) => chunks.push(chunk.toString('latin1')));
  await until('it is accepted', 5_000, () => accepted.length === 1);
  const [connection] = accepted;
  assert.ok(connection !== undefined);
  const arrived = (text: string): Promise<true> =>
    until(`${text.length} bytes`, 20_000, () => chunks.join('').length >= text.length);
  return { client, connection, chunks, arrived };
}

test('what is written soon is one record at the end of the turn, pending until then and taken after', async (t) => {
  const { connection, chunks, arrived } = await oneConnection(t);
  for (const text of ['one ', 'two ', 'three']) {
    assert.equal(connection.write(Buffer.from(text), 'soon'), true);
  }
  assert.deepEqual([connection.pendingBytes, connection.takenBytes], [13, 0]);
  await arrived('one two three');
  assert.deepEqual(chunks, ['one two three']);
  await until('it is taken', 5_000, () => connection.pendingBytes === 0);
  assert.equal(connection.takenBytes, 13);
});

test('what is written at once, or is too much to wait, goes behind what was written soon before it', async (t) => {
  const { connection, chunks, arrived } = await oneConnection(t);
  const much = 'm'.repeat(40_000);
  const texts = ['soon ', 'now ', 'soon again ', much, ' and last'];
  const ways = ['soon', undefined, 'soon', 'soon', 'soon'] as const;
  for (const [i, text] of texts.entries()) connection.write(Buffer.from(text), ways[i]);
  await arrived(texts.join(''));
  assert.equal(chunks.join(''), texts.join(''));
});

test('a peer that does not read is told of at once, and its drain comes, also for what is written soon', async (t) => {
  const { client, connection, chunks, arrived } = await oneConnection(t);
  client.pause();
  let drains = 0;
  connection.onDrain = () => {
    drains += 1;
  };
  const piece = 'p'.repeat(10_000);
  let pieces = 0;
  // Of these, the system takes some megabytes.
  const fill = (): boolean => {
    for (let i = 0; i < 10; i += 1) {
      pieces += 1;
      if (!connection.write(Buffer.from(piece), 'soon')) return false;
      assert.ok(connection.pendingBytes <= 200_000);
    }
    return true;
  };
  for (let i = 0; i < 2_000 && fill(); i += 1)
    await new Promise((resolve) => setImmediate(resolve));
  const taken = connection.takenBytes;
  assert.ok(connection.pendingBytes > 0);
  assert.equal(connection.write(Buffer.from(piece), 'soon'), false);
  assert.equal(connection.takenBytes, taken);
  client.resume();
  await arrived(piece.repeat(pieces + 1));
  assert.equal(chunks.join('').length, piece.length * (pieces + 1));
  await until('it is told', 5_000, () => drains > 0);
});

for (const how of ['end', 'closeSoon'] as const) {
  test(`${how} sends what was written soon, and then the end`, async (t) => {
    const { client, connection, chunks } = await oneConnection(t);
    connection.write(Buffer.from('last words'), 'soon');
    connection[how](5_000);
    assert.equal(connection.write(Buffer.from('too late'), 'soon'), false);
    await once(client, 'end');
    assert.equal(chunks.join(''), 'last words');
  });
}

test('a peer that ends with its request gets what is written soon for it', async (t) => {
  const { client, connection, chunks } = await oneConnection(t);
  connection.onData = () => void connection.write(Buffer.from('answer'), 'soon');
  client.end('request');
  await once(client, 'close');
  assert.equal(chunks.join(''), 'answer');
});

test('that a peer sends no more is told, also while reading is paused, and who is told ends the connection', async (t) => {
  for (const paused of [false, true]) {
    const { client, connection, chunks } = await oneConnection(t);
    const seen: string[] = [];
    const told = Promise.withResolvers<void>();
    connection.onEnd = () => {
      seen.push('end');
      told.resolve();
    };
    connection.onClose = () => void seen.push('close');
    if (paused) connection.pause();
    client.end();
    await told.promise;
    for (let n = 0; n < 20; n += 1) await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual([client.readableEnded, seen], [false, ['end']]);
    connection.write(Buffer.from('last words'), 'soon');
    connection.end(10_000);
    await once(client, 'end');
    assert.deepEqual(chunks, ['last words']);
    await closed(client);
    await until('the connection is gone', 5_000, () => seen.includes('close'));
    assert.deepEqual(seen, ['end', 'close']);
  }
});

test('what was written soon goes before the end of a connection that is destroyed, and nothing after', async (t) => {
  const { client, connection, chunks } = await oneConnection(t);
  connection.write(Buffer.from('an answer'), 'soon');
  connection.destroy();
  assert.equal(connection.write(Buffer.from('too late'), 'soon'), false);
  await closed(client);
  assert.deepEqual(chunks, ['an answer']);
});

test('an address that cannot be had is an error with the key to set', async (t) => {
  // TEST-NET-1 (RFC 5737): nobody's address.
  await assert.rejects(setUp(t, {}, '192.0.2.1'), {
    code: 'io',
    hint: /listeners\.test\.port/,
  });
});
