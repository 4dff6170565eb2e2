/**
 * The only reader of configuration files: the text, every file it refers to and the secrets that workers need, bounded,
 * in one bundle.
 */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import path from 'node:path';
import { SallyportError, messageOf } from '../base/errors.ts';
import type { ConfigBundle } from './config-bundle.ts';
import { checkConfigText } from './filled-config.ts';
import type { CheckedText, FilledBackend, FilledSecret } from './filled-config.ts';
import { backendKeyAt } from './parse-backends.ts';
import { upstreamKeyAt } from './parse-proxied.ts';
import { clientSecretAt } from './parse-tokens.ts';
import { configError } from './problems.ts';
import type { Problem } from './problems.ts';
import { forbiddenMode, secretPath, secretSource } from './secret-path.ts';
import type { Path } from './yaml-source.ts';

const maxConfigBytes = 1024 * 1024;
const maxFileBytes = 4 * 1024 * 1024;
const maxFiles = 1_000;
/** An RSA key of 16,384 bits in PEM is 13 KiB. */
const maxSecretBytes = 32 * 1024;
/** A bundle is sent to control in one message. */
const maxBundleBytes = 16 * 1024 * 1024;

export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * @param configPath undefined = the embedded defaults.
 * @param environment in which secrets are looked up; undefined = none is read, the configuration is only checked.
 * @throws SallyportError `invalid-config` when a file is missing, others can get at a secret, or the text is refused by
 *   the schema.
 */
export function loadConfigBundle(
  configPath: string | undefined,
  environment?: Environment,
): ConfigBundle {
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
  const bundle = { configPath: absolute, configText, files };
  if (environment === undefined) {
    checked.failIfAny(problems);
    return bundle;
  }
  const secrets = readSecrets(absolute, checked, environment, problems);
  checked.failIfAny(problems);
  return { ...bundle, secrets };
}

/** Keys and passwords that the gateway shows to others: workers need them, and control, which sends them on, may not read the operator's files. */
function readSecrets(
  configPath: string,
  checked: CheckedText,
  environment: Environment,
  problems: Problem[],
): Record<string, string> {
  // Typed `any` by the library.
  const secrets = Object.create(null) as Record<string, string>;
  for (const { at, name, written } of secretsOf(checked)) {
    const source = secretSource(written, configPath);
    if (source === undefined) continue;
    try {
      const file = secretPath(source, environment);
      secrets[name] = readText(file, maxSecretBytes, forbiddenMode(source));
    } catch (thrown) {
      const hint = thrown instanceof SallyportError ? thrown.hint : undefined;
      const what = `cannot be read: ${messageOf(thrown)}${hint === undefined ? '' : `; ${hint}`}`;
      problems.push(checked.problem(at, what));
    }
  }
  return secrets;
}

/** With the name under which each lies in the bundle. */
function secretsOf(checked: CheckedText): readonly {
  readonly at: Path;
  readonly name: string;
  readonly written: FilledSecret | undefined;
}[] {
  const { routes, tokens } = checked.filled;
  return [
    ...backendsOf(checked).map(({ route, index, backend }) => ({
      at: ['routes', route, 'to', index, 'key'],
      name: backendKeyAt(route, index),
      written: backend.key,
    })),
    ...Object.entries(routes).map(([route, { proxy }]) => ({
      at: ['routes', route, 'proxy', 'key'],
      name: upstreamKeyAt(route),
      written: proxy.key,
    })),
    ...tokens.issuers.map(({ introspection }, index) => ({
      at: ['tokens', 'issuers', index, 'introspection', 'clientSecret'],
      name: clientSecretAt(index),
      written: introspection?.clientSecret,
    })),
  ];
}

function backendsOf({ filled }: CheckedText): readonly {
  readonly route: string;
  readonly index: number;
  readonly backend: FilledBackend;
}[] {
  return Object.entries(filled.routes).flatMap(([route, { to }]) =>
    to.map((backend, index) => ({ route, index, backend })),
  );
}

/** The files that hold no secret. Keys and tokens are read by the process that needs them. */
function references(checked: CheckedText): readonly { readonly at: Path; readonly file: string }[] {
  const { filled } = checked;
  return [
    ...Object.entries(filled.routes).flatMap(([name, { schema }]) =>
      schema === undefined ? [] : [{ at: ['routes', name, 'schema'], file: schema }],
    ),
    ...filled.ca.trustAnchors.map(({ file }, i) => ({
      at: ['ca', 'trustAnchors', i, 'file'],
      file,
    })),
    ...filled.enrolment.manufacturers.map(({ file }, i) => ({
      at: ['enrolment', 'manufacturers', i, 'file'],
      file,
    })),
    ...Object.entries(filled.routes).flatMap(([name, { proxy }]) =>
      (['ca', 'certificate'] as const).flatMap((key) => {
        const file = proxy[key];
        return file === undefined ? [] : [{ at: ['routes', name, 'proxy', key], file }];
      }),
    ),
    ...filled.tokens.issuers.flatMap(({ jwks, introspection }, i) => {
      const named = [
        ['jwks', typeof jwks === 'object' ? jwks.ca : undefined],
        ['introspection', introspection?.ca],
      ] as const;
      return named.flatMap(([key, file]) =>
        file === undefined ? [] : [{ at: ['tokens', 'issuers', i, key, 'ca'], file }],
      );
    }),
    ...backendsOf(checked).flatMap(({ route, index, backend }) =>
      (['ca', 'certificate'] as const).flatMap((key) => {
        const file = backend[key];
        return file === undefined ? [] : [{ at: ['routes', route, 'to', index, key], file }];
      }),
    ),
  ];
}

/** A regular file, whole, as UTF-8. Never waits on a pipe, never reads past `maxBytes`. */
export function readText(file: string, maxBytes: number, forbidden = 0): string {
  const descriptor = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stat = fstatSync(descriptor);
    if (!stat.isFile()) throw new SallyportError('invalid-config', 'it is not a regular file');
    if ((stat.mode & forbidden) !== 0)
      throw new SallyportError('no-key', `others can get at ${file}`, {
        hint: `run: chmod 600 ${file}`,
      });
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
