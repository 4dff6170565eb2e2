import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemClock } from '../../common/base/clock.ts';
import { SallyportError } from '../../common/base/errors.ts';
import { keyValueStoreContract } from './key-value-store-contract.ts';
import { LmdbEnvironment } from './lmdb-environment.ts';

const scratch = (): string => mkdtempSync(join(tmpdir(), 'sallyport-store-'));

keyValueStoreContract('lmdb', (clock) => {
  const directory = scratch();
  const environment = LmdbEnvironment.open({ directory, names: ['s'], clock });
  return {
    store: environment.store('s'),
    async dispose() {
      await environment.close();
      rmSync(directory, { recursive: true });
    },
  };
});

test('the files are closed to others under any umask, also those that were open before', async () => {
  const parent = scratch();
  const directory = join(parent, 'store');
  const before = process.umask(0);
  try {
    const options = { directory, names: ['s'], clock: systemClock };
    await LmdbEnvironment.open(options).close();
    writeFileSync(join(directory, 'left-open'), '', { mode: 0o666 });
    await LmdbEnvironment.open(options).close();
    assert.equal(process.umask(0), 0, 'the umask of the process is left alone');
    assert.equal(statSync(directory).mode & 0o777, 0o700);
    for (const name of ['data.mdb', 'lock.mdb', 'left-open']) {
      assert.equal(statSync(join(directory, name)).mode & 0o777, 0o600, name);
    }
  } finally {
    process.umask(before);
    rmSync(parent, { recursive: true });
  }
});

test('a directory that cannot be made is an io error', () => {
  const open = (): unknown =>
    LmdbEnvironment.open({
      directory: '/dev/null/store',
      names: ['s'],
      clock: systemClock,
    });
  assert.throws(open, (error: unknown) => error instanceof SallyportError && error.code === 'io');
});

test('what was removed is room that the file has to spare', async () => {
  const directory = scratch();
  const environment = LmdbEnvironment.open({ directory, names: ['s'], clock: systemClock });
  try {
    const spools = environment.spools(0);
    spools.open('a');
    const ids = Array.from({ length: 500 }, () => spools.newId(7));
    const before = environment.spareBytes();
    const value = Buffer.alloc(1_000);
    await spools.append(ids.map((id) => ({ spool: 'a', id, value })));
    assert.ok(environment.spareBytes() < before + 100_000);
    await spools.settle('a', ids);
    // Pages of the last transactions are kept for whoever reads still.
    for (let i = 0; i < 3; i += 1) await spools.settle('a', [spools.newId(0)]);
    const spare = environment.spareBytes();
    assert.ok(spare > 450_000 && spare < 1_500_000, `${spare}`);
  } finally {
    await environment.close();
    rmSync(directory, { recursive: true });
  }
});
