/** Two listeners, as two workers have them: what a ticket is good for before and after the keys change. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { after, test } from 'node:test';
import type { TestContext } from 'node:test';
import { connect as tlsConnect } from 'node:tls';
import type { TLSSocket } from 'node:tls';
import { issueLeaf, makeAuthority } from '../../../test/harness/openssl.ts';
import { temporaryFolder } from '../../../test/harness/temporary-folder.ts';
import { within } from '../../../test/harness/waiting.ts';
import { systemClock } from '../../common/base/clock.ts';
import { silentLogger } from '../../common/base/logger.ts';
import { TicketChain } from '../../common/base/ticket-chain.ts';
import type { TlsMaterial } from '../../common/ipc/snapshot.ts';
import { SourceAdmission } from './source-admission.ts';
import { TicketRotation } from './ticket-rotation.ts';
import { TlsListener } from './tls-server.ts';
import { Turnstile } from './turnstile.ts';

const folder = temporaryFolder();
after(() => folder[Symbol.dispose]());
const authority = makeAuthority(folder.at('ca'), 'Test Root');
const root = readFileSync(authority.crt, 'utf8');
const server = issueLeaf(authority, folder.at('server'), 'server', '', {
  subject: '/CN=server',
  extensions: ['extendedKeyUsage=serverAuth', 'subjectAltName=DNS:localhost'],
});
const material: TlsMaterial = {
  certificateChain: readFileSync(server.crt, 'utf8'),
  privateKey: readFileSync(server.key, 'utf8'),
  minVersion: '1.2',
  groups: ['X25519', 'P-256'],
  anchors: [{ name: 'internal', certificates: [root], mapping: { type: 'spiffe' } }],
};
const withoutAnchors: TlsMaterial = { ...material, anchors: [] };
const hourMs = 3_600_000;
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
};

interface Worker {
  readonly listener: TlsListener;
  readonly port: number;
}

/** Workers under one wall clock, which the test sets; `pass` also lets their timers ring. */
async function workersOf(t: TestContext, ...materials: readonly TlsMaterial[]) {
  let now = 1_000 * hourMs;
  const timers = new Map<object, { readonly at: number; readonly action: () => void }>();
  const state = TicketChain.from(randomBytes(32).toString('base64'), hourMs, now).stateAt(now);
  const clock = { ...systemClock, now: () => now };
  const workers: Worker[] = [];
  for (const each of materials) {
    const rotation = new TicketRotation({
      chain: new TicketChain(state),
      clock,
      later: (ms, action) => {
        const timer = {};
        timers.set(timer, { at: now + ms, action });
        return () => timers.delete(timer);
      },
    });
    const admission = new SourceAdmission({ clock: systemClock, limits: () => limits });
    const listener = new TlsListener({
      name: 'test',
      material: each,
      ticketSecret: rotation.secret,
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
      logger: silentLogger,
      count: () => {},
      onSecure: (connection) => {
        connection.onData = (chunk) => void connection.write(chunk);
      },
    });
    workers.push({ listener, port: await listener.listen({ host: '127.0.0.1', port: 0 }) });
    rotation.start(() => listener.rotateTickets());
    t.after(async () => {
      rotation.stop();
      await listener.stopAccepting();
    });
  }
  const pass = (ms: number): void => {
    now += ms;
    for (const [timer, { at, action }] of timers) {
      if (at > now) continue;
      timers.delete(timer);
      action();
    }
  };
  return { workers, pass, timers };
}

type TlsVersion = 'TLSv1.2' | 'TLSv1.3';

/** One connection that is used: whether it was resumed, and what to resume next. */
async function visit({ port }: Worker, version: TlsVersion, session?: Buffer) {
  const client: TLSSocket = tlsConnect({
    host: '127.0.0.1',
    port,
    servername: 'localhost',
    ca: root,
    maxVersion: version,
    ...(session === undefined ? {} : { session }),
  });
  try {
    // TLS 1.3 sends its tickets after the handshake: there is one as soon as something else has arrived.
    await within(
      new Promise<void>((resolve, reject) => {
        client.once('error', reject);
        client.once('data', () => resolve());
        client.write('ping');
      }),
      10_000,
      'an answer',
    );
    const ticket = client.getSession();
    assert.ok(ticket !== undefined);
    return { resumed: client.isSessionReused(), ticket };
  } finally {
    client.destroy();
  }
}

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  test(`${version}: a ticket is good on every worker until the boundary of the hour, and on none after`, async (t) => {
    const { workers, pass } = await workersOf(t, material, material);
    const [one, other] = workers;
    assert.ok(one !== undefined && other !== undefined);
    const { ticket } = await visit(one, version);
    pass(hourMs - 1);
    assert.equal((await visit(other, version, ticket)).resumed, true);
    pass(1);
    for (const worker of workers) {
      assert.equal(
        (await visit(worker, version, ticket)).resumed,
        false,
        'an old ticket was taken',
      );
    }
    const fresh = await visit(one, version);
    assert.equal((await visit(other, version, fresh.ticket)).resumed, true);
    // A new certificate of the server brings no old key back.
    for (const { listener } of workers) listener.update(material);
    assert.equal((await visit(other, version, fresh.ticket)).resumed, true);
    assert.equal((await visit(other, version, ticket)).resumed, false);
  });
}

test('the keys that follow are those of the trust anchors that are there then', async (t) => {
  const { workers, pass } = await workersOf(t, material, withoutAnchors);
  const [changed, fresh] = workers;
  assert.ok(changed !== undefined && fresh !== undefined);
  const { ticket } = await visit(changed, 'TLSv1.3');
  assert.equal((await visit(fresh, 'TLSv1.3', ticket)).resumed, false);
  changed.listener.update(withoutAnchors);
  pass(hourMs);
  const later = await visit(changed, 'TLSv1.3');
  assert.equal((await visit(fresh, 'TLSv1.3', later.ticket)).resumed, true);
});

test('a wall clock that is set is noticed within a minute', async (t) => {
  const { workers, timers } = await workersOf(t, material);
  assert.equal(workers.length, 1);
  const [next] = timers.values();
  assert.ok(next !== undefined && next.at - 1_000 * hourMs <= 60_000);
});
