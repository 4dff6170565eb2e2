/**
 * The texts that a configuration writes quantities in, and what else is checked by more than a pattern.
 */
import { filterProblem, splitLevels } from '../base/topic-filter.ts';

/** Each of these is the `kind` of some value in the schema of the configuration. */
export type TextKind =
  | 'duration'
  | 'size'
  | 'rate'
  | 'topic-filter'
  | 'role-filter'
  | 'host'
  | 'trust-domain'
  | 'server-name'
  | 'path'
  | 'name'
  | 'id-prefix'
  | 'auto';

const durationUnits: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};
const sizeUnits: Readonly<Record<string, number>> = {
  B: 1,
  KiB: 1_024,
  MiB: 1_048_576,
  GiB: 1_073_741_824,
};
const rateUnits: Readonly<Record<string, number>> = {
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  day: 86_400_000,
};

/** The longest that a timer of Node can wait; a longer one would fire at once. */
const longestMs = 2_147_483_647;

/** `10s` → 10000; undefined when the text is no duration above zero that a timer can wait. */
export function durationMs(text: string): number | undefined {
  const [, amount, unit = ''] = /^(\d{1,9})(ms|s|m|h|d)$/u.exec(text) ?? [];
  const factor = durationUnits[unit];
  if (amount === undefined || factor === undefined) return undefined;
  const ms = Number(amount) * factor;
  return ms > 0 && ms <= longestMs ? ms : undefined;
}

/** `64KiB` → 65536; undefined when the text is no size from 1B to 1GiB. */
export function sizeBytes(text: string): number | undefined {
  const [, amount, unit = ''] = /^(\d{1,12})(B|KiB|MiB|GiB)$/u.exec(text) ?? [];
  const factor = sizeUnits[unit];
  if (amount === undefined || factor === undefined) return undefined;
  const bytes = Number(amount) * factor;
  return bytes > 0 && bytes <= 1_073_741_824 ? bytes : undefined;
}

/** `5/s` → 5 per 1000 ms; undefined when the text is no rate. */
export function rateOf(
  text: string,
): { readonly limit: number; readonly perMs: number } | undefined {
  const [, amount, unit = ''] = /^(\d{1,9})\/(s|m|h|day)$/u.exec(text) ?? [];
  const perMs = rateUnits[unit];
  const limit = Number(amount);
  return amount === undefined || perMs === undefined || limit === 0 ? undefined : { limit, perMs };
}

/** Why `text` is not of that kind, as the end of a sentence; undefined when it is. */
export function textProblem(kind: TextKind, text: string): string | undefined {
  switch (kind) {
    case 'duration':
      return durationMs(text) === undefined
        ? 'is not a duration such as 500ms, 10s, 5m, 24h or 7d (24d at most)'
        : undefined;
    case 'size':
      return sizeBytes(text) === undefined
        ? 'is not a size such as 512B, 64KiB or 1MiB (1GiB at most)'
        : undefined;
    case 'rate':
      return rateOf(text) === undefined
        ? 'is not a rate above zero such as 5/s, 100/m, 1000/h or 5000/day'
        : undefined;
    case 'topic-filter':
      return whenDefined(
        filterProblem(text) ?? reservedProblem(text) ?? templateProblem(text, false),
      );
    case 'role-filter':
      return whenDefined(
        filterProblem(text) ?? reservedProblem(text) ?? templateProblem(text, true),
      );
    case 'host':
      return isHost(text) ? undefined : 'is not a host name or an IP address';
    case 'server-name':
      return isHost(text) || /^\*\.[a-z0-9.-]+$/iu.test(text)
        ? undefined
        : 'is not a DNS name or an IP address';
    case 'trust-domain':
      return /^(?=.{1,255}$)[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?$/u.test(text)
        ? undefined
        : 'is not a SPIFFE trust domain: lower-case letters, digits, ".", "-" and "_"';
    case 'path':
      return pathProblem(text);
    case 'name':
      return /^[a-z][a-z0-9_-]{0,63}$/u.test(text)
        ? undefined
        : 'is not a name: 1 to 64 lower-case letters, digits, "_" and "-", starting with a letter';
    case 'id-prefix':
      return /^(?:[A-Za-z0-9][A-Za-z0-9._:-]{0,63})?$/u.test(text)
        ? undefined
        : 'cannot begin an id: at most 64 letters, digits, ".", "_", ":" and "-", starting with a letter or digit';
    case 'auto':
      return text === 'auto' ? undefined : 'is neither a number nor "auto"';
  }
}

function whenDefined(problem: string | undefined): string | undefined {
  return problem === undefined ? undefined : `is not allowed: ${problem}`;
}

function reservedProblem(filter: string): string | undefined {
  return filter.startsWith('$') ? 'topics that begin with "$" are the gateway\'s own' : undefined;
}

/** The only template, and only as a whole level: an id that is glued to other text could be made to mean another. */
function templateProblem(filter: string, allowed: boolean): string | undefined {
  for (const level of splitLevels(filter)) {
    if (!level.includes('${')) continue;
    if (!allowed) return 'a route is the same for everyone; "${id}" belongs in roles';
    if (level !== '${id}') return `"${level}": the only template is "\${id}", as a whole level`;
  }
  return undefined;
}

function isHost(text: string): boolean {
  if (text.length > 253) return false;
  if (/^[0-9a-f:.]*:[0-9a-f:.]*$/iu.test(text)) return URL.canParse(`http://[${text}]/`);
  if (/^[\d.]+$/u.test(text))
    return /^(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?!$)|$)){4}$/u.test(text);
  return text
    .split('.')
    .every((label) => /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/iu.test(label));
}

function pathProblem(text: string): string | undefined {
  if (text === '' || text.includes('\0')) return 'is not a path';
  // A path never needs this, and a URL with a password would end up in messages and logs.
  if (/^[a-z][a-z0-9+.-]*:\/\//iu.test(text))
    return 'is a URL; only files on this machine are read';
  return text.length > 4_096 ? 'is too long' : undefined;
}
