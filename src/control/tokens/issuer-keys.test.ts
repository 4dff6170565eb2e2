import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { SallyportError } from '../../common/base/errors.ts';
import { silentLogger } from '../../common/base/logger.ts';
import type { TokenIssuerConfig } from '../../common/config/tokens-config.ts';
import type { TokenIssuer } from '../../common/ipc/credentials.ts';
import { StoppedClock } from '../../../test/harness/issuance.ts';
import type { AuditEntry } from '../audit-log/record.ts';
import { migrations } from '../store/migrations.ts';
import { IssuerKeys } from './issuer-keys.ts';
import { IssuerRecords } from './issuer-records.ts';

const minuteMs = 60_000;
const everyMs = 15 * minuteMs;
const maxAgeMs = 24 * 60 * minuteMs;

const pair = (kid: string) => {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return {
    jwk: { ...publicKey.export({ format: 'jwk' }), kid },
    exposed: { ...privateKey.export({ format: 'jwk' }), kid },
  };
};
const [one, two, three] = [pair('one'), pair('two'), pair('three')];
const setOf = (...keys: readonly object[]): Buffer => Buffer.from(JSON.stringify({ keys }));

const corporate: TokenIssuerConfig = {
  name: 'corporate',
  issuer: 'https://id.example',
  audiences: ['https://gateway.example'],
  algorithms: ['ES256'],
  binding: 'bound',
  strictType: true,
  jwks: {
    url: 'https://id.example/jwks.json?secret=1',
    ca: undefined,
    everyMs,
    maxAgeMs,
    timeoutMs: 10_000,
    maxBytes: 65_536,
  },
  introspection: undefined,
  principal: { kind: 'service', claim: 'sub', prefix: '', register: 'known', role: '', scopes: [] },
};

class Bench {
  readonly database = new DatabaseSync(':memory:');
  readonly clock = new StoppedClock();
  readonly audited: AuditEntry[] = [];
  readonly lines: string[] = [];
  readonly asked: string[] = [];
  /** What was told to workers, and whether something was taken away with it. */
  readonly told: { readonly withdrawn: boolean; readonly material: readonly TokenIssuer[] }[] = [];
  served: Buffer | Error | Promise<Buffer> = setOf(one.jwk);
  keys: IssuerKeys;

  constructor(configured: readonly TokenIssuerConfig[] = [corporate]) {
    for (const step of migrations) this.database.exec(step);
    this.keys = this.restart(configured);
  }

  /** As another control process would, with nothing but the database. */
  restart(configured: readonly TokenIssuerConfig[] = [corporate]): IssuerKeys {
    const keys = new IssuerKeys({
      clock: this.clock,
      logger: {
        ...silentLogger,
        info: (fields, message) => void this.lines.push(`${message} ${JSON.stringify(fields)}`),
        warn: (fields, message) => void this.lines.push(`${message} ${JSON.stringify(fields)}`),
        error: (fields, message) => void this.lines.push(`${message} ${JSON.stringify(fields)}`),
      },
      records: new IssuerRecords(this.database),
      auditLog: {
        append: (entry) => {
          this.audited.push(entry);
          throw new SallyportError('io', 'the disk is full');
        },
      },
      fetch: async (url) => {
        this.asked.push(url);
        const served = await this.served;
        if (served instanceof Error) throw served;
        return served;
      },
      onChange: async (withdrawn) => {
        this.told.push({ withdrawn, material: keys.materials() });
      },
    });
    keys.configure(configured);
    this.keys = keys;
    return keys;
  }

  get kids(): unknown[] {
    return this.keys.materials().flatMap(({ keys }) => keys.map(({ kid }) => kid));
  }

  get actions(): string[] {
    return this.audited.map(({ action }) => action);
  }

  async after(ms: number): Promise<void> {
    this.clock.wallMs += ms;
    await this.keys.look();
  }
}

test('keys are fetched at once, told to the workers, and hold for as long as the configuration says', async () => {
  const bench = new Bench();
  assert.deepEqual(bench.kids, []);
  assert.equal(bench.keys.materials()[0]?.keysNotAfter, 0, 'nothing holds before');
  await bench.keys.look();
  assert.deepEqual(bench.kids, ['one']);
  assert.equal(bench.told.length, 1);
  const [told] = bench.told;
  assert.deepEqual(
    [told?.withdrawn, told?.material[0]?.keysNotAfter],
    [false, bench.clock.wallMs + maxAgeMs],
  );
  assert.deepEqual(bench.keys.states(), [
    {
      issuer: 'corporate',
      current: true,
      keys: 1,
      notAfter: bench.clock.wallMs + maxAgeMs,
      refused: 0,
      failed: 0,
    },
  ]);
  assert.doesNotMatch(bench.lines.join(), /secret/);
});

