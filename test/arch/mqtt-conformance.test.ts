/** docs/mqtt-conformance.md accounts for every normative statement of MQTT 5, and is what the tests say. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  conformanceReport,
  problemsOf,
  provenIn,
  readConformance,
} from '../../scripts/conformance.ts';
import { root } from '../../scripts/steps.ts';

test('each of the 251 statements has a test or a reason, and no other is named', () => {
  const conformance = readConformance();
  assert.equal(new Set(conformance.statements.map(({ id }) => id)).size, 251);
  assert.deepEqual(problemsOf(conformance), []);
});

test('docs/mqtt-conformance.md is what scripts/generate-conformance.ts writes', () => {
  const written = readFileSync(join(root, 'docs', 'mqtt-conformance.md'), 'utf8');
  assert.equal(written, conformanceReport(readConformance()));
});

test('a statement that is missing, excused though tested, or unknown is found', () => {
  const statements = ['MQTT-1.5.4-1', 'MQTT-1.5.4-2'].map((id) => ({ id, text: 'x' }));
  const proofs = new Map([
    ['MQTT-1.5.4-1', new Set(['a.test.ts'])],
    ['MQTT-9.9.9-9', new Set(['a.test.ts'])],
  ]);
  assert.deepEqual(
    problemsOf({ statements, proofs, notApplicable: { 'MQTT-1.5.4-1': 'r', 'MQTT-8': 'r' } }),
    [
      'MQTT-9.9.9-9 is no statement of the standard',
      'MQTT-8 is no statement of the standard',
      'MQTT-1.5.4-1 is tested and not applicable',
      'MQTT-1.5.4-2 has neither a test nor a reason',
    ],
  );
});

test('ids are read from names of tests, and not from anything else', () => {
  const id = (n: number): string => `[${'MQTT'}-1.1.1-${n}]`;
  const named = [
    `// test('${id(1)}', () => {});`,
    `test('one ${id(2)} ${id(3)}', () => {});`,
    'for (const name of names) {',
    `  test(\`\${name}: two ${id(4)}\`, async () => {});`,
    '}',
    `const rows = [{ what: 'a row ${id(5)}' }, { when: '${id(6)}' }];`,
    `assert.ok(x, '${id(7)}');`,
  ].join('\n');
  assert.deepEqual(
    provenIn(named),
    [2, 3, 4, 5].map((n) => `MQTT-1.1.1-${n}`),
  );
});
