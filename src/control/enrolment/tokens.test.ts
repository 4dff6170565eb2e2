import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, test } from 'node:test';
import { temporaryFolder } from '../../../test/harness/temporary-folder.ts';
import { principalName } from '../../common/base/principal.ts';
import { openDatabase } from '../store/database.ts';
import { EnrolmentTokens } from './tokens.ts';
import type { NewToken } from './tokens.ts';

const folder = temporaryFolder();
after(() => folder[Symbol.dispose]());

const start = Date.UTC(2026, 10, 1);
const hour = 3_600_000;
const day = 24 * hour;
const d1 = principalName('device', 'd1');
const anyDevice: NewToken = { device: undefined, ttlMs: hour, uses: 1, createdBy: 'local:0' };

let databases = 0;

function tokensWith(maxOpen = 100) {
  databases += 1;
  const path = folder.at(`${databases}.db`);
  const clock = { ms: start, now: () => clock.ms, monotonic: () => clock.ms };
  const database = openDatabase(path);
  return { tokens: new EnrolmentTokens(database, clock, () => maxOpen), clock, database, path };
}

test('a token is 256 random bits, found by its secret and by nothing else', () => {
  const { tokens, database, path } = tokensWith();
  const { secret, token } = tokens.create({ ...anyDevice, device: d1, uses: 3 });
  assert.equal(Buffer.from(secret, 'base64url').length, 32);
  assert.deepEqual(tokens.find(secret), token);
  assert.deepEqual(
    { device: token.device, uses: token.uses, state: token.state, expires: token.expires },
    { device: d1, uses: 3, state: 'open', expires: start + hour },
  );
  for (const guess of ['', 'x', `${secret}x`, secret.slice(1), secret.toLowerCase(), '__proto__']) {
    assert.equal(tokens.find(guess), undefined, guess);
  }
  database.exec('PRAGMA wal_checkpoint(TRUNCATE)');
  assert.equal(readFileSync(path).includes(secret), false, 'only its hash is kept');
});

test('a token is good for as many uses as it has, until it expires', () => {
  const { tokens, clock } = tokensWith();
  const { secret, token } = tokens.create({ ...anyDevice, uses: 2 });
  const grant = tokens.grant(token.number);
  assert.ok(grant.holds());
  assert.ok(grant.use());
  assert.ok(grant.use());
  assert.equal(grant.holds(), false);
  assert.equal(grant.use(), false);
  assert.equal(tokens.find(secret)?.state, 'used');

  const late = tokens.create(anyDevice);
  clock.ms += hour;
  assert.equal(tokens.grant(late.token.number).holds(), false);
  assert.equal(tokens.grant(late.token.number).use(), false);
  assert.equal(tokens.find(late.secret)?.state, 'late');
});

test('a token that is withdrawn is of no use, and cannot be withdrawn again', () => {
  const { tokens } = tokensWith();
  const { secret, token } = tokens.create(anyDevice);
  tokens.withdraw(token.number);
  assert.equal(tokens.find(secret)?.state, 'withdrawn');
  assert.equal(tokens.grant(token.number).use(), false);
  assert.throws(() => tokens.withdraw(token.number), { code: 'not-found' });
  assert.throws(() => tokens.withdraw(4_711), { code: 'not-found' });
});

test('open tokens are bounded; what is used up or late makes room', () => {
  const { tokens, clock } = tokensWith(2);
  const first = tokens.create(anyDevice);
  tokens.create({ ...anyDevice, ttlMs: 2 * hour });
  assert.throws(() => tokens.create(anyDevice), { code: 'quota' });
  tokens.grant(first.token.number).use();
  tokens.create(anyDevice);
  assert.throws(() => tokens.create(anyDevice), { code: 'quota' });
  clock.ms += hour;
  tokens.create(anyDevice);
});

test('open tokens are listed newest first, a page at a time', () => {
  const { tokens } = tokensWith();
  const numbers = [1, 2, 3].map(() => tokens.create(anyDevice).token.number);
  const spent = tokens.create(anyDevice);
  tokens.grant(spent.token.number).use();
  const page = tokens.open({ before: Number.MAX_SAFE_INTEGER, limit: 2 });
  const rest = tokens.open({ before: page.at(-1)?.number ?? 0, limit: 2 });
  assert.deepEqual(
    [...page, ...rest].map(({ number }) => number),
    numbers.toReversed(),
  );
});

test('what is of no use any more is forgotten after a while, and its number is not given again', () => {
  const { tokens, clock } = tokensWith();
  const { secret, token } = tokens.create(anyDevice);
  clock.ms += 32 * day;
  const next = tokens.create(anyDevice);
  assert.equal(tokens.find(secret), undefined);
  assert.ok(next.token.number > token.number);
});
