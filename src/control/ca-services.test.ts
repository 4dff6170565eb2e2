import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { hash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { afterEach, beforeEach, test } from 'node:test';
import { temporaryFolder } from '../../test/harness/temporary-folder.ts';
import type { TemporaryFolder } from '../../test/harness/temporary-folder.ts';
import { SallyportError } from '../common/base/errors.ts';
import { silentLogger } from '../common/base/logger.ts';
import type { PinView, RotationResult } from './admin/ports.ts';
import { CaServices } from './ca-services.ts';
import type { CertificateAuthority } from './ca/authority.ts';
import { ensureAuthority } from './ca/ensure-authority.ts';
import { ShownPins } from './ca/pins.ts';
import { dayMs } from './ca/profiles.ts';
import { openDatabase } from './store/database.ts';
import { MasterKey } from './store/master-key.ts';

const start = process.cwd();
const serverNames = ['localhost'];
const actor = 'local:0';
let folder: TemporaryFolder;
let now = 0;
let lines: { action: string; target: string; detail: object }[] = [];
let trustChanges = 0;
let logged: string[] = [];
let expiries = new Map<string, number>();
let authority: CertificateAuthority;
let services: CaServices;

beforeEach(async () => {
  folder = temporaryFolder();
  process.chdir(folder.path);
  now = Date.UTC(2026, 10, 1);
  lines = [];
  trustChanges = 0;
  logged = [];
  expiries = new Map();
  const clock = { now: () => now, monotonic: () => now };
  const shownPins = new ShownPins(openDatabase('registry.db'), clock);
  authority = await ensureAuthority({
    masterKey: new MasterKey(Buffer.alloc(32, 1)),
    trustDomain: 'fleet.example',
    serverNames,
    isPinned: (pin) => shownPins.has('server', pin),
    clock,
  });
  services = new CaServices({
    authority,
    registry: { lastExpiries: () => expiries },
    auditLog: {
      append: ({ action, target, detail = {} }) => {
        lines.push({ action, target, detail });
        return { actor, action, target, detail: {}, seq: 1, at: '', prev: '', hash: '' };
      },
    },
    configuration: {
      rotate: async (rotate, serverKey) => {
        await rotate?.(async () => {});
        const prepared = await authority.prepareServerTls(serverNames, serverKey);
        if (prepared !== undefined) await authority.commitServerTls(prepared);
        return { acknowledged: 2, killed: 0 };
      },
      trustChanged: () => {
        trustChanges += 1;
      },
    },
    shownPins,
    clock,
    logger: {
      ...silentLogger,
      warn: (_fields, message) => void logged.push(message),
    },
  });
});
afterEach(() => {
  process.chdir(start);
  folder[Symbol.dispose]();
});

const rotate = (role: 'root' | 'issuing' | 'server', force = false): Promise<RotationResult> =>
  services.rotate(actor, { role, force, rootKeys: undefined });
const pin = (pins: readonly PinView[], which: 'current' | 'next'): string =>
  pins.find((each) => each.which === which)?.sha256 ?? '';
const refused = (text: RegExp) => (thrown: unknown) =>
  thrown instanceof SallyportError && thrown.code === 'usage' && text.test(thrown.message);

test('a pin is what openssl makes of the certificate in service, and becomes so of the next', async () => {
  const ofCertificate = (pem: string): string => {
    writeFileSync('certificate.pem', pem);
    const key = execFileSync('openssl', ['x509', '-in', 'certificate.pem', '-noout', '-pubkey']);
    const der = execFileSync('openssl', ['pkey', '-pubin', '-outform', 'DER'], { input: key });
    return hash('sha256', der, 'base64');
  };
  for (const role of ['server', 'issuing', 'root'] as const) {
    const pins = await services.pins(actor, [role]);
    assert.deepEqual(
      pins.map(({ which }) => which),
      ['current', 'next'],
    );
    assert.equal(pin(pins, 'current'), ofCertificate(services.show()[role].pem), role);
    const { current } = await rotate(role, true);
    assert.equal(pin(pins, 'next'), ofCertificate(current.pem), role);
  }
  const shown = lines.filter(({ action }) => action === 'show-pins');
  assert.deepEqual(
    shown.map(({ detail }) => detail),
    [{ roles: ['server'] }, { roles: ['issuing'] }, { roles: ['root'] }],
  );
});

test('a rotation that nobody has pinned warns of nothing', async () => {
  assert.deepEqual((await rotate('issuing')).warnings, []);
  assert.deepEqual((await rotate('server')).warnings, []);
  assert.deepEqual((await rotate('server')).warnings, []);
});

for (const role of ['root', 'issuing', 'server'] as const) {
  test(`firmware with both pins survives one rotation, and is not cut off by the second unasked: ${role}`, async () => {
    await services.pins(actor, [role]);
    now += 10 * dayMs;
    const { warnings } = await rotate(role);
    assert.match(
      warnings[0] ?? '',
      new RegExp(`pins of the ${role} key that were shown until 2026-11-01 knows no key after`),
    );
    const before = services.show()[role];
    const count = lines.length;
    await assert.rejects(
      rotate(role),
      refused(/shown until 2026-11-01 does not know the next one/),
    );
    assert.deepEqual(services.show()[role], before);
    assert.equal(lines.length, count, 'what is refused is no act');

    await services.pins(actor, [role]);
    await assert.rejects(
      rotate(role),
      refused(/cut off/),
      'new pins do not help firmware in the field',
    );
    const forced = await rotate(role, true);
    assert.match(forced.warnings[0] ?? '', /it is cut off/);
    assert.notEqual(services.show()[role].sha256, before.sha256);
  });
}

test('an order that was given twice at once does not cut anybody off', async () => {
  await services.pins(actor, ['issuing']);
  const [first, second] = await Promise.allSettled([rotate('issuing'), rotate('issuing')]);
  assert.equal(first.status, 'fulfilled');
  assert.equal(second.status, 'rejected');
  assert.equal(authority.issuers.length, 2);
});

test('pins of one key stand in the way of no other', async () => {
  await services.pins(actor, ['server']);
  await rotate('issuing');
  assert.deepEqual((await rotate('issuing')).warnings, []);
});

test('a new root changes the issuing key too, and counts for its pins', async () => {
  await services.pins(actor, ['issuing']);
  await rotate('issuing');
  await assert.rejects(rotate('root'), refused(/pins of the issuing key/));
});

test('a second root is refused while certificates under the one before the present may be valid', async () => {
  const first = await rotate('root');
  assert.match(first.warnings.join(), /the key of the new root is on this machine/);
  await assert.rejects(rotate('root'), refused(/under the root before the present one/));
  assert.match((await rotate('root', true)).warnings.join(), /trust only that one are cut off/);
});

test('rotations are put on record before they happen, with the certificate that goes and the pin that comes', async () => {
  const { next } = await authority.keysOf('issuing');
  const { sha256 } = services.show().issuing;
  await rotate('issuing');
  assert.deepEqual(lines, [
    {
      action: 'rotate',
      target: 'ca/issuing',
      detail: { before: sha256, pin: hash('sha256', next, 'base64'), force: false },
    },
  ]);
});

test('what has become old is retired by itself, on record, and the workers are told', async () => {
  const [old] = authority.issuers;
  assert.ok(old);
  await rotate('issuing');
  expiries.set(old.id, now + 365 * dayMs);
  now += 400 * dayMs;
  await services.tend();
  assert.equal(trustChanges, 0);
  now += 60 * dayMs;
  await services.tend();
  assert.equal(trustChanges, 1);
  assert.deepEqual(lines.at(-1), {
    action: 'retire',
    target: 'ca/issuing',
    detail: { issuers: [old.id] },
  });
  await services.tend();
  assert.equal(trustChanges, 1);
});

test('a CA that would cut short what it issues is said in the log until it is rotated', async () => {
  now = services.show().issuing.notAfter - 366 * dayMs;
  await services.tend();
  assert.deepEqual(logged, []);
  now += 2 * dayMs;
  await services.tend();
  assert.deepEqual(logged, ['the issuing CA comes to its end; run: sallyport ca rotate']);
  await rotate('issuing');
  await services.tend();
  assert.equal(logged.length, 1);
  now = services.show().root.notAfter - 364 * dayMs;
  await services.tend();
  assert.match(logged.join('\n'), /\nthe root comes to its end/);
});
