/** The store that workers share, across processes that die at the worst moment or are not who opened it. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { systemClock } from '../../src/common/base/clock.ts';
import { LmdbEnvironment } from '../../src/worker/store/lmdb-environment.ts';
import { Openings } from '../harness/openings.ts';
import { within } from '../harness/waiting.ts';

const child = new URL('../harness/store-child.ts', import.meta.url).pathname;
const root = process.getuid?.() === 0;
/** Each is a chance that somebody dies at the worst moment. */
const kills = 30;
/** nobody */
const otherUser = 65_534;

function scratch(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-store-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

interface Running {
  readonly process: ChildProcess;
  readonly lines: string[];
  readonly ended: Promise<unknown>;
  /** The first moment at which it has said so much. */
  said(count: number): Promise<void>;
}

function start(t: TestContext, args: readonly string[], cwd: string): Running {
  return follow(
    t,
    spawn(process.execPath, [child, ...args], {
      cwd,
      stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
    }),
  );
}

function follow(t: TestContext, started: ChildProcess): Running {
  t.after(() => started.kill('SIGKILL'));
  const lines: string[] = [];
  const waiting: (() => void)[] = [];
  if (started.stdout === null) throw new Error('no standard output');
  const reader = createInterface({ input: started.stdout });
  reader.on('line', (line) => {
    lines.push(line);
    for (const look of waiting) look();
  });
  const ended = Promise.all([once(started, 'exit'), once(reader, 'close')]);
  const said = (count: number): Promise<void> =>
    within(
      new Promise<void>((resolve) => {
        const look = (): void => {
          if (lines.length >= count) resolve();
        };
        waiting.push(look);
        look();
      }),
      60_000,
      `${count} lines`,
    );
  return { process: started, lines, ended, said };
}

function open(directory: string): LmdbEnvironment {
  return LmdbEnvironment.open({ directory, names: ['s'], clock: systemClock });
}

test('kill -9 of one writer after the other, while others write, loses nothing that was acknowledged', async (t) => {
  const folder = scratch(t);
  const directory = join(folder, 'store');
  const survivor = open(directory);
  const openings = new Openings();
  const startWriter = (): Running => {
    const writer = start(t, ['acknowledge', directory], folder);
    void openings.next(writer.process);
    return writer;
  };
  const writers = [0, 1, 2].map(startWriter);
  await Promise.all(writers.map((writer) => writer.said(50)));
  for (let i = 0; i < kills; i += 1) {
    const successor = startWriter();
    writers.push(successor);
    await successor.said(50);
    const victim = writers[i];
    // One that has ended by itself could not go on writing.
    assert.equal(victim?.process.exitCode, null);
    victim.process.kill('SIGKILL');
  }
  for (const writer of writers) writer.process.kill('SIGKILL');
  await Promise.all(writers.map((writer) => writer.ended));
  const check = async (environment: LmdbEnvironment): Promise<void> => {
    for (const key of writers.flatMap((writer) => writer.lines)) {
      const entry = await environment.store('s').get(key);
      assert.equal(entry?.value.toString(), key, `${key} was acknowledged`);
    }
  };
  await check(survivor);
  await survivor.close();
  const reopened = open(directory);
  await check(reopened);
  await reopened.close();
});

test('a process that is killed with the write lock in its hands does not block the others', async (t) => {
  const folder = scratch(t);
  const directory = join(folder, 'store');
  const survivor = open(directory);
  await survivor.store('s').commit([], [{ key: 'a', value: Buffer.from('1') }], 'flushed');
  const victim = start(t, ['die-in-transaction', directory], folder);
  await within(victim.ended, 60_000, 'the end of the victim');
  assert.deepEqual(victim.lines, ['in the transaction']);
  assert.equal(victim.process.signalCode, 'SIGKILL');
  const write = survivor.store('s').commit([], [{ key: 'b', value: Buffer.from('2') }], 'flushed');
  assert.equal(await within(write, 5_000, 'a write after the death of the lock’s holder'), true);
  assert.equal((await survivor.store('s').get('a'))?.value.toString(), '1');
  await survivor.close();
});

test('a disk that fails between a transaction and what makes it valid is the end of the process', async (t) => {
  const folder = scratch(t);
  const directory = join(folder, 'store');
  const victim = start(t, ['lose-the-disk', directory], folder);
  await within(victim.ended, 60_000, 'the end of the victim');
  assert.deepEqual(victim.lines, ['before written', 'while it fails io', 'after io']);
  assert.equal(victim.process.exitCode, 1);
  const successor = open(directory);
  await successor.store('s').commit([], [{ key: 'a', value: Buffer.from('1') }], 'flushed');
  assert.equal((await successor.store('s').get('a'))?.value.toString(), '1');
  await successor.close();
});

test('opened and used by a process that was root, in a folder below one that it may no longer enter', async (t) => {
  const folder = scratch(t);
  const worker = join(folder, 'worker');
  mkdirSync(worker, { mode: 0o700 });
  // The parent is closed to the worker's user: by its absolute path the store would be out of reach.
  chmodSync(folder, 0o700);
  const user = root ? otherUser : (process.getuid?.() ?? 0);
  if (root) chownSync(worker, user, user);
  const args = ['as-another-user', 'store', ...(root ? [`${user}`] : [])];
  const first = start(t, args, worker);
  await within(first.ended, 60_000, 'the first worker');
  const second = start(t, args, worker);
  await within(second.ended, 60_000, 'the second worker');
  for (const { lines, process: ended } of [first, second]) {
    assert.equal(ended.exitCode, 0);
    assert.equal(lines[0], 'by another user');
    assert.match(lines[1] ?? '', new RegExp(`^${user} ${root ? 'EACCES' : ''}`));
    assert.equal(lines.at(-1), 'closed');
  }
  assert.equal(second.lines.filter((line) => line.startsWith('has ')).length, 2);
  for (const name of ['', 'data.mdb', 'lock.mdb']) {
    const { uid, mode } = statSync(join(worker, 'store', name));
    assert.equal(uid, user, name);
    assert.equal(mode & 0o777, name === '' ? 0o700 : 0o600, name);
  }
});

test('a disk that is full refuses a write with io, and the process goes on reading and writing what fits', async (t) => {
  const folder = scratch(t);
  // A limit on the size of files is the full disk that one can have without being root. Blocks of 512 bytes.
  const command = `trap '' XFSZ; ulimit -f 8192; exec "$0" "$@"`;
  const args = ['-c', command, process.execPath, child, 'fill-the-disk', 'store'];
  // lmdb writes the reason to standard error.
  const full = follow(
    t,
    spawn('/bin/sh', args, { cwd: folder, stdio: ['ignore', 'pipe', 'ignore'] }),
  );
  await within(full.ended, 60_000, 'the end of the writer');
  assert.deepEqual(full.lines, [
    'before written',
    'big io',
    'big is absent',
    'before is there',
    'after written',
    'closed',
  ]);
});
