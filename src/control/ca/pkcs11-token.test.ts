import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fc } from '../../common/base/property-test-support.ts';
import { SallyportError } from '../../common/base/errors.ts';
import type { ErrorCode } from '../../common/base/errors.ts';
import { ck } from './cryptoki.ts';
import type { Cryptoki, Handle } from './cryptoki.ts';
import { Pkcs11Token } from './pkcs11-token.ts';
import type { Opening, Pkcs11TokenOptions } from './pkcs11-token.ts';

/** What a token answers when it fails, as the package words it. */
const value = (name: string, code: number): Error => new Error(`${name}:${code}`);
const removed = (): Error => value('CKR_DEVICE_REMOVED', 0x32);

class FakeLibrary implements Cryptoki {
  present = true;
  flags = 0;
  refusesPin = false;
  logins = 0;
  openings = 0;
  readonly open = new Set<Handle>();
  C_Initialize(): void {}
  C_Finalize(): void {}
  C_GetSlotList(): Handle[] {
    this.openings += 1;
    return this.present ? [Buffer.of(9)] : [];
  }
  C_GetTokenInfo(): { label: string; flags: number } {
    return { label: 'fake                            ', flags: this.flags };
  }
  C_OpenSession(): Handle {
    const session = Buffer.of(this.open.size);
    this.open.add(session);
    return session;
  }
  C_CloseSession(session: Handle): void {
    this.open.delete(session);
  }
  C_CloseAllSessions(): void {
    this.open.clear();
  }
  C_Login(): void {
    this.logins += 1;
    if (this.refusesPin) throw value('CKR_PIN_INCORRECT', ck.CKR_PIN_INCORRECT);
  }
  C_FindObjectsInit(): void {}
  C_FindObjects(): Handle[] {
    return [];
  }
  C_FindObjectsFinal(): void {}
  C_GetAttributeValue(): [] {
    return [];
  }
  C_GenerateKeyPairAsync(): Promise<unknown> {
    return Promise.resolve();
  }
  C_DestroyObject(): void {}
  C_SignInit(): void {}
  C_SignAsync(): Promise<Buffer> {
    return Promise.resolve(Buffer.alloc(0));
  }
}

class World {
  nowMs = 0;
  readonly library = new FakeLibrary();
  readonly token: Pkcs11Token;
  constructor(change: Partial<Pkcs11TokenOptions> = {}) {
    const options = { label: 'fake', pin: '1', sessions: 2, waiting: 3, timeoutMs: 60_000 };
    this.token = new Pkcs11Token(
      this.library,
      { ...options, retryMs: 1_000, ...change },
      { monotonic: () => this.nowMs },
    );
  }
}

const failsWith =
  (code: ErrorCode) =>
  (thrown: unknown): boolean =>
    thrown instanceof SallyportError && thrown.code === code;

test('no session is with two at once, and none is forgotten', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 4 }),
      fc.array(fc.constantFrom('works', 'fails', 'loses'), { minLength: 1, maxLength: 30 }),
      async (sessions, outcomes) => {
        const { token, library } = new World({ sessions, waiting: 1_000 });
        const used = new Set<Handle>();
        const results = outcomes.map((outcome) => {
          let tries = 0;
          return token.use(async (session) => {
            assert.ok(library.open.has(session), 'a session that is not open');
            assert.ok(!used.has(session), 'a session that somebody else has');
            used.add(session);
            await Promise.resolve();
            used.delete(session);
            tries += 1;
            if (outcome === 'fails') throw value('CKR_FUNCTION_FAILED', 6);
            if (outcome === 'loses' && tries === 1) throw removed();
            return tries;
          });
        });
        const settled = await Promise.allSettled(results);
        assert.deepEqual(
          settled.map((result) => (result.status === 'fulfilled' ? result.value : 'failed')),
          outcomes.map((outcome) => ({ works: 1, fails: 'failed', loses: 2 })[outcome]),
        );
        assert.equal(library.open.size, sessions);
      },
    ),
    { numRuns: 200 },
  );
});

