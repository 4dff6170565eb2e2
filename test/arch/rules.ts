/** The rules of src/, judged on a tree of sources that need not be on a disk. */
import { posix } from 'node:path';
import { importsOf } from './imports.ts';
import type { ImportedModule } from './imports.ts';
import { folderRules, moduleRules, separateWings } from './layers.ts';
import type { FolderRule } from './layers.ts';
import { lineAt, maskSource } from './masked-source.ts';

/** Path below src/ → text. */
export type SourceTree = ReadonlyMap<string, string>;

export const ruleNames = [
  'direction',
  'unknown-folder',
  'outside-src',
  'imports-test',
  'wing',
  'cycle',
  'module',
  'computed-import',
  'plain-error',
  'console',
  'issuance',
  'source-path',
  'left-out-test',
  'too-long',
] as const;
export type RuleName = (typeof ruleNames)[number];

export interface Violation {
  readonly rule: RuleName;
  readonly file: string;
  readonly line: number;
  readonly message: string;
}

interface Edge extends ImportedModule {
  /** Path below src/ of what a relative import names. */
  readonly target: string;
}

interface SourceFile {
  readonly path: string;
  readonly source: string;
  readonly isTest: boolean;
  readonly folder: FolderRule | undefined;
  readonly edges: readonly Edge[];
  /** Imports that are not relative. */
  readonly packages: readonly ImportedModule[];
}

type Report = (rule: RuleName, line: number, message: string) => void;

const maxLines = 600;

