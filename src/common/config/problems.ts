/** Everything that is wrong with a configuration, told at once. */
import { SallyportError } from '../base/errors.ts';

export interface Problem {
  /** Line in the configuration, from 1; undefined when it has none. */
  readonly line: number | undefined;
  /** Key path such as `routes.telemetry.rate`; empty for the whole file. */
  readonly path: string;
  /** What is wrong and what to do; goes on after the path. */
  readonly message: string;
}

/** More would only hide the first. */
const maxShown = 50;

/** One line per problem: `file:line: key path: what is wrong`. */
export function configError(file: string, problems: readonly Problem[]): SallyportError {
  const lines = problems.slice(0, maxShown).map(({ line, path, message }) => {
    const at = line === undefined ? file : `${file}:${line}`;
    return `${at}: ${path === '' ? '' : `${path} `}${message}`;
  });
  if (problems.length > maxShown) lines.push(`${file}: and ${problems.length - maxShown} more`);
  return new SallyportError('invalid-config', lines.join('\n'), {
    hint: 'docs/configuration.md describes every key; "sallyport init" writes a file that works',
  });
}
