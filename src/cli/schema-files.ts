/** Payload schemas beside the configuration: where they are, and how one is read. */
import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { SallyportError } from '../common/base/errors.ts';
import { printable } from '../common/base/principal.ts';
import { parseStrictJsonText } from '../common/base/strict-json.ts';
import { readSmallFile } from './files.ts';

export const schemaFolder = 'schemas';
export const defaultConfig = 'sallyport.yaml';

/** With room for white space: what counts is the schema without it. */
const maxFileBytes = 1024 * 1024;
const schemaName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/u;

/** As the configuration names it. @throws SallyportError `usage` when it is no name. */
export function schemaReference(name: string): string {
  if (!schemaName.test(name)) {
    throw new SallyportError('usage', `"${printable(name)}" is no name for a schema`, {
      hint: 'use letters, digits, ".", "_" and "-", at most 64, and no path',
    });
  }
  return `${schemaFolder}/${name.endsWith('.json') ? name : `${name}.json`}`;
}

export function besideConfig(config: string, reference: string): string {
  return resolve(dirname(config), reference);
}

/** The file of a name that was added, or else the file that it is itself. */
export function schemaFile(config: string, nameOrFile: string): string {
  if (!schemaName.test(nameOrFile)) return nameOrFile;
  const added = besideConfig(config, schemaReference(nameOrFile));
  return existsSync(added) ? added : nameOrFile;
}

export interface SchemaText {
  readonly text: string;
  readonly schema: unknown;
}

/** @throws SallyportError `invalid-config` when it is not JSON; `io` when it cannot be read. */
export function readSchema(file: string): SchemaText {
  const text = readSmallFile(file, maxFileBytes);
  const parsed = parseStrictJsonText(text);
  if (!parsed.ok) {
    throw new SallyportError('invalid-config', `${file} is not a schema: it ${parsed.problem}`, {
      hint: 'a schema is JSON; correct the file',
    });
  }
  return { text, schema: parsed.value };
}

export function configFolder(config: string): string {
  if (existsSync(config)) return dirname(resolve(config));
  throw new SallyportError('io', `there is no configuration ${config}`, {
    hint: 'name it with --config, or write one with "sallyport init"',
  });
}

export function schemasIn(folder: string): string {
  return join(folder, schemaFolder);
}
