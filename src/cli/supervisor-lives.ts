import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Whether the process that `run.json` names is there: a gateway that was killed leaves the file behind. */
export function supervisorLives(dataDir: string): boolean {
  try {
    const run: unknown = JSON.parse(readFileSync(join(dataDir, 'run.json'), 'utf8'));
    if (typeof run !== 'object' || run === null || !('pid' in run)) return false;
    if (typeof run.pid !== 'number' || run.pid <= 0) return false;
    process.kill(run.pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}