test('they are fetched again on schedule, and workers hear that the same ones hold for longer', async () => {
  const bench = new Bench();
  await bench.keys.look();
  await bench.after(everyMs - 1);
  assert.equal(bench.asked.length, 1);
  await bench.after(1);
  assert.equal(bench.asked.length, 2);
  assert.equal(bench.told.at(-1)?.material[0]?.keysNotAfter, bench.clock.wallMs + maxAgeMs);
  assert.equal(bench.told.length, 2);
});

test('a rotation adds, then takes away; only what takes away is waited for by every worker', async () => {
  const bench = new Bench();
  await bench.keys.look();
  bench.served = setOf(one.jwk, two.jwk);
  await bench.after(everyMs);
  bench.served = setOf(two.jwk);
  await bench.after(everyMs);
  assert.deepEqual(bench.kids, ['two']);
  assert.deepEqual(
    bench.told.map(({ withdrawn }) => withdrawn),
    [false, false, true],
  );
});

test('an unknown key has them fetched, but no more often than twice a minute', async () => {
  const bench = new Bench();
  await bench.keys.look();
  bench.served = setOf(one.jwk, two.jwk);
  assert.equal(await bench.keys.refresh('corporate'), false, 'they were fetched a moment ago');
  bench.clock.wallMs += 30_000;
  const both = await Promise.all([
    bench.keys.refresh('corporate'),
    bench.keys.refresh('corporate'),
  ]);
  assert.deepEqual(both, [true, true]);
  assert.equal(bench.asked.length, 2);
  assert.deepEqual(bench.kids, ['one', 'two']);
  bench.clock.wallMs += 29_999;
  assert.equal(await bench.keys.refresh('corporate'), false);
  assert.equal(await bench.keys.refresh('nobody'), false);
  assert.equal(bench.asked.length, 2);
});

test('who asks again and again for what is not there keeps nobody from hearing that the keys hold', async () => {
  const bench = new Bench();
  await bench.keys.look();
  for (let n = 0; n < 120; n += 1) {
    bench.clock.wallMs += 30_000;
    await bench.keys.refresh('corporate');
  }
  const last = bench.told.at(-1)?.material[0]?.keysNotAfter ?? 0;
  assert.ok(last > bench.clock.wallMs + maxAgeMs - everyMs, 'told within half the schedule');
  assert.ok(bench.told.length < 12, `${bench.told.length} announcements in an hour`);
});

test('what cannot be had or used changes nothing; it is tried again in half a minute and told once', async () => {
  const bench = new Bench();
  await bench.keys.look();
  const refusals: readonly (readonly [Buffer | Error, 'refused' | 'failed'])[] = [
    [new SallyportError('io', 'refused'), 'failed'],
    [new SallyportError('timeout', 'late'), 'failed'],
    [new SallyportError('too-large', 'huge'), 'refused'],
    [Buffer.from('<html>'), 'refused'],
    [setOf({ kty: 'oct', k: 'c2VjcmV0' }), 'refused'],
    [setOf(...Array.from({ length: 10_000 }, () => one.jwk)), 'refused'],
  ];
  for (const [served, how] of refusals) {
    const [before] = bench.keys.states();
    const lines = bench.lines.length;
    bench.served = served;
    await bench.after(everyMs);
    await bench.after(30_000);
    const [state] = bench.keys.states();
    assert.ok(before !== undefined && state !== undefined);
    assert.equal(state[how], before[how] + 2);
    assert.deepEqual(bench.kids, ['one']);
    assert.equal(state.current, true);
    assert.ok(bench.lines.length - lines <= 2, 'one line, and that it is not on record');
  }
  assert.equal(bench.told.length, 1);
  assert.deepEqual(new Set(bench.actions), new Set(['issuer-keys-refused']));
  bench.served = setOf(two.jwk);
  await bench.after(30_000);
  assert.deepEqual(bench.kids, ['two']);
});

test('keys that are too old are none: alarm, refusal, and all well with the next that come', async () => {
  const bench = new Bench();
  await bench.keys.look();
  bench.served = new SallyportError('io', 'down');
  await bench.after(maxAgeMs - 1);
  assert.equal(bench.keys.states()[0]?.current, true);
  await bench.after(1);
  await bench.after(1_000);
  assert.equal(bench.keys.states()[0]?.current, false);
  assert.ok((bench.keys.materials()[0]?.keysNotAfter ?? 0) <= bench.clock.wallMs);
  assert.deepEqual(bench.actions, ['issuer-keys-stale']);
  assert.match(bench.lines.join('\n'), /too old or not there/);
  bench.served = setOf(one.jwk);
  await bench.after(minuteMs);
  assert.equal(bench.keys.states()[0]?.current, true);
  assert.deepEqual(bench.actions, ['issuer-keys-stale', 'issuer-keys-current']);
});

