import assert from 'node:assert/strict';
import { after, beforeEach, test } from 'node:test';
import { temporaryFolder } from '../../../test/harness/temporary-folder.ts';
import { SallyportError } from '../../common/base/errors.ts';
import { silentLogger } from '../../common/base/logger.ts';
import { principalName } from '../../common/base/principal.ts';
import type { ClonesConfig } from '../../common/config/config.ts';
import { Registry } from '../registry/registry.ts';
import { openDatabase } from '../store/database.ts';
import { CloneReports } from './clone-reports.ts';

const folder = temporaryFolder();
after(() => folder[Symbol.dispose]());

const minute = 60_000;
const d1 = principalName('device', 'd1');
const nowMs = Date.parse('2026-11-21T10:00:00Z');

let hands = 0;
let databases = 0;
let registry: Registry;
let rules: ClonesConfig;
let lines: unknown[] = [];
let quarantined: string[] = [];
let errors: string[] = [];
let isDiskFull = false;
let reports: CloneReports;

beforeEach(() => {
  hands = 0;
  databases += 1;
  const clock = { now: () => nowMs + hands, monotonic: () => hands };
  registry = new Registry(openDatabase(folder.at(`${databases}.db`)), clock);
  rules = { rule: 'alert', windowMs: 10 * minute, quarantinesPerHour: 3 };
  lines = [];
  quarantined = [];
  errors = [];
  isDiskFull = false;
  reports = new CloneReports({
    clock,
    registry,
    rules: () => rules,
    auditLog: {
      append: (entry) => {
        if (isDiskFull) throw new SallyportError('io', 'the disk is full');
        lines.push(entry);
        return { ...entry, seq: 1, at: '', detail: {}, prev: '', hash: '' };
      },
    },
    quarantine: async (actor, name, reason) => {
      quarantined.push(`${actor} ${name}: ${reason}`);
      registry.changeStanding(name, 'quarantine', reason);
    },
    logger: { ...silentLogger, error: (_fields, message) => void errors.push(message) },
  });
});

function enrol(id: string): void {
  registry.enrol(principalName('device', id), 'device', 'internal', {
    serial: Buffer.from(id).toString('hex'),
    spkiSha256: id,
    notBefore: 0,
    notAfter: Number.MAX_SAFE_INTEGER,
    der: new Uint8Array(),
  });
}

const reportOf = (principal: unknown, addresses: unknown = sightings()) => ({
  type: 'clone',
  principal,
  addresses,
});

function sightings(first: unknown = '192.0.2.1', second: unknown = '2001:db8::2'): unknown[] {
  return [
    { address: first, at: nowMs - 1_000 },
    { address: second, at: nowMs - 61_000 },
  ];
}

test('a report is a line of the audit log with both addresses and when, and known of the device', async () => {
  enrol('d1');
  await reports.accept(2, reportOf(d1));
  assert.deepEqual(lines, [
    {
      actor: 'worker:2',
      action: 'clone',
      target: 'device/d1',
      detail: {
        rule: 'alert',
        addresses: ['192.0.2.1', '2001:db8::2'],
        seenAt: ['2026-11-21T09:59:59.000Z', '2026-11-21T09:58:59.000Z'],
      },
    },
  ]);
  assert.deepEqual(registry.cloneOf(d1), { at: nowMs, addresses: ['192.0.2.1', '2001:db8::2'] });
  assert.deepEqual(quarantined, []);
});

test('of one device one report in a window is put on record, whichever worker it is from', async () => {
  enrol('d1');
  for (const slot of [0, 1, 0]) await reports.accept(slot, reportOf(d1));
  assert.equal(lines.length, 1);
  hands += 10 * minute;
  await reports.accept(1, reportOf(d1));
  assert.equal(lines.length, 2);
});

const lies: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  'a device that is not registered': reportOf('device/nobody'),
  'a service': reportOf('service/d1'),
  'no principal': reportOf(undefined),
  'a name that is none': reportOf('device/d1\n'),
  'no addresses': reportOf(d1, 'none'),
  'one address': reportOf(d1, sightings().slice(1)),
  'three addresses': reportOf(d1, [...sightings(), ...sightings()].slice(1)),
  'what is no address': reportOf(d1, sightings('192.0.2.1', 'from a clone')),
  'a time that is none': reportOf(d1, [{ address: '192.0.2.1', at: -1 }, ...sightings().slice(1)]),
};

for (const [what, message] of Object.entries(lies)) {
  test(`a worker is not believed about ${what}`, async () => {
    enrol('d1');
    rules = { ...rules, rule: 'quarantine' };
    await reports.accept(0, message);
    assert.deepEqual([lines, quarantined, registry.cloneOf(d1)], [[], [], undefined]);
  });
}

test('a time to come is taken for now, and the name of an interface is left out', async () => {
  enrol('d1');
  const later = { address: 'fe80::1%eth0 and more', at: Number.MAX_SAFE_INTEGER };
  await reports.accept(0, reportOf(d1, [later, ...sightings().slice(1)]));
  assert.match(JSON.stringify(lines), /"fe80::1".*"2026-11-21T10:00:00.000Z"/);
});

test('quarantine: after the record, by the name of the worker, and only from active', async () => {
  enrol('d1');
  enrol('d2');
  rules = { ...rules, rule: 'quarantine' };
  registry.changeStanding(principalName('device', 'd2'), 'suspend');
  await reports.accept(1, reportOf(d1));
  await reports.accept(1, reportOf('device/d2'));
  assert.equal(lines.length, 2);
  assert.deepEqual(quarantined, ['worker:1 device/d1: used from 192.0.2.1 and 2001:db8::2']);
});

test('what cannot be put on record is not acted upon', async () => {
  enrol('d1');
  rules = { ...rules, rule: 'quarantine' };
  isDiskFull = true;
  await reports.accept(1, reportOf(d1));
  assert.deepEqual([quarantined, errors.length], [[], 1]);
});

test('a worker that lies quarantines so many an hour and no more', async () => {
  rules = { ...rules, rule: 'quarantine' };
  for (let i = 0; i < 10; i += 1) {
    enrol(`d${i}`);
    await reports.accept(i % 2, reportOf(`device/d${i}`));
  }
  assert.deepEqual([quarantined.length, lines.length], [3, 10]);
  hands += 60 * minute;
  await reports.accept(0, reportOf('device/d9'));
  assert.equal(quarantined.length, 4);
});

test('a worker that lies fills neither the disk nor the time of control', async () => {
  for (let i = 0; i < 100; i += 1) {
    enrol(`d${i}`);
    await reports.accept(0, reportOf(`device/d${i}`));
  }
  assert.equal(lines.length, 60);
  enrol('other');
  await reports.accept(1, reportOf('device/other'));
  assert.equal(lines.length, 61, 'the other workers are heard');
  assert.equal(errors.length, 1);
});
