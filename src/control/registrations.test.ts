import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { after, beforeEach, test } from 'node:test';
import { issueLeaf, makeAuthority } from '../../test/harness/openssl.ts';
import { temporaryFolder } from '../../test/harness/temporary-folder.ts';
import { SallyportError } from '../common/base/errors.ts';
import type { ErrorCode } from '../common/base/errors.ts';
import { principalName } from '../common/base/principal.ts';
import type { SnapshotChange, TrustAnchor } from '../common/ipc/snapshot.ts';
import { Registrations } from './registrations.ts';
import { Registry } from './registry/registry.ts';
import { additionMs } from './snapshot/publisher.ts';
import { openDatabase } from './store/database.ts';

const folder = temporaryFolder();
after(() => folder[Symbol.dispose]());

const acme = makeAuthority(folder.at('acme'), 'Acme Root');
const leafOf = (name: string): Buffer =>
  new X509Certificate(
    readFileSync(issueLeaf(acme, folder.at('acme'), name, '', { subject: `/CN=${name}` }).crt),
  ).raw;
const d1 = principalName('device', 'd1');
const d1Certificate = leafOf('d1');
const anchor: TrustAnchor = {
  name: 'acme',
  certificates: [readFileSync(acme.crt, 'utf8')],
  mapping: {
    type: 'rule',
    kind: 'device',
    role: 'device',
    from: 'cn',
    prefix: '',
    autoRegister: true,
  },
};

let monotonic = 0;
let databases = 0;
let registry: Registry;
let events: string[] = [];
let published: SnapshotChange[] = [];
let isDiskFull = false;
let registrations: Registrations;

beforeEach(() => {
  const clock = { now: () => Date.now(), monotonic: () => monotonic };
  databases += 1;
  registry = new Registry(openDatabase(folder.at(`${databases}.db`)), clock);
  events = [];
  published = [];
  isDiskFull = false;
  registrations = new Registrations({
    clock,
    registry,
    anchors: () => [anchor],
    trustDomain: 'fleet.example',
    auditLog: {
      append: (entry) => {
        if (isDiskFull) throw new SallyportError('io', 'the disk is full');
        events.push(`audit ${entry.action} ${entry.target} by ${entry.actor}`);
        return { ...entry, seq: 1, at: '', detail: {}, prev: '', hash: '' };
      },
    },
    publisher: {
      publish: async (changes, limitMs) => {
        assert.equal(limitMs, additionMs, 'somebody new is not worth a busy worker');
        published.push(...changes);
        events.push('publish');
        return { acknowledged: 1, killed: 0 };
      },
    },
  });
});

const failsWith =
  (code: ErrorCode) =>
  (thrown: unknown): boolean =>
    thrown instanceof SallyportError && thrown.code === code;

const entry = { name: d1, standing: 'active', role: 'device', anchor: 'acme' };

test('an identity is put on record, registered and published', async () => {
  await registrations.register(3, 'acme', d1Certificate);
  assert.deepEqual(events, ['audit register device/d1 by worker:3', 'publish']);
  assert.deepEqual(published, [{ type: 'identity', entry }]);
  assert.equal(registry.get(d1)?.anchor, 'acme');
});

test('what cannot be put on record is not registered, and the next try does all of it', async () => {
  isDiskFull = true;
  await assert.rejects(registrations.register(0, 'acme', d1Certificate), failsWith('io'));
  assert.equal(registry.get(d1), undefined);
  assert.deepEqual(published, []);
  isDiskFull = false;
  await registrations.register(0, 'acme', d1Certificate);
  assert.deepEqual(events, ['audit register device/d1 by worker:0', 'publish']);
});

test('an identity that is known already is published again: whoever asks has missed it', async () => {
  await registrations.register(0, 'acme', d1Certificate);
  registry.changeStanding(d1, 'suspend');
  events.length = 0;
  published.length = 0;
  await registrations.register(1, 'acme', d1Certificate);
  assert.deepEqual(events, ['publish']);
  assert.deepEqual(published, [{ type: 'identity', entry: { ...entry, standing: 'suspended' } }]);
});

test('a worker that asks too often takes nothing from the others', async () => {
  for (let n = 0; n < 50; n++) await registrations.register(0, 'acme', d1Certificate);
  await assert.rejects(registrations.register(0, 'acme', d1Certificate), failsWith('rate'));
  await registrations.register(1, 'acme', d1Certificate);
  monotonic += 1_000;
  await registrations.register(0, 'acme', d1Certificate);
});

test('what no anchor vouches for is not registered, whatever the worker says', async () => {
  const twin = makeAuthority(folder.at(`twin${databases}`), 'Acme Root');
  const leaf = issueLeaf(twin, folder.at(`twin${databases}`), 'd1', '', { subject: '/CN=d1' });
  const foreign = new X509Certificate(readFileSync(leaf.crt)).raw;
  const refused = failsWith('invalid-certificate');
  await assert.rejects(registrations.register(0, 'acme', foreign), refused);
  await assert.rejects(registrations.register(0, 'acme', Buffer.alloc(20_000)), refused);
  await assert.rejects(registrations.register(0, 'other', d1Certificate), failsWith('forbidden'));
  assert.deepEqual(events, []);
});
