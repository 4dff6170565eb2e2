import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Database } from 'lmdb';
import { SallyportError } from '../../common/base/errors.ts';
import { LmdbCommits } from './lmdb-commits.ts';

/** All that is asked of it. */
const database = { committed: Promise.resolve(true) } as unknown as Database<Buffer, Buffer>;

/** As lmdb says it: what went wrong is in a promise of the error. */
function failing(reason: string): Promise<boolean> {
  const commitError = Promise.reject(new Error(reason));
  commitError.catch(() => {});
  const failed = Promise.reject(Object.assign(new Error('Commit failed'), { commitError }));
  failed.catch(() => {});
  return failed;
}

/** What the write throws. */
async function thrownBy(commits: LmdbCommits, outcome: Promise<boolean>): Promise<SallyportError> {
  const error: unknown = await commits
    .written(() => [outcome])
    .then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
  assert.ok(error instanceof SallyportError);
  assert.equal(error.code, 'io');
  return error;
}

function setUp() {
  const broken: SallyportError[] = [];
  const commits = new LmdbCommits(database, {
    mayWrite: () => true,
    onBroken: (error) => broken.push(error),
    timeoutMs: 40,
  });
  return { commits, broken };
}

test('all of it done, or a condition that did not hold', async () => {
  const { commits } = setUp();
  const done = Promise.resolve(true);
  assert.equal(await commits.written(() => [done]), true);
  assert.equal(await commits.written(() => [done, done]), true);
  assert.equal(await commits.written(() => [done, Promise.resolve(false)]), false);
});

test('a commit that fails says why, and is not the end of the environment', async () => {
  const { commits, broken } = setUp();
  const { message } = await thrownBy(commits, failing('No space left on device'));
  assert.match(message, /No space left on device$/);
  assert.equal(await commits.written(() => [Promise.resolve(true)]), true);
  assert.deepEqual(broken, []);
});

test('while the disk stands still nothing more is begun, and goes on when it does', async () => {
  const { commits, broken } = setUp();
  const disk = Promise.withResolvers<boolean>();
  const { message } = await thrownBy(commits, disk.promise);
  assert.equal(message, 'the disk does not take what is written');
  let begun = 0;
  const next = (): Promise<boolean> =>
    commits.written(() => {
      begun += 1;
      return [Promise.resolve(true)];
    });
  await assert.rejects(next(), { code: 'io', message });
  assert.equal(begun, 0);
  disk.resolve(true);
  await disk.promise;
  assert.equal(await next(), true);
  assert.deepEqual(broken, []);
});

test('a commit that failed, and then one that never ends, is the end of the environment', async () => {
  const { commits, broken } = setUp();
  await thrownBy(commits, failing('Input/output error'));
  const error = await thrownBy(commits, new Promise(() => {}));
  assert.deepEqual(broken, [error]);
});
