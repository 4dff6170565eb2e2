/**
 * Milliseconds of CPU for the revocation lists of a CA with 100,000 revoked certificates, complete and delta, from the
 * registry to the signature. Prints one JSON line: the median and the spread of the rounds.
 */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Revocations } from '../src/control/registry/revocations.ts';
import { CrlNumbers } from '../src/control/revocation/crl/crl-numbers.ts';
import { issueLists } from '../src/control/revocation/crl/issue-lists.ts';
import { recordCertificates, testIssuer } from '../src/control/revocation/test-support.ts';
import type { TestCertificate } from '../src/control/revocation/test-support.ts';
import { openDatabase } from '../src/control/store/database.ts';

const rounds = 9;
const entries = 100_000;
const dayMs = 86_400_000;

const folder = mkdtempSync(join(tmpdir(), 'sallyport-'));
const database = openDatabase(join(folder, 'registry.db'));
try {
  const now = Date.now();
  const issuer = await testIssuer('Bench CA', now);
  const revoked = Array.from({ length: entries }, (_, i): TestCertificate => {
    const serial = randomBytes(16).toString('hex').replace(/^0+/, '');
    return { serial, notAfter: now + 30 * dayMs, revokedAt: now - i * 1_000, reason: i % 2 };
  });
  recordCertificates(database, issuer.id, revoked);
  const parts = {
    revocations: new Revocations(database),
    numbers: new CrlNumbers(database),
    validityMs: dayMs,
    deltaValidityMs: dayMs,
    deltaUrl: undefined,
  };
  const results: number[] = [];
  for (let round = 0; round < rounds + 2; round += 1) {
    const start = process.cpuUsage();
    const { complete } = await issueLists(issuer, true, now + round * 1_000, parts);
    const used = process.cpuUsage(start);
    if (complete.der.length < entries * 40) throw new Error('entries are missing');
    // The first rounds warm the compiler up.
    if (round >= 2) results.push((used.user + used.system) / 1_000);
  }
  results.sort((a, b) => a - b);
  const figure = (index: number): number => Number((results[index] ?? 0).toFixed(0));
  console.log(
    JSON.stringify({
      subject: 'revocation list of 100,000 entries, with its delta',
      unit: 'ms',
      median: figure(Math.floor(rounds / 2)),
      min: figure(0),
      max: figure(rounds - 1),
    }),
  );
} finally {
  database.close();
  rmSync(folder, { recursive: true });
}
