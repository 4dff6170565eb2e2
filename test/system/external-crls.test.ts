/**
 * The revocation list of another authority is bad, in every way in which one can be, or does not come. Then nobody
 * under it comes in over any protocol, there is an alarm, and everybody else is served. A good list mends it.
 */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { chmodSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, suite, test } from 'node:test';
import { encodePem } from '../../src/common/codec/der/pem.ts';
import { startGateway } from '../harness/gateway.ts';
import type { Gateway, Identity } from '../harness/gateway.ts';
import { ListServer } from '../harness/list-server.ts';
import type { Served } from '../harness/list-server.ts';
import { readMetrics } from '../harness/metrics.ts';
import { issueLeaf, makeAuthority } from '../harness/openssl.ts';
import type { Authority } from '../harness/openssl.ts';
import { extension, revocationList } from '../harness/revocation-list.ts';
import type { ListEntry, ListOptions } from '../harness/revocation-list.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';
import { until, within } from '../harness/waiting.ts';
import { waysIn } from '../harness/ways-in.ts';

const folder = temporaryFolder();
const lists = await ListServer.start();
const minuteMs = 60_000;

/** By the name of the anchor, what is served in place of a good list of `ca`. */
const bad: Readonly<Record<string, (ca: Authority) => Served>> = {
  expired: (ca) => list(ca, { thisUpdate: inMinutes(-60), nextUpdate: inMinutes(-1) }),
  'without-end': (ca) => list(ca, { nextUpdate: undefined }),
  'without-number': (ca) => list(ca, { number: undefined }),
  'from-tomorrow': (ca) => list(ca, { thisUpdate: inMinutes(24 * 60) }),
  unsigned: (ca) => Buffer.concat([list(ca).subarray(0, -8), Buffer.alloc(8)]),
  'other-key': (ca) => list(ca, { signer: makeAuthority(folder.at('impostor'), 'other-key') }),
  'other-authority': () => list(makeAuthority(folder.at('stranger'), 'Stranger')),
  sha1: (ca) => list(ca, { digest: 'sha1' }),
  delta: (ca) => list(ca, { extensions: [extension('2.5.29.27', Buffer.of(2, 1, 1), true)] }),
  'no-list': () => Buffer.from('<html>not found</html>'),
  'fifty-megabytes': () => (_, response) => {
    response.writeHead(200, { 'content-length': 50_000_000 }).write(Buffer.alloc(65_536));
  },
  endless: () => (_, response) => {
    const more = (): void => {
      while (!response.destroyed && response.write(Buffer.alloc(65_536)));
    };
    response.on('drain', more);
    more();
  },
  silent: () => () => {},
  redirected: (ca) => {
    lists.serve('elsewhere', list(ca));
    return (_, response) => {
      response.writeHead(302, { location: lists.url('elsewhere') }).end();
    };
  },
  absent: (ca) => (_, response) => {
    response.writeHead(404).end(list(ca));
  },
};

let numbers = 0;
function list(ca: Authority, options: ListOptions = {}): Buffer {
  numbers += 1;
  return revocationList(ca, { number: numbers, ...options });
}

function inMinutes(minutes: number): Date {
  return new Date(Date.now() + minutes * minuteMs);
}

interface Anchor {
  readonly name: string;
  readonly ca: Authority;
  readonly device: Identity;
}

function anchorOf(name: string): Anchor {
  const ca = makeAuthority(folder.at(name), name);
  const device = issueLeaf(ca, folder.at('leaves', name), name, '', { subject: '/CN=d' });
  return { name, ca, device };
}

const badAnchors = Object.entries(bad).map(([name, serve]) => {
  const anchor = anchorOf(name);
  lists.serve(name, serve(anchor.ca));
  return anchor;
});
const ending = anchorOf('ending');
const tolerated = anchorOf('tolerated');
const filed = anchorOf('filed');
lists.serve('ending', list(ending.ca));
const expired = { thisUpdate: inMinutes(-60), nextUpdate: inMinutes(-1) };
lists.serve('tolerated', list(tolerated.ca, expired));
// Started as root, the gateway reads it as a user of its own, who cannot enter the folders of the tests.
const reachable = mkdtempSync('/var/tmp/sallyport-');
chmodSync(reachable, 0o711);
const file = join(reachable, 'filed.crl.pem');
writeList(file, []);

function writeList(path: string, entries: readonly ListEntry[]): void {
  writeFileSync(path, encodePem('X509 CRL', list(filed.ca, { entries })));
  chmodSync(path, 0o644);
}

function configured({ name, ca }: Anchor, from: string, more = ''): string {
  return [
    `    - { name: ${name}, file: '${ca.crt}', prefix: ${name}-, register: auto,`,
    `        crl: { from: [ '${from}' ], every: 1s, timeout: 2s${more} } }`,
  ].join('\n');
}

