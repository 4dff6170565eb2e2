import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { principalName } from '../../common/base/principal.ts';
import { SerialSet, serialBytes } from '../../common/base/serial-set.ts';
import type { RegisteredKey } from '../../common/ipc/credentials.ts';
import { channels, frameKinds } from '../../common/ipc/frames.ts';
import type { Frame } from '../../common/ipc/frames.ts';
import type { ControlToWorker } from '../../common/ipc/messages.ts';
import type { IdentityEntry, Snapshot, SnapshotChange } from '../../common/ipc/snapshot.ts';
import { SnapshotView } from './snapshot-view.ts';

const d1 = principalName('device', 'd1');
const d2 = principalName('device', 'd2');
const listed = SerialSet.for(2, 4);
listed.add(serialBytes('a0b'));
listed.add(serialBytes('77'));

let now = 1_000_000;
let told: string[] = [];
let view: SnapshotView;
let refusePolicy = false;

beforeEach(() => {
  now = 1_000_000;
  told = [];
  refusePolicy = false;
  view = new SnapshotView(
    { now: () => now, monotonic: () => now },
    {
      onIdentities: (names) =>
        told.push(`identities ${names === undefined ? 'all' : [...names].join()}`),
      onRevokedSerials: (serials) =>
        told.push(`revoked ${serials === undefined ? 'all' : [...serials].join()}`),
      onPolicy: () => {
        if (refusePolicy) throw new Error('not compiled');
        told.push('policy');
      },
      onTls: () => told.push('tls'),
      onStatus: () => told.push('status'),
      onBackends: () => told.push('backends'),
      onUpstreams: () => told.push('upstreams'),
      onCredentials: () => told.push('credentials'),
      onLogLevel: () => told.push('log level'),
    },
  );
});

function entry(
  name: IdentityEntry['name'],
  standing: IdentityEntry['standing'] = 'active',
): IdentityEntry {
  return { name, standing, role: 'device', anchor: 'internal' };
}

function frame(kind: number, epoch: number, seq: number): Frame {
  return { channel: channels.broadcast, kind, epoch, seq, body: Buffer.alloc(0) };
}

function snapshot(
  epoch: number,
  seq: number,
  identities: IdentityEntry[],
  revokedSerials: string[] = [],
) {
  // Only the fields that the view itself reads.
  const content = {
    identities,
    revokedSerials,
    revokedLists: [{ anchor: 'factory', serials: listed.pack() }],
    policy: { limits: { maxSnapshotAgeMs: 60_000 } },
  };
  const message: ControlToWorker = {
    type: 'snapshot',
    issuedAt: now,
    snapshot: content as unknown as Snapshot,
  };
  return view.apply(frame(frameKinds.snapshot, epoch, seq), message);
}

function delta(epoch: number, seq: number, changes: SnapshotChange[]) {
  return view.apply(frame(frameKinds.delta, epoch, seq), { type: 'delta', issuedAt: now, changes });
}

test('before the first snapshot nobody is known and nobody new is let in', () => {
  assert.equal(view.fresh(), false);
  assert.equal(view.identity(d1), undefined);
  assert.equal(delta(1, 2, [{ type: 'identity', entry: entry(d1) }]), 'gap');
});

test('a change of standing is seen through the record that a live connection holds', () => {
  snapshot(1, 1, [entry(d1), entry(d2)]);
  const live = view.identity(d1);
  assert.ok(live !== undefined);
  assert.equal(delta(1, 2, [{ type: 'identity', entry: entry(d1, 'suspended') }]), 'applied');
  assert.equal(live.standing, 'suspended');
  assert.equal(view.identity(d2)?.standing, 'active');
  assert.equal(told.at(-1), `identities ${d1}`);
  snapshot(2, 1, [entry(d1, 'quarantined')]);
  assert.equal(live.standing, 'quarantined');
});

