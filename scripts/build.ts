/**
 * `npm run build`: dist/, the JavaScript that an installed package runs. Types are checked on the way; a type error
 * builds nothing. Files that are not TypeScript keep their place beside the code that reads them.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './steps.ts';

const dist = join(root, 'dist');
rmSync(dist, { recursive: true, force: true });
const { status } = spawnSync(
  join(root, 'node_modules', '.bin', 'tsc'),
  ['-p', 'tsconfig.build.json'],
  { cwd: root, stdio: 'inherit' },
);
if (status === 0) {
  cpSync(join(root, 'src'), dist, {
    recursive: true,
    filter: (file) => !file.endsWith('.ts'),
  });
}
process.exitCode = status ?? 1;
