/** `device key` and `service key`: what they sign with. A secret is read from a file and never from the command line. */
import { accessSync, constants, existsSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Command } from 'commander';
import { messageOf, SallyportError } from '../../common/base/errors.ts';
import { principalName, printable } from '../../common/base/principal.ts';
import type { PrincipalKind } from '../../common/base/principal.ts';
import { keyIdPattern, parseWireKeyId } from '../../common/identity/wire-key-id.ts';
import type { AddedKey, RemovedKey } from '../../control/admin/ports.ts';
import type { Run } from '../action.ts';
import type { CommandContext } from '../context.ts';
import { parseDuration } from '../duration.ts';
import { readSmallFile, writeKeyFile } from '../files.ts';
import { Gateway } from '../gateway.ts';
import { keyTable } from '../key-table.ts';
import { print } from '../print.ts';
import { readSecretFile, secretEncodings } from '../secret-file.ts';
import { formatFields, formatTime } from '../table.ts';

/** Of a PEM file with one public key. */
const maxPemBytes = 4_096;
/** As the admin API has them, in days. */
const longest = { expires: 3_660, overlap: 92 } as const;
const dayMs = 86_400_000;

interface AddOptions {
  readonly public?: string;
  readonly import?: string;
  readonly encoding?: string;
  readonly id?: string;
  readonly expires?: string;
  readonly replace?: string;
  readonly overlap?: string;
  readonly out?: string;
}

type SigningKind = Exclude<PrincipalKind, 'operator'>;

export function addKeyAdd(group: Command, run: Run, kind: SigningKind): void {
  group
    .command('add')
    .description('register a key; without --public and --import one is made and shown once')
    .argument('<id>')
    .option('--public <file>', 'public key of the device, PEM')
    .option('--import <file>', 'HMAC key that the device has already, 16 to 64 bytes')
    .option('--encoding <how>', `of the imported file: ${secretEncodings.join(', ')}`)
    .option('--id <key>', 'by which the device calls its own key already')
    .option('--expires <duration>', 'how long it is good: 90d; without it, until it is removed')
    .option('--replace <key>', 'the key whose place it takes')
    .option('--overlap <duration>', 'how much longer that one is good; default 7d, 0 = not at all')
    .option('--out <file>', 'write what was made into a new file, 0600, instead of showing it')
    .action((id: string, options: AddOptions) => run((context) => add(context, kind, id, options)));
}

export function addKeyList(group: Command, run: Run, kind: SigningKind): void {
  group
    .command('list')
    .description('show its keys, and nothing that is secret of them')
    .argument('<id>')
    .action((id: string) =>
      run(async (context) => {
        principalName(kind, id);
        const keys = await new Gateway(context).keys(kind, id);
        print(context, keys, () => (keys.length === 0 ? 'It has no keys.\n' : keyTable(keys)));
        return 0;
      }),
    );
}

export function addKeyRemove(group: Command, run: Run, kind: SigningKind): void {
  group
    .command('remove')
    .description('end a key at once, for good')
    .argument('<id>')
    .argument('<key>', 'as in the list')
    .option('--reason <text>', 'for the audit log')
    .action((id: string, key: string, { reason }: { readonly reason?: string }) =>
      run(async (context) => {
        const keyId = keyIdOf(kind, id, key);
        const removed = await new Gateway(context).removeKey(kind, id, keyId, reason);
        print(context, removed, () => removedText(removed));
        return 0;
      }),
    );
}

async function add(
  context: CommandContext,
  kind: SigningKind,
  id: string,
  options: AddOptions,
): Promise<0> {
  const body = { ...keyOf(options), ...termsOf(kind, id, options) };
  principalName(kind, id);
  const { out } = options;
  if (out !== undefined) assertFree(out);
  const gateway = new Gateway(context);
  const isDerived = !('publicKey' in body) && !('secret' in body);
  const added = await (isDerived
    ? gateway.deriveKey(kind, id, body)
    : gateway.addKey(kind, id, body));
  const { key, ...shown } = added;
  if (out === undefined || key === undefined) {
    print(context, added, () => addedText(kind, id, added));
    return 0;
  }
  writeSecret(kind, id, out, { keyId: added.keyId, key });
  print(context, { ...shown, file: out }, () => addedText(kind, id, added, out));
  return 0;
}