test('the keys of an identity are those of its last entry, and none when it has none', () => {
  const keys: readonly RegisteredKey[] = [{ type: 'derived', id: '1', notAfter: undefined }];
  snapshot(1, 1, [{ ...entry(d1), keys }, entry(d2)]);
  const live = view.identity(d1);
  assert.deepEqual(live?.keys, keys);
  assert.deepEqual(view.identity(d2)?.keys, []);
  delta(1, 2, [
    { type: 'identity', entry: entry(d1) },
    { type: 'identity', entry: { ...entry(d2), keys } },
  ]);
  assert.deepEqual(live.keys, []);
  assert.deepEqual(view.identity(d2)?.keys, keys);
});

test('an identity that a new snapshot no longer has is revoked for those who hold it', () => {
  snapshot(1, 1, [entry(d1)]);
  const live = view.identity(d1);
  snapshot(2, 1, []);
  assert.equal(live?.standing, 'revoked');
  assert.equal(view.identity(d1), undefined);
});

test('a gap in the sequence, or another life of control, asks for a fresh snapshot and changes nothing', () => {
  snapshot(1, 1, [entry(d1)]);
  const change: SnapshotChange[] = [{ type: 'identity', entry: entry(d1, 'revoked') }];
  assert.equal(delta(1, 3, change), 'gap');
  assert.equal(delta(2, 2, change), 'gap');
  assert.equal(view.identity(d1)?.standing, 'active');
  assert.deepEqual(view.position, { epoch: 1, seq: 1 });
});

test('a delta that the snapshot already holds is passed over', () => {
  snapshot(1, 5, [entry(d1, 'revoked')]);
  assert.equal(delta(1, 4, [{ type: 'identity', entry: entry(d1) }]), 'ignored');
  assert.equal(view.identity(d1)?.standing, 'revoked');
});

test('revoked serials add up, by trust anchor', () => {
  snapshot(1, 1, [], ['internal:0a']);
  delta(1, 2, [{ type: 'revoked', serials: ['factory:0b'] }]);
  assert.equal(view.isRevoked('internal', '0a'), true);
  assert.equal(view.isRevoked('factory', '0b'), true);
  assert.equal(view.isRevoked('factory', '0a'), false);
});

test('a snapshot that control has not confirmed for too long lets nobody new in', () => {
  snapshot(1, 1, []);
  now += 60_000;
  assert.equal(view.fresh(), true);
  now += 1;
  assert.equal(view.fresh(), false);
  view.apply(frame(frameKinds.current, 1, 1), { type: 'current', issuedAt: now });
  assert.equal(view.fresh(), true);
});

test('a confirmation of a snapshot that this worker does not have is a gap', () => {
  snapshot(1, 1, []);
  assert.equal(
    view.apply(frame(frameKinds.current, 1, 2), { type: 'current', issuedAt: now }),
    'gap',
  );
  assert.equal(
    view.apply(frame(frameKinds.current, 2, 1), { type: 'current', issuedAt: now }),
    'gap',
  );
});

test('a policy that does not compile leaves the last good snapshot in force', () => {
  snapshot(1, 1, [entry(d1)]);
  refusePolicy = true;
  assert.throws(() => snapshot(1, 2, []), /not compiled/);
  assert.equal(view.identity(d1)?.standing, 'active');
  assert.deepEqual(view.position, { epoch: 1, seq: 1 });
});

test('what the list of another authority revokes is revoked under that authority only', () => {
  assert.equal(snapshot(1, 1, []), 'applied');
  assert.equal(view.isRevoked('factory', 'a0b'), true);
  assert.equal(view.isRevoked('factory', 'a0c'), false);
  assert.equal(view.isRevoked('internal', 'a0b'), false);
  assert.equal(view.isRevoked('__proto__', 'a0b'), false);
});

test('what is taken back is not revoked any more, wherever it stood', () => {
  snapshot(1, 1, [], ['factory:5']);
  delta(1, 2, [{ type: 'revoked', serials: ['factory:6'] }]);
  const serials = ['factory:5', 'factory:6', 'factory:a0b', 'factory:123'];
  delta(1, 3, [{ type: 'unrevoked', serials }]);
  for (const serial of ['5', '6', 'a0b', '123']) {
    assert.equal(view.isRevoked('factory', serial), false, serial);
  }
  assert.equal(view.isRevoked('factory', '77'), true);
});