const config = [
  'ca:',
  '  trustAnchors:',
  ...[...badAnchors, ending].map((anchor) => configured(anchor, lists.url(anchor.name))),
  configured(tolerated, lists.url('tolerated'), ', whenStale: warn'),
  configured(filed, file),
  'routes: { telemetry: { rate: [] } }',
  'limits:',
  '  sessionsPerIdentity: 64',
  '  connectionsPerIdentity: 64',
  '  connectsPerMinute: 10000',
  '  sourceFailures: 10000',
  '  identityRates: { device: [] }',
].join('\n');
let gateway: Gateway = await startGateway({ folder, config });
after(async () => {
  await gateway.stop();
  await gateway[Symbol.asyncDispose]();
  await lists[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
  rmSync(reachable, { recursive: true, force: true });
});
const d1 = await gateway.device('d1');

const trusting = (identity: Identity): Identity => ({ ...identity, ca: d1.ca });

/** What each way in says to it. */
async function told(identity: Identity): Promise<readonly number[]> {
  const codes: number[] = [];
  for (const way of waysIn) {
    const { client, code } = await way.come({
      gateway,
      identity: trusting(identity),
      tls: 'TLSv1.3',
    });
    codes.push(code);
    client[Symbol.dispose]();
  }
  return codes;
}

const letIn = waysIn.map((way) => way.letIn);
const unauthenticated = waysIn.map((way) => way.unauthenticated);
const standing = waysIn.map((way) => way.standing);

async function becomes(what: string, { device }: Anchor, codes: readonly number[]): Promise<void> {
  await until(
    what,
    30_000,
    async () => JSON.stringify(await told(device)) === JSON.stringify(codes),
  );
}

async function alarmOf(name: string, since = 0): Promise<void> {
  await gateway.log.logged(
    (line) => line.get('anchor') === name && String(line.get('msg')).includes('are not current'),
    since,
    30_000,
  );
}

/** 1 = current. */
async function gaugeOf(anchor: string): Promise<number> {
  return (await readMetrics(gateway)).sum('sallyport_trust_anchor_crl_current', { anchor });
}

function serialOf(identity: Identity): string {
  return new X509Certificate(readFileSync(identity.crt)).serialNumber;
}

// Together: each waits for its list to be fetched, twice.
suite('nobody comes in, somebody is told, and a good list mends it', { concurrency: true }, () => {
  for (const anchor of badAnchors) {
    test(`when it is ${anchor.name}`, async () => {
      const { name, ca, device } = anchor;
      await alarmOf(name);
      assert.deepEqual(await told(device), unauthenticated);
      assert.equal(await gaugeOf(name), 0);
      assert.deepEqual(await told(d1), letIn);
      const since = gateway.log.end;
      lists.serve(name, list(ca));
      await gateway.log.logged(
        (line) =>
          line.get('anchor') === name &&
          line.get('msg') === 'the revocation lists are current again',
        since,
        30_000,
      );
      await becomes('the device is let in', anchor, letIn);
      assert.equal(await gaugeOf(name), 1);
      if (name === 'redirected') assert.ok(!lists.asked.includes('/elsewhere.crl'));
    });
  }
});

test('every alarm is on record', async () => {
  const { stdout } = await gateway.ok('audit-log', 'show', '--json');
  for (const { name } of badAnchors) {
    for (const action of ['crl-stale', 'crl-current']) {
      const line = new RegExp(`"action":\\s*"${action}",\\s*"target":\\s*"${name}"`);
      assert.match(stdout, line);
    }
  }
});

test('when the last good list ends and only an older one comes, connections end and nobody comes in', async () => {
  const { name, ca, device } = ending;
  await becomes('the device is let in', ending, letIn);
  const end = Math.ceil(Date.now() / 1_000) * 1_000 + 25_000;
  lists.serve(name, list(ca, { nextUpdate: new Date(end) }));
  await gateway.log.logged(
    (line) => line.get('anchor') === name && line.get('nextUpdate') === new Date(end).toISOString(),
    0,
    30_000,
  );
  const since = gateway.log.end;
  lists.serve(name, list(ca, { number: 1, nextUpdate: inMinutes(60) }));
  const open = await Promise.all(
    waysIn.map((way) => way.live({ gateway, identity: trusting(device), tls: 'TLSv1.3' })),
  );
  assert.ok(Date.now() < end, 'this machine is too slow for the list');
  for (const { ended } of open) await within(ended, 60_000, 'the end of a connection');
  assert.ok(Date.now() >= end, 'a connection ended before its list');
  await alarmOf(name, since);
  assert.deepEqual(await told(device), unauthenticated);
  lists.serve(name, list(ca));
  await becomes('the device is let in', ending, letIn);
});

test('with `warn` a list that has ended is an alarm, its revocations hold, and the rest come in', async () => {
  const { name, ca, device } = tolerated;
  await alarmOf(name);
  assert.deepEqual(await told(device), letIn);
  assert.equal(await gaugeOf(name), 0);
  lists.serve(
    name,
    list(ca, { ...expired, thisUpdate: inMinutes(-30), entries: [{ serial: serialOf(device) }] }),
  );
  await becomes('the device is refused', tolerated, standing);
});

test('a list in a file is read again and again, and may be released from hold', async () => {
  await becomes('the device is let in', filed, letIn);
  const replace = (entries: readonly ListEntry[]): void => {
    writeList(`${file}.new`, entries);
    renameSync(`${file}.new`, file);
  };
  replace([{ serial: serialOf(filed.device), reason: 6 }]);
  await becomes('the device is refused', filed, standing);
  replace([]);
  await becomes('the device is let in again', filed, letIn);
  replace([{ serial: serialOf(filed.device), reason: 1 }]);
  await becomes('the device is refused', filed, standing);
  const since = gateway.log.end;
  replace([]);
  await gateway.log.logged((line) => line.get('kept') === 1, since, 30_000);
  assert.deepEqual(await told(filed.device), standing, 'a revocation was taken back');
});

test('a gateway that starts while no list can be had decides with the last ones', async () => {
  await gateway.stop();
  for (const { name } of [...badAnchors, ending, tolerated]) {
    lists.serve(name, (_, response) => response.destroy());
  }
  renameSync(file, `${file}.gone`);
  gateway = await startGateway({ folder, config });
  assert.deepEqual(await told(ending.device), letIn);
  assert.deepEqual(await told(tolerated.device), standing);
  assert.deepEqual(await told(filed.device), standing);
  assert.deepEqual(await told(d1), letIn);
});
