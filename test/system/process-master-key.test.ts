/**
 * Where the master key may come from. The gateway works with it, and without it says what is missing; it is copied
 * nowhere.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { startGateway } from '../harness/gateway.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';

interface Source {
  readonly name: string;
  readonly config: (path: string) => string;
  readonly env: (path: string) => NodeJS.ProcessEnv;
}

const sources: readonly Source[] = [
  {
    name: 'a file that the configuration names',
    config: (path) => `ca: { masterKey: { file: ${path} } }`,
    env: () => ({}),
  },
  {
    name: 'a systemd credential',
    config: () => 'ca: { masterKey: { credential: master } }',
    env: (path) => ({ CREDENTIALS_DIRECTORY: join(path, '..') }),
  },
  {
    name: 'a file that a variable names',
    config: () => 'ca: { masterKey: { environment: GATEWAY_KEY_FILE } }',
    env: (path) => ({ GATEWAY_KEY_FILE: path }),
  },
];

for (const source of sources) {
  test(`the master key may come from ${source.name}`, async () => {
    using folder = temporaryFolder();
    const keys = join(folder.path, 'keys');
    mkdirSync(keys, { mode: 0o700 });
    const path = join(keys, 'master');
    writeFileSync(path, randomBytes(32), { mode: 0o600 });
    const options = {
      workers: 1,
      folder,
      config: source.config(path),
      env: { ...process.env, ...source.env(path) },
    };
    {
      await using gateway = await startGateway(options);
      await gateway.device('d1');
      assert.equal(existsSync(join(gateway.dataDir, 'control', 'master.key')), false);
      await gateway.stop();
    }
    // The same key opens what it sealed; another does not.
    {
      await using again = await startGateway(options);
      assert.match((await again.ok('device', 'list')).stdout, /d1/);
      await again.stop();
    }
    rmSync(path);
    writeFileSync(path, randomBytes(32), { mode: 0o600 });
    await assert.rejects(startGateway(options));
  });
}
