/** mosquitto.conf(5) as a list of statements, those of `include_dir` in their place. */
import { refused } from './finding.ts';
import type { Place } from './finding.ts';
import type { SourceFiles } from './source-files.ts';

export interface Statement {
  readonly place: Place;
  readonly name: string;
  /** Without the blanks around it; empty when there is none. */
  readonly value: string;
  /** Which file of the configuration it is in, from 0; what a file says of a listener ends with the file. */
  readonly part: number;
}

const maxStatements = 100_000;

/** @throws SallyportError when a file cannot be read, is included twice, or there are more than 100,000 statements. */
export function readStatements(main: string, files: SourceFiles): readonly Statement[] {
  const statements: Statement[] = [];
  let part = 0;
  const readFile = (file: string, included: boolean): void => {
    const own = part;
    part += 1;
    for (const [index, line] of files.text(file).split('\n').entries()) {
      const place = { file, line: index + 1 };
      const { name, value } = split(line);
      if (name === '') continue;
      if (statements.length >= maxStatements) {
        throw refused(place, `there are more than ${maxStatements} statements`, 'split the file');
      }
      // In an included file mosquitto passes over it in silence, which is also what keeps files from including another.
      if (name === 'include_dir' && included) continue;
      if (name !== 'include_dir') {
        statements.push({ place, name, value, part: own });
        continue;
      }
      if (value === '') throw refused(place, 'include_dir names no folder', 'name one');
      for (const found of files.configurations(files.locate(value))) readFile(found, true);
    }
  };
  readFile(main, false);
  return statements;
}

function split(line: string): { name: string; value: string } {
  const text = line.replace(/^[ \t\v\f\r]+|[ \t\v\f\r]+$/gu, '');
  // Only a space separates a name from its value: after a tab mosquitto does not know the name either.
  const at = text.indexOf(' ');
  if (text.startsWith('#')) return { name: '', value: '' };
  return at === -1
    ? { name: text, value: '' }
    : { name: text.slice(0, at), value: text.slice(at).replace(/^[ \t]+/u, '') };
}
