import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { importsOf } from './imports.ts';
import { maskSource } from './masked-source.ts';
import { allowedTree, plantedViolations } from './planted-violations.ts';
import { ruleNames, violationsIn } from './rules.ts';

const sources = join(import.meta.dirname, '..', '..', 'src');

test('src/ keeps every rule', () => {
  const paths = globSync('**/*.ts', { cwd: sources });
  assert.ok(paths.length > 50, `only ${paths.length} files found in ${sources}`);
  const tree = new Map(paths.map((path) => [path, readFileSync(join(sources, path), 'utf8')]));
  const report = violationsIn(tree).map(
    ({ rule, file, line, message }) => `src/${file}:${line} [${rule}] ${message}`,
  );
  assert.equal(report.toSorted().join('\n'), '');
});

describe('a planted violation is found, and nothing else', () => {
  for (const { name, files, breaks, file, says } of plantedViolations) {
    test(name, () => {
      const found = violationsIn(new Map(Object.entries(files)));
      assert.deepEqual(
        found.map((each) => [each.rule, each.file]),
        [[breaks, file]],
      );
      assert.match(found[0]!.message, says);
    });
  }

  test('every rule has one', () => {
    const broken = new Set(plantedViolations.map(({ breaks }) => breaks));
    assert.deepEqual(
      ruleNames.filter((rule) => !broken.has(rule)),
      [],
    );
  });

  test('every folder of the allowed tree stays allowed', () => {
    assert.deepEqual(violationsIn(new Map(Object.entries(allowedTree))), []);
  });

  test('a wing that is reached through common is named step by step', () => {
    const found = violationsIn(
      new Map([
        ['worker/policy/a.ts', "import { x } from '../../common/base/b.ts';\n"],
        ['common/base/b.ts', "import { x } from '../../control/ca/c.ts';\n"],
        ['control/ca/c.ts', 'export const x = 1;\n'],
      ]),
    );
    assert.deepEqual(found.map(({ rule }) => rule).toSorted(), ['direction', 'wing']);
    assert.match(
      found.find(({ rule }) => rule === 'wing')!.message,
      /worker\/policy\/a\.ts → common\/base\/b\.ts → control\/ca\/c\.ts/,
    );
  });
});

describe('imports are read', () => {
  const forms: readonly (readonly [string, string, boolean])[] = [
    ["import x from './a.ts';", './a.ts', false],
    ["import type from './a.ts';", './a.ts', false],
    ["import type, { y } from './a.ts';", './a.ts', false],
    ["import type { X } from './a.ts';", './a.ts', true],
    ["import type X from './a.ts';", './a.ts', true],
    ["import { type X } from './a.ts';", './a.ts', false],
    ["import x, * as y from './a.ts';", './a.ts', false],
    ["import {\n  x, // from './no.ts'\n  y as z,\n} from\n  './a.ts';", './a.ts', false],
    ['import "./a.ts";', './a.ts', false],
    ["import x from './a.json' with { type: 'json' };", './a.json', false],
    ["export * from './a.ts';", './a.ts', false],
    ["export * as a from './a.ts';", './a.ts', false],
    ["export type { X } from './a.ts';", './a.ts', true],
    ["export interface E {}\nexport type { X } from './a.ts';", './a.ts', true],
    ["const x = await import('./a.ts');", './a.ts', false],
    ["const x = import(\n  './a.ts',\n  { with: {} },\n);", './a.ts', false],
    ["const s = `${(await import('./a.ts')).x}`;", './a.ts', false],
    ["if (/[/'\"]/.test(s)) await import('./a.ts');", './a.ts', false],
  ];
  for (const [source, specifier, typeOnly] of forms) {
    test(source.replaceAll('\n', ' '), () => {
      const { modules, computedLines } = importsOf(source, maskSource(source));
      assert.deepEqual(
        modules.map((each) => [each.specifier, each.typeOnly]),
        [[specifier, typeOnly]],
      );
      assert.deepEqual(computedLines, []);
    });
  }

  test('what only looks like an import is none', () => {
    const source = [
      'const a = \'import x from "./a.ts"\';',
      "policy.import('./a.ts');",
      'const b = import.meta.url;',
      "export const from = './a.ts';",
      "const c = { from: './a.ts' };",
    ].join('\n');
    assert.deepEqual(importsOf(source, maskSource(source)), { modules: [], computedLines: [] });
  });

  test('offsets and lines stay what they were', () => {
    const source = "/* a\nb */ const x = 'y\\'z'; // c\n`d${1}e\n`;\n";
    const { code } = maskSource(source);
    assert.equal(code.length, source.length);
    assert.deepEqual(
      code.split('\n').map((line) => line.length),
      source.split('\n').map((line) => line.length),
    );
  });
});