/** What is read from files, in the words of the admin API. */
function keyOf(options: AddOptions) {
  const { encoding, id, out } = options;
  const isOwn = options.public !== undefined || options.import !== undefined;
  if (options.public !== undefined && options.import !== undefined) {
    throw new SallyportError('usage', 'one key at a time: --public or --import');
  }
  if (encoding !== undefined && options.import === undefined) {
    throw new SallyportError('usage', '--encoding is of the file of --import');
  }
  if (!isOwn && id !== undefined) {
    throw new SallyportError('usage', '--id is for a key that the device has already', {
      hint: 'one that is made here gets an id that never comes again',
    });
  }
  if (isOwn && out !== undefined) {
    throw new SallyportError('usage', '--out is for a key that is made here');
  }
  const named = id === undefined ? {} : { id };
  if (options.import !== undefined) {
    return { ...named, secret: readSecretFile(options.import, encoding).toString('base64') };
  }
  if (options.public === undefined) return {};
  const publicKey = readSmallFile(options.public, maxPemBytes);
  // Refused here already: it does not leave this process.
  if (publicKey.includes('PRIVATE KEY')) {
    throw new SallyportError('usage', 'this is a private key, which stays on the device', {
      hint: 'take the public half: openssl pkey -in KEY -pubout -out FILE',
    });
  }
  return { ...named, publicKey };
}

function termsOf(kind: SigningKind, id: string, { expires, replace, overlap }: AddOptions) {
  if (replace === undefined && overlap !== undefined) {
    throw new SallyportError('usage', '--overlap is of the key that --replace names');
  }
  return {
    ...(expires === undefined ? {} : { ttlSeconds: secondsOf('expires', expires) }),
    ...(replace === undefined
      ? {}
      : {
          replace: keyIdOf(kind, id, replace),
          overlapSeconds: overlap === '0' ? 0 : secondsOf('overlap', overlap ?? '7d'),
        }),
  };
}

function secondsOf(option: keyof typeof longest, text: string): number {
  const ms = parseDuration(text);
  if (ms <= longest[option] * dayMs) return ms / 1_000;
  throw new SallyportError('usage', `--${option} is ${text}, and ${longest[option]}d at most`);
}

/** The id of a key, also from what it is called on the wire. */
function keyIdOf(kind: SigningKind, id: string, text: string): string {
  const name = principalName(kind, id);
  const named = parseWireKeyId(text);
  if (named?.principal === name) return named.id;
  if (keyIdPattern.test(text)) return text;
  throw new SallyportError('usage', `"${printable(text)}" is no key of ${name}`, {
    hint: `see: sallyport ${kind} key list ${id}`,
  });
}

/** Before anything is made: a key that nobody has seen is of no use. */
function assertFree(out: string): void {
  if (existsSync(out)) {
    throw new SallyportError('already-exists', `${out} is there already and is not overwritten`, {
      hint: 'move it away, or name another file with --out',
    });
  }
  try {
    accessSync(dirname(out), constants.W_OK);
  } catch (error) {
    throw new SallyportError('io', `cannot write ${out}: ${messageOf(error)}`, {
      hint: 'nothing was made; name a file in a folder that is there and yours',
      cause: error,
    });
  }
}

function writeSecret(
  kind: SigningKind,
  id: string,
  out: string,
  secret: { readonly keyId: string; readonly key: string },
): void {
  try {
    writeKeyFile(out, `${JSON.stringify(secret)}\n`);
  } catch (error) {
    throw new SallyportError(
      'io',
      `the key ${secret.keyId} was made and is lost: ${messageOf(error)}`,
      {
        hint: `remove it, and make another: sallyport ${kind} key remove ${id} ${secret.keyId}`,
        cause: error,
      },
    );
  }
}

function addedText(kind: SigningKind, id: string, added: AddedKey, out?: string): string {
  const { keyId, key, algorithm, notAfter, replaced } = added;
  const until = notAfter === undefined ? 'until it is removed' : `until ${formatTime(notAfter)}`;
  const ends =
    replaced === undefined
      ? ''
      : `The key ${replaced.keyId} is good until ${formatTime(replaced.notAfter)}.\n`;
  const terms = `${algorithm}, good ${until}${workersText(added)}. How to sign: docs/signatures.md.\n${ends}`;
  if (key === undefined) return `${kind}/${id} signs as ${keyId}. ${terms}`;
  if (out !== undefined) return `${kind}/${id} signs as ${keyId} with the key in ${out}. ${terms}`;
  const configured = formatFields([
    ['key id', keyId],
    ['key, hex', key],
    ['key, base64', Buffer.from(key, 'hex').toString('base64')],
  ]);
  return `${kind}/${id} signs with this; it is not shown again:\n\n${configured}\n${terms}`;
}

function removedText(removed: RemovedKey): string {
  return `The key ${removed.keyId} has ended${workersText(removed)}.\n`;
}

function workersText({ killed }: Pick<AddedKey, 'killed'>): string {
  return killed === 0 ? '' : `; silent workers killed: ${killed}`;
}
