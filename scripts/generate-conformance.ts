/** Writes docs/mqtt-conformance.md from the names of the tests; fails when a statement is not accounted for. */
import { writeFileSync } from 'node:fs';
import { conformanceReport, problemsOf, readConformance } from './conformance.ts';

const conformance = readConformance();
const problems = problemsOf(conformance);
if (problems.length === 0) {
  const file = new URL('../docs/mqtt-conformance.md', import.meta.url);
  writeFileSync(file, conformanceReport(conformance));
} else {
  process.stderr.write(`${problems.join('\n')}\n`);
  process.exitCode = 1;
}
