/**
 * A process that shares a store with others, started by test/system/store-processes.test.ts. What it is to do is its
 * first argument, the directory its second; it says how it goes in lines on its standard output.
 */
import { statSync, writeSync } from 'node:fs';
import { open } from 'lmdb';
import { systemClock } from '../../src/common/base/clock.ts';
import { errorCodeOf } from '../../src/common/base/errors.ts';
import { dropPrivileges } from '../../src/common/base/privileges.ts';
import { LmdbEnvironment } from '../../src/worker/store/lmdb-environment.ts';
import type { KeyValueStore } from '../../src/worker/store/ports.ts';

const [task, directory = 'store', uid] = process.argv.slice(2);
const say = (line: string): number => writeSync(1, `${line}\n`);
const owner = uid === undefined ? undefined : { uid: Number(uid), gid: Number(uid) };
// Before anything is opened: what follows takes paths relative to this folder.
dropPrivileges(owner);
const options = { directory, names: ['s'], clock: systemClock };

/** Says each key when the store has promised it, for ever. */
async function acknowledge(store: KeyValueStore): Promise<never> {
  for (let i = 0; ; i += 1) {
    const key = `${process.pid}-${i}`;
    await store.commit([], [{ key, value: Buffer.from(key) }], i % 2 === 0 ? 'flushed' : 'process');
    say(key);
  }
}

async function asAnotherUser(store: KeyValueStore): Promise<void> {
  const key = `${process.pid}`;
  await store.commit([], [{ key, value: Buffer.from('by another user') }], 'flushed');
  say((await store.get(key))?.value.toString() ?? 'nothing');
  say(`${process.getuid?.()} ${tryToRead('/proc/1/root')}`);
  for await (const entry of store.scan('')) say(`has ${entry.key}`);
}

function tryToRead(path: string): string {
  try {
    return String(statSync(path).uid);
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : 'failed';
  }
}

async function fillTheDisk(store: KeyValueStore): Promise<void> {
  const outcome = async (key: string, bytes: number): Promise<void> => {
    try {
      await store.commit([], [{ key, value: Buffer.alloc(bytes, 1) }], 'flushed');
      say(`${key} written`);
    } catch (error) {
      say(`${key} ${errorCodeOf(error)}`);
    }
  };
  await outcome('before', 10);
  await outcome('big', 8 * 1024 * 1024);
  say(`big is ${(await store.get('big')) === undefined ? 'absent' : 'there'}`);
  say(`before is ${(await store.get('before')) === undefined ? 'absent' : 'there'}`);
  await outcome('after', 10);
}

/** Below the store's own words: nothing else dies with the write lock in its hands. */
function dieInTransaction(): void {
  const root = open<Buffer, Buffer>({ path: directory, noSubdir: false, overlappingSync: true });
  root.transactionSync(() => {
    say('in the transaction');
    process.kill(process.pid, 'SIGKILL');
  });
}

if (task === 'die-in-transaction') {
  dieInTransaction();
} else {
  const environment = LmdbEnvironment.open(options);
  const store = environment.store('s');
  if (task === 'acknowledge') await acknowledge(store);
  if (task === 'as-another-user') await asAnotherUser(store);
  if (task === 'fill-the-disk') await fillTheDisk(store);
  await environment.close();
  say('closed');
}
