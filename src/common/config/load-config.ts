/** The only reader of configuration files: the text and every file it refers to, bounded, in one bundle. */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import path from 'node:path';
import { SallyportError, messageOf } from '../base/errors.ts';
import type { ConfigBundle } from './config-bundle.ts';
import { checkConfigText } from './filled-config.ts';
import type { CheckedText } from './filled-config.ts';
import { configError } from './problems.ts';
import type { Problem } from './problems.ts';
import type { Path } from './yaml-source.ts';

const maxConfigBytes = 1024 * 1024;
const maxFileBytes = 4 * 1024 * 1024;
const maxFiles = 1_000;
/** A bundle is sent to control in one message. */
const maxBundleBytes = 16 * 1024 * 1024;

/**
 * @param configPath undefined = the embedded defaults.
 * @throws SallyportError `invalid-config` when a file is missing or the text is refused by the schema.
 */
export function loadConfigBundle(configPath: string | undefined): ConfigBundle {
  if (configPath === undefined) return { configPath, configText: '', files: {} };
  const absolute = path.resolve(configPath);
  let configText: string;
  try {
    configText = readText(absolute, maxConfigBytes);
  } catch (thrown) {
    throw configError(absolute, [
      { line: undefined, path: '', message: `cannot be read: ${messageOf(thrown)}` },
    ]);
  }
  const checked = checkConfigText(absolute, configText);
  // Typed `any` by the library.
  const files = Object.create(null) as Record<string, string>;
  const problems: Problem[] = [];
  let total = 0;
  for (const { at, file } of references(checked)) {
    if (Object.hasOwn(files, file)) continue;
    try {
      const text = readText(path.resolve(path.dirname(absolute), file), maxFileBytes);
      total += text.length;
      if (total > maxBundleBytes)
        throw new SallyportError(
          'invalid-config',
          `the files together are larger than ${maxBundleBytes} bytes`,
        );
      if (Object.keys(files).length >= maxFiles)
        throw new SallyportError('invalid-config', `there are more than ${maxFiles} files`);
      files[file] = text;
    } catch (thrown) {
      problems.push(
        checked.problem(
          at,
          `names ${JSON.stringify(file)}, which cannot be read: ${messageOf(thrown)}; correct the path or make the file readable`,
        ),
      );
      if (problems.length > 50) break;
    }
  }
  checked.failIfAny(problems);
  return { configPath: absolute, configText, files };
}

/** The files that hold no secret. Keys and tokens are read by the process that needs them. */
function references({
  filled,
}: CheckedText): readonly { readonly at: Path; readonly file: string }[] {
  return [
    ...Object.entries(filled.routes).flatMap(([name, { schema }]) =>
      schema === undefined ? [] : [{ at: ['routes', name, 'schema'], file: schema }],
    ),
    ...filled.ca.trustAnchors.map(({ file }, i) => ({
      at: ['ca', 'trustAnchors', i, 'file'],
      file,
    })),
  ];
}

/** A regular file, whole, as UTF-8. Never waits on a pipe, never reads past `maxBytes`. */
function readText(file: string, maxBytes: number): string {
  const descriptor = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stat = fstatSync(descriptor);
    if (!stat.isFile()) throw new SallyportError('invalid-config', 'it is not a regular file');
    if (stat.size > maxBytes)
      throw new SallyportError('invalid-config', `it is larger than ${maxBytes} bytes`);
    // One byte more than allowed, in case it grows while it is read.
    const buffer = Buffer.alloc(Math.min(stat.size, maxBytes) + 1);
    let length = 0;
    while (length < buffer.length) {
      const read = readSync(descriptor, buffer, length, buffer.length - length, null);
      if (read === 0) break;
      length += read;
    }
    if (length > stat.size)
      throw new SallyportError('invalid-config', 'it changed while it was read');
    return new TextDecoder('utf-8', { fatal: true }).decode(buffer.subarray(0, length));
  } finally {
    closeSync(descriptor);
  }
}
