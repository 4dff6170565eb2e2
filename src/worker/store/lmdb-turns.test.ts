import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { open } from 'lmdb';
import type { RootDatabase } from 'lmdb';
import { errorCodeOf } from '../../common/base/errors.ts';
import { LmdbCommits } from './lmdb-commits.ts';
import { LmdbTurns } from './lmdb-turns.ts';

interface SetUp extends AsyncDisposable {
  readonly root: RootDatabase<Buffer, Buffer>;
  readonly turns: LmdbTurns;
  readonly state: { mayWrite: boolean; commits: number };
}

async function setUp(): Promise<SetUp> {
  const path = mkdtempSync(join(tmpdir(), 'sallyport-store-'));
  const root = open<Buffer, Buffer>({
    path,
    noSubdir: false,
    overlappingSync: false,
    encoding: 'binary',
    keyEncoding: 'binary',
    useVersions: true,
  });
  const state = { mayWrite: true, commits: 0 };
  await root.put(key('first'), Buffer.of(1), 1);
  root.on('aftercommit', () => {
    state.commits += 1;
  });
  return {
    root,
    turns: new LmdbTurns(root, new LmdbCommits(root, { mayWrite: () => state.mayWrite })),
    state,
    async [Symbol.asyncDispose]() {
      await root.close();
      rmSync(path, { recursive: true });
    },
  };
}

const key = (name: string): Buffer => Buffer.from(name);

/** Writes what it was given since it wrote last. */
function writerTo(root: RootDatabase<Buffer, Buffer>) {
  const names: string[] = [];
  return {
    names,
    writeGathered: (): void => {
      for (const name of names.splice(0)) void root.put(key(name), Buffer.of(1), 1);
    },
  };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('all of a turn is one transaction with what else is written in it, and has one promise', async () => {
  await using set = await setUp();
  const { root, turns, state } = set;
  const [one, other] = [writerTo(root), writerTo(root)];
  // Beyond what lmdb writes before the turn has ended.
  const names = Array.from({ length: 3_000 }, (_, i) => `one ${i}`);
  const before = root.put(key('before'), Buffer.of(1), 1);
  const done = turns.join(one);
  one.names.push(...names);
  await Promise.resolve();
  other.names.push('other');
  assert.equal(turns.join(other), done);
  const after = root.ifVersion(key('before'), 1, () => void root.put(key('after'), Buffer.of(1)));
  assert.deepEqual([root.doesExist(key('one 0')), state.commits], [false, 0]);
  await Promise.all([done, before, after]);
  assert.equal(state.commits, 1);
  for (const name of [...names, 'other', 'before', 'after']) {
    assert.ok(root.doesExist(key(name)), name);
  }
  one.names.push('next');
  const next = turns.join(one);
  assert.notEqual(next, done);
  await next;
  assert.deepEqual([root.doesExist(key('next')), state.commits], [true, 2]);
});

test('who gathers what cannot be written fails all of its turn, and none of the next', async () => {
  await using set = await setUp();
  const { root, turns } = set;
  const failing = {
    writeGathered: (): void => {
      throw new RangeError('a key that is too long');
    },
  };
  const writer = writerTo(root);
  const isIo = (error: unknown): boolean => errorCodeOf(error) === 'io';
  const done = turns.join(failing);
  writer.names.push('beside');
  assert.equal(turns.join(writer), done);
  await assert.rejects(done, isIo);
  writer.names.push('later');
  await turns.join(writer);
  assert.ok(root.doesExist(key('later')));
});

test('when nothing may be written nobody is asked to write, and later they are', async () => {
  await using set = await setUp();
  const { root, turns, state } = set;
  const writer = writerTo(root);
  state.mayWrite = false;
  assert.throws(() => turns.join(writer), /disk is full/);
  await turn();
  writer.names.push('later');
  state.mayWrite = true;
  await turns.join(writer);
  assert.ok(root.doesExist(key('later')));
});

test('before the store is closed what was gathered is written', async () => {
  await using set = await setUp();
  const { root, turns, state } = set;
  const writer = writerTo(root);
  writer.names.push('last');
  void turns.join(writer);
  await turns.idle();
  assert.equal(state.commits, 1);
  await turns.idle();
});