test('what fails on a token that stays lost is told so, after one more try', async () => {
  const { token } = new World();
  let tries = 0;
  const operation = (): never => {
    tries += 1;
    throw removed();
  };
  await assert.rejects(token.use(operation), failsWith('unavailable'));
  assert.equal(tries, 2);
});

test('a lost token is opened anew, and nothing that was known of its keys is kept', async () => {
  const { token, library } = new World({ sessions: 1 });
  const seen: Opening[] = [];
  const look = (session: Handle, opening: Opening): void => {
    assert.ok(library.open.has(session));
    seen.push(opening);
    opening.keys.set('issuing', Buffer.of(1));
    if (seen.length === 1) throw removed();
  };
  await token.use(look);
  assert.equal(library.openings, 2);
  assert.equal(library.logins, 2);
  assert.notEqual(seen[0], seen[1]);
  await token.use(look);
  assert.equal(seen[2], seen[1]);
  assert.equal(library.openings, 2);
});

test('a token that is not there is looked for again only after a pause', async () => {
  const world = new World();
  world.library.present = false;
  for (let i = 0; i < 5; i++) {
    await assert.rejects(
      world.token.use(() => 1),
      failsWith('unavailable'),
    );
  }
  assert.equal(world.library.openings, 1);
  world.library.present = true;
  world.nowMs = 1_000;
  assert.equal(await world.token.use(() => 1), 1);
});

test('a PIN that was refused is never tried again', async () => {
  const world = new World();
  world.library.refusesPin = true;
  for (let i = 0; i < 5; i++) {
    await assert.rejects(
      world.token.use(() => 1),
      failsWith('no-key'),
    );
    world.nowMs += 100_000;
  }
  assert.equal(world.library.logins, 1);
  assert.equal(world.library.open.size, 0);
});

test('a token that the next wrong PIN would lock is left alone', async () => {
  const world = new World();
  world.library.flags = ck.CKF_USER_PIN_FINAL_TRY;
  await assert.rejects(
    world.token.use(() => 1),
    failsWith('no-key'),
  );
  assert.equal(world.library.logins, 0);
});

test('beyond its bound nobody waits for a session', async () => {
  const { token } = new World({ sessions: 1, waiting: 3 });
  const gate = Promise.withResolvers<number>();
  const served = Array.from({ length: 4 }, () => token.use(() => gate.promise));
  await assert.rejects(
    token.use(() => 1),
    failsWith('busy'),
  );
  gate.resolve(7);
  assert.deepEqual(await Promise.all(served), [7, 7, 7, 7]);
});

test('what nobody waits for any more is not begun', async () => {
  const { token } = new World({ sessions: 1, waiting: 10, timeoutMs: 20 });
  const gate = Promise.withResolvers<number>();
  let begun = 0;
  const operation = (): Promise<number> => {
    begun += 1;
    return gate.promise;
  };
  const late = [token.use(operation), token.use(operation), token.use(operation)];
  for (const each of late) await assert.rejects(each, failsWith('unavailable'));
  const next = token.use(() => 5);
  gate.resolve(1);
  assert.equal(await next, 5);
  assert.equal(begun, 1);
});

test('a token that is silent keeps nobody, and what it still does is not done twice', async () => {
  const world = new World({ sessions: 1, waiting: 1, timeoutMs: 20 });
  const gate = Promise.withResolvers<number>();
  let begun = 0;
  const operation = (): Promise<number> => {
    begun += 1;
    return gate.promise;
  };
  await assert.rejects(world.token.use(operation), failsWith('unavailable'));
  // Each waits for the session that never comes back, gives up, and keeps no place.
  for (let i = 0; i < 3; i++) {
    await assert.rejects(world.token.use(operation), failsWith('unavailable'));
  }
  assert.equal(begun, 1);
  const next = world.token.use(() => 5);
  gate.resolve(1);
  assert.equal(await next, 5);
  assert.equal(begun, 1);
});
