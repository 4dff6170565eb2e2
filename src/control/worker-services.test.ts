import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { beforeEach, test } from 'node:test';
import { SallyportError } from '../common/base/errors.ts';
import type { ErrorCode } from '../common/base/errors.ts';
import { principalName } from '../common/base/principal.ts';
import type { Standing } from '../common/base/principal.ts';
import { parseConfig } from '../common/config/parse-config.ts';
import type { WorkerAsk } from '../common/ipc/messages.ts';
import { WorkerServices } from './worker-services.ts';

const config = parseConfig({
  configPath: '/etc/sallyport.yaml',
  configText: `
routes:
  telemetry: { to: [ { http: "https://ingest.example/in?token=hunter2" } ] }
  alarms:
    match: devices/+/diagnostics
    to: [ { http: https://a.example, name: first }, { http: https://b.example, name: second } ]
limits: { payloadBytes: 1KiB }
`,
  files: {},
});
const d1 = principalName('device', 'd1');
const local = 'local:1000';

let standing: Standing | undefined;
let isDiskFull = false;
let answer: unknown;
let asked: WorkerAsk[] = [];
let audited: unknown[] = [];
let services: WorkerServices;

beforeEach(() => {
  standing = 'active';
  isDiskFull = false;
  answer = { id: '01' };
  asked = [];
  audited = [];
  services = new WorkerServices({
    asks: {
      ask: async (ask) => {
        asked.push(ask);
        return answer;
      },
    },
    registry: {
      get: (name) =>
        standing === undefined || standing === 'firmware-floor'
          ? undefined
          : {
              name,
              role: 'device',
              anchor: 'internal',
              standing,
              standingReason: undefined,
              resumeTo: 'active',
              createdAt: 0,
              updatedAt: 0,
              seenAt: undefined,
            },
    },
    auditLog: {
      append: (entry) => {
        if (isDiskFull) throw new SallyportError('io', 'the disk is full');
        audited.push(entry);
        return { ...entry, seq: 1, at: '', detail: {}, prev: '', hash: '' };
      },
    },
    workers: { spool: () => ({ inFlight: 2, breakersOpen: 1 }) },
    configuration: { current: config },
  });
});

const failsWith =
  (code: ErrorCode, message = /./u) =>
  (thrown: unknown): boolean => {
    assert.ok(thrown instanceof SallyportError);
    assert.equal(thrown.code, code);
    assert.match(`${thrown.message}; ${thrown.hint ?? ''}`, message);
    return true;
  };

const send = (name: string, text = '{"on":true}', actor = local) =>
  services.sendCommand(actor, d1, { name, payload: Buffer.from(text), contentType: undefined });

test('a command is on record without its payload, then stored by a worker', async () => {
  assert.deepEqual(await send('config/set'), { id: '01' });
  assert.deepEqual(audited, [
    {
      actor: local,
      action: 'command.send',
      target: d1,
      detail: { name: 'config/set', bytes: 11, sha256: hash('sha256', '{"on":true}') },
    },
  ]);
  assert.deepEqual(asked, [
    {
      what: 'send-command',
      device: 'd1',
      name: 'config/set',
      payload: Buffer.from('{"on":true}').toString('base64'),
      contentType: undefined,
      from: 'operator/local',
    },
  ]);
});

test('the publisher of a command is the operator who sent it', async () => {
  await send('reboot', '', 'operator/ann');
  assert.equal(asked[0]?.what === 'send-command' && asked[0].from, 'operator/ann');
  for (const actor of ['device/d1', 'metrics-token', 'anonymous', '']) {
    await assert.rejects(send('reboot', '', actor), failsWith('forbidden'));
  }
  assert.equal(asked.length, 1);
});

test('a command that cannot be put on record is not sent', async () => {
  isDiskFull = true;
  await assert.rejects(send('reboot'), failsWith('io'));
  assert.deepEqual(asked, []);
});

test('devices that are unknown or revoked get no commands; those that are held back do', async () => {
  standing = undefined;
  await assert.rejects(send('reboot'), failsWith('unknown-principal', /device list/u));
  standing = 'revoked';
  await assert.rejects(send('reboot'), failsWith('wrong-standing', /device reinstate d1/u));
  assert.deepEqual([asked, audited], [[], []]);
  standing = 'suspended';
  await send('reboot');
  assert.equal(asked.length, 1);
});

test('the name of a command is topic levels without wildcards, bounded', async () => {
  for (const name of [
    '',
    '#',
    '+',
    'a/+/b',
    'a#',
    'a\0b',
    'a\nb',
    '/a',
    'a/',
    'a//b',
    '\ud800',
    'x'.repeat(512),
    'a/'.repeat(16).slice(0, -1),
  ]) {
    await assert.rejects(send(name), failsWith('usage', /no name of a command/u), name);
  }
  assert.deepEqual([asked, audited], [[], []]);
  await send('a/'.repeat(13).slice(0, -1));
  await send('Überraschung');
});

test('a payload is bounded by the limit of the configuration', async () => {
  await send('a', 'x'.repeat(1_024));
  await assert.rejects(send('a', 'x'.repeat(1_025)), failsWith('too-large', /payloadBytes/u));
  assert.equal(asked.length, 1);
});

