/**
 * A process that shares a store with others, started by test/system/store-processes.test.ts. What it is to do is its
 * first argument, the directory its second; it says how it goes in lines on its standard output.
 */
import {
  closeSync,
  constants,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  writeSync,
} from 'node:fs';
import { open } from 'lmdb';
import { systemClock } from '../../src/common/base/clock.ts';
import { errorCodeOf } from '../../src/common/base/errors.ts';
import { dropPrivileges } from '../../src/common/base/privileges.ts';
import { LmdbCommits } from '../../src/worker/store/lmdb-commits.ts';
import { LmdbEnvironment } from '../../src/worker/store/lmdb-environment.ts';
import type { KeyValueStore } from '../../src/worker/store/ports.ts';
import { hasOpened, turnToOpen } from './openings.ts';

const [task, directory = 'store', uid] = process.argv.slice(2);
const say = (line: string): number => writeSync(1, `${line}\n`);
const owner = uid === undefined ? undefined : { uid: Number(uid), gid: Number(uid) };
// Before anything is opened: what follows takes paths relative to this folder.
dropPrivileges(owner);
const options = { directory, names: ['s'], clock: systemClock };

/** Says each key when the store has promised it, for ever. What it removes are pages that others write to next. */
async function acknowledge(store: KeyValueStore): Promise<never> {
  for (let i = 0; ; i += 1) {
    const key = `${process.pid}-${i}`;
    const passing = (n: number): string => `passing-${process.pid}-${n % 50}`;
    await store.commit(
      [],
      [
        { key, value: Buffer.from(key) },
        { key: passing(i), value: undefined },
        { key: passing(i + 25), value: Buffer.alloc((i * 7) % 3_000, 1) },
      ],
      'flushed',
    );
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
  const root = open<Buffer, Buffer>({ path: directory, noSubdir: false, overlappingSync: false });
  root.transactionSync(() => {
    say('in the transaction');
    process.kill(process.pid, 'SIGKILL');
  });
}

/** A disk that fails between the pages of a transaction and the page that makes it valid, which has a descriptor of its own. */
async function loseTheDisk(): Promise<void> {
  const root = open<Buffer, Buffer>({
    path: directory,
    noSubdir: false,
    overlappingSync: false,
    encoding: 'binary',
    keyEncoding: 'binary',
  });
  const commits = new LmdbCommits(root, { mayWrite: () => true, timeoutMs: 1_000 });
  const outcome = async (key: string): Promise<void> => {
    try {
      await commits.written(() => [root.put(Buffer.from(key), Buffer.of(1))]);
      say(`${key} written`);
    } catch (error) {
      say(`${key} ${errorCodeOf(error)}`);
    }
  };
  await outcome('before');
  closeSync(metaDescriptor());
  await outcome('while it fails');
  const alive = setInterval(() => {}, 1_000);
  await outcome('after');
  clearInterval(alive);
}

function metaDescriptor(): number {
  const descriptors = readdirSync('/proc/self/fd').filter((descriptor) => {
    try {
      return readlinkSync(`/proc/self/fd/${descriptor}`).endsWith('/data.mdb');
    } catch {
      // That of the folder that is being read.
      return false;
    }
  });
  const synchronous = descriptors.find((descriptor) => {
    const flags = /flags:\s*(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${descriptor}`, 'utf8'));
    return (Number.parseInt(flags?.[1] ?? '0', 8) & constants.O_DSYNC) !== 0;
  });
  if (synchronous === undefined) throw new TypeError('LMDB has no descriptor of that kind');
  return Number(synchronous);
}

if (task === 'die-in-transaction') {
  dieInTransaction();
} else if (task === 'lose-the-disk') {
  await loseTheDisk();
} else {
  if (task === 'acknowledge') await turnToOpen();
  const environment = LmdbEnvironment.open(options);
  const store = environment.store('s');
  if (task === 'acknowledge') {
    hasOpened(environment);
    await acknowledge(store);
  }
  if (task === 'as-another-user') await asAnotherUser(store);
  if (task === 'fill-the-disk') await fillTheDisk(store);
  await environment.close();
  say('closed');
}