test('an issuer that never had keys is an alarm once it was tried, not before', async () => {
  const bench = new Bench();
  const { promise, reject } = Promise.withResolvers<Buffer>();
  bench.served = promise;
  const looking = bench.keys.look();
  assert.deepEqual(bench.actions, []);
  reject(new SallyportError('io', 'down'));
  await looking;
  assert.deepEqual(bench.actions, ['issuer-keys-stale']);
  assert.equal(bench.keys.states()[0]?.notAfter, undefined);
});

test('a control that starts while the issuer is down has the keys, for no longer than they would have held', async () => {
  const bench = new Bench();
  await bench.keys.look();
  const fetchedAt = bench.clock.wallMs;
  bench.served = new SallyportError('io', 'down');
  bench.clock.wallMs += maxAgeMs / 2;
  bench.restart();
  assert.deepEqual(bench.kids, ['one']);
  assert.equal(bench.keys.materials()[0]?.keysNotAfter, fetchedAt + maxAgeMs);
  await bench.keys.look();
  assert.deepEqual(bench.kids, ['one']);
  bench.clock.wallMs -= maxAgeMs;
  bench.restart();
  const until = bench.keys.materials()[0]?.keysNotAfter ?? 0;
  assert.ok(
    until <= bench.clock.wallMs + maxAgeMs,
    'a clock that went back gives them no more time',
  );
});

test('a clock that is set back while the issuer is down gives its keys no more time', async () => {
  const bench = new Bench();
  await bench.keys.look();
  bench.served = new SallyportError('io', 'down');
  await bench.after(-30 * maxAgeMs);
  const until = bench.clock.wallMs + maxAgeMs;
  assert.equal(bench.keys.materials()[0]?.keysNotAfter, until);
  assert.equal(bench.told.at(-1)?.material[0]?.keysNotAfter, until);
});

test('of what was kept only what today’s configuration takes is used', async () => {
  const bench = new Bench();
  await bench.keys.look();
  const { jwks } = corporate;
  assert.ok(jwks !== undefined);
  const elsewhere = { ...corporate, jwks: { ...jwks, url: 'https://other.example/' } };
  bench.restart([elsewhere]);
  assert.deepEqual(bench.kids, [], 'they came from another place');
  bench.restart([{ ...corporate, algorithms: ['RS256'] }]);
  assert.deepEqual(bench.kids, [], 'they are good for nothing that is accepted');
  bench.restart([corporate]);
  assert.deepEqual(bench.kids, ['one']);
  bench.restart([]);
  bench.restart([corporate]);
  assert.deepEqual(bench.kids, [], 'forgotten with their issuer');
});

test('an answer to a configuration that is not in force any more is not taken', async () => {
  const bench = new Bench();
  const { promise, resolve } = Promise.withResolvers<Buffer>();
  bench.served = promise;
  const looking = bench.keys.look();
  bench.keys.configure([{ ...corporate, audiences: ['other'] }]);
  resolve(setOf(one.jwk));
  await looking;
  assert.deepEqual(bench.kids, []);
  assert.equal(bench.told.length, 0);
});

test('a key whose private half is published is withdrawn at once; the others stay', async () => {
  const bench = new Bench();
  bench.served = setOf(one.jwk, two.jwk);
  await bench.keys.look();
  bench.served = setOf(one.jwk, { ...two.exposed, kid: 'renamed' }, three.jwk);
  await bench.after(everyMs);
  assert.deepEqual(bench.kids, ['one']);
  assert.equal(bench.told.at(-1)?.withdrawn, true);
  assert.deepEqual(bench.actions, ['issuer-keys-refused']);
  bench.restart();
  assert.deepEqual(bench.kids, ['one'], 'also after a restart');
});

test('an issuer that is asked about each token needs no keys, and is never too old', () => {
  const introspection = {
    url: 'https://id.example/introspect',
    clientId: 'gateway',
    clientSecret: 'secret',
    ca: undefined,
    cacheMs: 30_000,
    timeoutMs: 3_000,
  };
  const bench = new Bench([{ ...corporate, jwks: undefined, introspection }]);
  const [issuer] = bench.keys.materials();
  assert.ok(issuer !== undefined);
  assert.deepEqual(issuer.introspection, introspection);
  assert.deepEqual(issuer.keys, []);
  assert.equal(issuer.keysNotAfter, Number.MAX_SAFE_INTEGER);
  assert.deepEqual(bench.keys.states(), []);
});
