/** What a file imports, and how. */
import { lineAt } from './masked-source.ts';
import type { MaskedSource } from './masked-source.ts';

export interface ImportedModule {
  /** As written: `./x.ts`, `node:fs`, `lmdb`. */
  readonly specifier: string;
  readonly line: number;
  /** `import type … from` and `export type … from`: gone when the program runs. */
  readonly typeOnly: boolean;
}

export interface FileImports {
  readonly modules: readonly ImportedModule[];
  /** Lines with an `import(…)` of something computed: nobody can tell where it leads. */
  readonly computedLines: readonly number[];
}

/** `import … from '…'` and `export … from '…'`; a second keyword in between would be another statement. */
const fromClause =
  /(?<![\w$.])(?:import|export)\b(?<type>\s+type\b(?!\s*(?:from\b|,)))?(?:(?!\b(?:import|export)\b)[\s\w$,{}*])*?\bfrom\s*(?<quote>['"])/g;
const sideEffect = /(?<![\w$.])import\s*['"]/g;
const dynamic = /(?<![\w$.])import\s*\(\s*(?<quote>['"])?/g;

export function importsOf(source: string, { code, literals }: MaskedSource): FileImports {
  const textAt = new Map(literals.map(({ start, value }) => [start, value]));
  const modules: ImportedModule[] = [];
  const computedLines: number[] = [];
  const add = (match: RegExpExecArray, typeOnly: boolean): void => {
    const specifier = textAt.get(match.index + match[0].length);
    if (specifier === undefined) return;
    modules.push({ specifier, line: lineAt(source, match.index), typeOnly });
  };

  for (const match of code.matchAll(fromClause)) add(match, match.groups?.['type'] !== undefined);
  for (const match of code.matchAll(sideEffect)) add(match, false);
  for (const match of code.matchAll(dynamic)) {
    const start = match.index + match[0].length;
    const end = start + (textAt.get(start)?.length ?? 0) + 1;
    const isWhole = match.groups?.['quote'] !== undefined && /^\s*[),]/.test(code.slice(end));
    if (isWhole) add(match, false);
    else computedLines.push(lineAt(source, match.index));
  }
  return { modules, computedLines };
}