test('an answer that is none is refused, whatever it is', async () => {
  for (const bad of [undefined, null, 'x', [], {}, { id: 7 }, { id: '' }, { id: 'a b' }]) {
    answer = bad;
    await assert.rejects(send('reboot'), failsWith('internal'));
  }
});

const state = { spool: 'telemetry/backend', waiting: 12, bytes: 3456, deadLetters: 3 };

test('spools are shown with what the workers do and where they go, without paths and queries', async () => {
  answer = [state, { ...state, spool: 'old/backend' }];
  assert.deepEqual(await services.spools(), [
    {
      ...state,
      route: 'telemetry',
      backend: 'backend',
      origin: 'https://ingest.example',
      inFlight: 2,
      breakersOpen: 1,
    },
    {
      ...state,
      spool: 'old/backend',
      route: 'old',
      backend: 'backend',
      origin: undefined,
      inFlight: 2,
      breakersOpen: 1,
    },
  ]);
});

test('states of spools that are none are refused whole', async () => {
  for (const bad of [
    {},
    [null],
    [{ ...state, spool: 'x' }],
    [{ ...state, spool: 'a/b/c' }],
    [{ ...state, spool: '__proto__/x' }],
    [{ ...state, waiting: -1 }],
    [{ ...state, bytes: 1.5 }],
    [{ ...state, deadLetters: '3' }],
    [state, { ...state, waiting: Number.NaN }],
    Array.from({ length: 5_000 }, () => state),
  ]) {
    answer = bad;
    await assert.rejects(services.spools(), failsWith('internal'));
  }
});

const letter = {
  id: '0a-1',
  publisher: 'device/d1',
  topic: 'devices/d1/telemetry',
  acceptedAt: 1,
  refusedAt: 2,
  reason: '422',
  bytes: 20,
};
const page = { backend: undefined, after: '', limit: 2 };

test('dead letters are those of the only backend, or of the one that is named', async () => {
  answer = [letter];
  assert.deepEqual(await services.deadLetters('telemetry', page), [letter]);
  await services.deadLetters('alarms', { ...page, backend: 'second', after: '0a' });
  await services.deadLetters('gone', { ...page, backend: 'backend' });
  assert.deepEqual(asked, [
    { what: 'dead-letters', spool: 'telemetry/backend', after: '', limit: 2 },
    { what: 'dead-letters', spool: 'alarms/second', after: '0a', limit: 2 },
    { what: 'dead-letters', spool: 'gone/backend', after: '', limit: 2 },
  ]);
  await assert.rejects(services.deadLetters('alarms', page), failsWith('usage', /first, second/u));
  for (const [route, backend] of [
    ['nowhere', undefined],
    ['constructor', undefined],
    ['alarms', '../x'],
    ['a b', 'backend'],
  ] as const) {
    const asking = services.deadLetters(route, { ...page, backend });
    await assert.rejects(asking, failsWith('not-found', /telemetry, alarms/u));
  }
  assert.equal(asked.length, 3);
});

test('dead letters that are none, or more than were asked for, are refused whole', async () => {
  for (const bad of [
    [letter, letter, letter],
    [{ ...letter, id: '' }],
    [{ ...letter, publisher: 'device/a b' }],
    [{ ...letter, topic: 'a/#' }],
    [{ ...letter, topic: 'x'.repeat(70_000) }],
    [{ ...letter, acceptedAt: 8.65e15 }],
    [{ ...letter, refusedAt: 'now' }],
    [{ ...letter, reason: 7 }],
  ]) {
    answer = bad;
    await assert.rejects(services.deadLetters('telemetry', page), failsWith('internal'));
  }
  answer = [{ ...letter, reason: `${'x'.repeat(600)}`, more: 'hidden' }];
  const [kept] = await services.deadLetters('telemetry', page);
  assert.deepEqual(kept, { ...letter, reason: 'x'.repeat(500) });
});

test('dead letters are sent again or dropped once that is on record', async () => {
  answer = { messages: 2 };
  const ids = ['0a-1', '0a-2'];
  const all = { backend: undefined, ids: undefined };
  assert.deepEqual(await services.settleDeadLetters(local, 'retry', 'telemetry', all), answer);
  await services.settleDeadLetters(local, 'discard', 'alarms', { backend: 'first', ids });
  assert.deepEqual(asked, [
    { what: 'retry-dead-letters', spool: 'telemetry/backend', ids: undefined },
    { what: 'discard-dead-letters', spool: 'alarms/first', ids },
  ]);
  assert.deepEqual(audited, [
    {
      actor: local,
      action: 'dead-letters.retry',
      target: 'spool/telemetry/backend',
      detail: { all: true },
    },
    {
      actor: local,
      action: 'dead-letters.discard',
      target: 'spool/alarms/first',
      detail: { count: 2, first: '0a-1' },
    },
  ]);
  isDiskFull = true;
  const unrecorded = services.settleDeadLetters(local, 'discard', 'telemetry', all);
  await assert.rejects(unrecorded, failsWith('io'));
  assert.equal(asked.length, 2);
  isDiskFull = false;
  answer = { messages: -1 };
  const wrong = services.settleDeadLetters(local, 'retry', 'telemetry', all);
  await assert.rejects(wrong, failsWith('internal'));
});