/** What must not be written in src/, tests apart, and where it may be. */
const textRules: readonly {
  readonly rule: RuleName;
  readonly pattern: RegExp;
  readonly allowedIn: RegExp | undefined;
  readonly message: string;
}[] = [
  {
    rule: 'plain-error',
    pattern: /(?<![\w$.])(?:Aggregate|Eval|Range|Reference|Syntax|Type|URI)?Error\s*\(/g,
    allowedIn: undefined,
    message: 'an error without a code: use SallyportError or a subclass',
  },
  {
    rule: 'console',
    pattern: /(?<![\w$.])console\s*[.[]/g,
    allowedIn: /^(?:cli\/|supervisor\/banner\.ts$)/,
    message: 'console: log through the Logger that was passed in',
  },
  {
    rule: 'issuance',
    pattern: /(?<![\w$])#?authority\s*\??\.\s*issue\b/g,
    allowedIn: /^control\/enrolment\/issuance\.ts$/,
    message: 'authority.issue: certificates are asked for at the issuance, which runs every check',
  },
  {
    rule: 'computed-import',
    pattern: /(?<![\w$.#])(?:require|createRequire)\s*\(/g,
    allowedIn: undefined,
    message: 'require hides what is imported',
  },
];

const leftOutTest =
  /(?<![\w$])(?:test|it|describe|suite|t)\.(?:only|skip|todo)\b|\b(?:skip|todo)\s*:/g;

export function violationsIn(tree: SourceTree): Violation[] {
  const files = new Map([...tree].map(([path, source]) => [path, parse(path, source)]));
  const violations: Violation[] = [];
  const reportFor =
    (file: string): Report =>
    (rule, line, message) => {
      violations.push({ rule, file, line, message });
    };
  for (const file of files.values()) {
    const report = reportFor(file.path);
    checkImports(file, report);
    checkModules(file, report);
    checkText(file, report);
  }
  checkWings(files, reportFor);
  checkCycles(files, reportFor);
  return violations;
}

function parse(path: string, source: string): SourceFile {
  const { modules } = importsOf(source, maskSource(source));
  return {
    path,
    source,
    isTest: path.endsWith('.test.ts'),
    folder: folderOf(path),
    edges: modules
      .filter(({ specifier }) => specifier.startsWith('.'))
      .map((each) => ({ ...each, target: posix.join(posix.dirname(path), each.specifier) })),
    packages: modules.filter(({ specifier }) => !specifier.startsWith('.')),
  };
}

function folderOf(path: string): FolderRule | undefined {
  return folderRules
    .filter(({ folder }) => isBelow(path, folder))
    .toSorted((a, b) => b.folder.length - a.folder.length)
    .find(({ folder }) => !isWing(folder) || posix.dirname(path) === folder);
}

/** A wing's own row is about the files directly in it; each of its folders needs a row. */
function isWing(folder: string): boolean {
  return separateWings.some(([name]) => name === folder);
}

function isBelow(path: string, folder: string): boolean {
  return path === folder || path.startsWith(`${folder}/`);
}

function checkImports(file: SourceFile, report: Report): void {
  const { folder, path } = file;
  if (folder === undefined) {
    report('unknown-folder', 1, 'no row of test/arch/layers.ts is about this folder');
    return;
  }
  for (const { target, line, typeOnly } of file.edges) {
    if (target.startsWith('..')) {
      if (!file.isTest) report('outside-src', line, `src/ must not import ${target.slice(3)}`);
      continue;
    }
    if (file.isTest) continue;
    if (target.endsWith('.test.ts')) {
      report('imports-test', line, `imports the test ${target}`);
      continue;
    }
    const to = folderOf(target);
    if (to === undefined || to === folder) continue;
    const allowed = typeOnly
      ? [...folder.mayImport, ...(folder.mayImportTypes ?? [])]
      : folder.mayImport;
    if (allowed.some((each) => isBelow(to.folder, each))) continue;
    if (typeOnly && isPortOfSameWing(path, target)) continue;
    const list = [
      ...folder.mayImport,
      ...(folder.mayImportTypes ?? []).map((each) => `types of ${each}`),
    ];
    const may = list.join(', ') || 'nothing';
    report('direction', line, `${folder.folder} may import ${may}; not ${target}`);
  }
}

/** Who implements a port may name it: the composition root puts the two together. */
function isPortOfSameWing(from: string, target: string): boolean {
  return (
    posix.basename(target) === 'ports.ts' &&
    separateWings.some(([wing]) => isBelow(from, wing) && isBelow(target, wing))
  );
}

function checkModules(file: SourceFile, report: Report): void {
  if (file.isTest) return;
  for (const { specifier, line } of file.packages) {
    const name = specifier.replace(/^node:/, '');
    for (const rule of moduleRules) {
      if (!rule.modules.some((module) => isBelow(name, module))) continue;
      if (rule.except?.test(file.path) === true) continue;
      const isHere = (folder: string): boolean => isBelow(file.path, folder);
      const forbidden =
        rule.only === undefined ? rule.forbiddenIn?.some(isHere) : !rule.only.some(isHere);
      if (forbidden === true) report('module', line, `${specifier}: ${rule.why}`);
    }
  }
}

function checkText(file: SourceFile, report: Report): void {
  const { path, source } = file;
  const masked = maskSource(source);
  const each = (pattern: RegExp, found: (line: number) => void): void => {
    for (const { index } of masked.code.matchAll(pattern)) found(lineAt(source, index));
  };
  const lines = source.trimEnd().split('\n').length;
  if (lines > maxLines) report('too-long', maxLines, `${lines} lines, more than ${maxLines}`);
  if (file.isTest) {
    each(leftOutTest, (line) =>
      report('left-out-test', line, 'a test that does not run proves nothing'),
    );
    return;
  }
  for (const { rule, pattern, allowedIn, message } of textRules) {
    if (allowedIn?.test(path) !== true) each(pattern, (line) => report(rule, line, message));
  }
  const { modules, computedLines } = importsOf(source, masked);
  for (const line of computedLines)
    report('computed-import', line, 'an import must say what it imports');
  const imported = new Set(modules.map(({ specifier }) => specifier));
  for (const { start, value } of masked.literals) {
    if (!value.endsWith('.ts') || imported.has(value)) continue;
    report(
      'source-path',
      lineAt(source, start),
      `"${value}" is not there in a package: use extname`,
    );
  }
}

function checkWings(
  files: ReadonlyMap<string, SourceFile>,
  reportFor: (file: string) => Report,
): void {
  for (const [from, to] of separateWings) {
    for (const start of files.values()) {
      if (!isBelow(start.path, from)) continue;
      const path = shortestPath(files, start.path, (target) => isBelow(target, to));
      if (path === undefined) continue;
      const line = start.edges.find(({ target }) => target === path[1])?.line ?? 1;
      reportFor(start.path)('wing', line, `${from} reaches ${to}: ${path.join(' → ')}`);
    }
  }
}

function shortestPath(
  files: ReadonlyMap<string, SourceFile>,
  start: string,
  isGoal: (path: string) => boolean,
): string[] | undefined {
  const cameFrom = new Map<string, string | undefined>([[start, undefined]]);
  // A Map goes on to what is added while it is walked: this is the queue of a breadth-first search.
  for (const path of cameFrom.keys()) {
    if (isGoal(path)) {
      const steps: string[] = [];
      for (let at: string | undefined = path; at !== undefined; at = cameFrom.get(at))
        steps.unshift(at);
      return steps;
    }
    for (const { target } of files.get(path)?.edges ?? []) {
      if (!cameFrom.has(target)) cameFrom.set(target, path);
    }
  }
  return undefined;
}

/**
 * One violation for every knot of files that reach each other. Types count: two files that need each other's types are
 * one file, or lack a third.
 */
function checkCycles(
  files: ReadonlyMap<string, SourceFile>,
  reportFor: (file: string) => Report,
): void {
  const inKnot = new Set<string>();
  for (const file of files.values()) {
    for (const { target, line } of file.edges) {
      if (inKnot.has(file.path)) break;
      const back = shortestPath(files, target, (path) => path === file.path);
      if (back === undefined) continue;
      for (const path of files.keys()) {
        if (reaches(files, file.path, path) && reaches(files, path, file.path)) inKnot.add(path);
      }
      reportFor(file.path)('cycle', line, `imports itself: ${[file.path, ...back].join(' → ')}`);
    }
  }
}

function reaches(files: ReadonlyMap<string, SourceFile>, from: string, to: string): boolean {
  return shortestPath(files, from, (path) => path === to) !== undefined;
}
