/**
 * Verifies the audit log of a gateway that does not run. Works on a copy: opening the database for real would bring its
 * schema up to date, repair the end of the log and leave files of whoever ran the command among control's own.
 */
import { copyFileSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../common/base/clock.ts';
import { messageOf, SallyportError } from '../common/base/errors.ts';
import type { AuditVerdict } from '../control/admin/ports.ts';
import { auditFile, openAuditLog } from '../control/audit-log/audit-log.ts';
import { databaseFile, openDatabase } from '../control/store/database.ts';

/** @throws SallyportError `not-running` when there is nothing to verify; `io`. */
export async function verifyStoredAuditLog(
  dataDir: string,
  notRunning: SallyportError,
): Promise<AuditVerdict> {
  const control = join(dataDir, 'control');
  // Without the registry there is no head to compare with, and no gateway ever ran here.
  if (!existsSync(join(control, databaseFile))) throw notRunning;
  const copy = mkdtempSync(join(tmpdir(), 'sallyport-verify-'));
  try {
    for (const file of [databaseFile, `${databaseFile}-wal`, auditFile]) {
      const original = join(control, file);
      if (existsSync(original)) copyFileSync(original, join(copy, file));
    }
    return await verifyCopy(copy);
  } catch (error) {
    if (error instanceof SallyportError) throw error;
    throw new SallyportError('io', `cannot read the audit log in ${control}: ${messageOf(error)}`, {
      hint: 'run this as the user who started the gateway, or as root',
      cause: error,
    });
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}

async function verifyCopy(copy: string): Promise<AuditVerdict> {
  const database = openDatabase(join(copy, databaseFile));
  try {
    const log = openAuditLog({ path: join(copy, auditFile), database, clock: systemClock });
    try {
      return await log.verify();
    } finally {
      log.close();
    }
  } finally {
    database.close();
  }
}
