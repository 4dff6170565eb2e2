/**
 * Patterns of request paths. `/a/b` is that path and no other, `/a/` everything below it, and `/` every path. A segment
 * `*` stands for any one segment that is not empty, `${id}` for the id of whoever asks. Segments are compared after
 * decoding: `/a%3Ab` is `/a:b` to the server behind, and so it is here.
 */
import { canonicalPath } from './canonical-path.ts';
import { printable } from './principal.ts';

/** A segment that is no text of its own. */
export const anySegment = Symbol('*');
export const idSegment = Symbol('${id}');
type PatternSegment = string | typeof anySegment | typeof idSegment;

export interface PathPattern {
  /** Decoded. */
  readonly segments: readonly PatternSegment[];
  /** Everything below these segments, and not they themselves. */
  readonly subtree: boolean;
}

const template = '${id}';
/** Bounds matching; no interface of devices is deeper. */
const maxSegments = 16;
const maxLength = 512;

/** Why `text` is no pattern, or undefined. */
export function pathPatternProblem(text: string): string | undefined {
  if (text.length > maxLength) return `a path of more than ${maxLength} characters`;
  const segments = text.split('/');
  if (segments.length - 1 > maxSegments) return `a path of more than ${maxSegments} segments`;
  for (const segment of segments) {
    if (segment.includes('*') && segment !== '*') return '"*" must be a whole segment';
    if (segment.includes('${') && segment !== template)
      return `"${printable(segment)}": the only template is "\${id}", as a whole segment`;
    if (segment.includes(';')) return 'a path parameter (";…") belongs to no rule';
  }
  const plain = text.replaceAll(template, '*');
  const canonical = canonicalPath(plain);
  if (!canonical.ok) return canonical.problem;
  return canonical.path === plain ? undefined : `it is written "${printable(canonical.path)}"`;
}

/** `text` MUST be a pattern. */
export function parsePathPattern(text: string): PathPattern {
  const segments = text.slice(1).split('/');
  const subtree = segments.at(-1) === '';
  if (subtree) segments.pop();
  return Object.freeze({ segments: Object.freeze(segments.map(patternSegment)), subtree });
}

function patternSegment(text: string): PatternSegment {
  if (text === '*') return anySegment;
  return text === template ? idSegment : decodeURIComponent(text);
}

/** The same for two patterns that match the same paths of everybody. */
export function patternKey({ segments, subtree }: PathPattern): string {
  const texts = segments.map((segment) => {
    if (segment === anySegment) return '*';
    // A star that is meant as such is written as an escape.
    return segment === idSegment ? template : encodeURIComponent(segment).replaceAll('*', '%2A');
  });
  return `${texts.join('/')}${subtree ? '/' : ''}`;
}

/** What the gateway answers itself, with all that is below: no route leads on from there. */
const reservedPaths = ['/api/v1', '/api/firmware', '/mqtt', '/oauth2', '/.well-known'] as const;

/** Asked of every request: a search through the list would cost more than finding its route. */
const beginsReserved = /^\/(?:api\/|mqtt|oauth2|\.well-known)/u;

/** Which of the gateway's own paths this reading, or the text of this pattern, is at or below; undefined = none. */
export function reservedPath(path: string): (typeof reservedPaths)[number] | undefined {
  if (!beginsReserved.test(path)) return undefined;
  return reservedPaths.find((own) => path === own || path.startsWith(`${own}/`));
}

/**
 * What servers behind may take one path for, each with its segments decoded, which cannot hold a slash: several only where
 * it has path parameters.
 */
export type PathReadings = readonly [string, ...string[]];

/**
 * Some servers drop parameters (`a;x` is `a`), before they decode or after it, and some know none. Whatever opens a path
 * has to do so in every reading; whatever closes it does so in one.
 *
 * @param path canonical.
 */
export function pathReadings(path: string): PathReadings {
  const isEscaped = path.includes('%');
  if (!isEscaped && !path.includes(';')) return [path];
  if (!isEscaped) return [path, withoutParameters(path)];
  const decoded = decodeURIComponent(path);
  if (!decoded.includes(';')) return [decoded];
  return [decoded, decodeURIComponent(withoutParameters(path)), withoutParameters(decoded)];
}

function withoutParameters(path: string): string {
  return path.replaceAll(/;[^/]*/gu, '');
}

/** With a slash at its end instead of without, or the other way round: to many a server the same. */
export function otherEnd(reading: string): string {
  if (!reading.endsWith('/')) return `${reading}/`;
  return reading === '/' ? reading : reading.slice(0, -1);
}

/** At the first segment in which they differ a literal one wins over `${id}`, that over `*`, and any over none. */
export function isMoreSpecific(a: PathPattern, b: PathPattern): boolean {
  const most = Math.max(a.segments.length, b.segments.length);
  for (let i = 0; i < most; i += 1) {
    const order = segmentRank(a.segments[i]) - segmentRank(b.segments[i]);
    if (order !== 0) return order < 0;
  }
  return false;
}

function segmentRank(segment: PatternSegment | undefined): number {
  if (segment === undefined) return 3;
  if (segment === anySegment) return 2;
  return segment === idSegment ? 1 : 0;
}

/** @param id undefined: of nobody, and `${id}` matches nothing. */
export function matchesPattern(
  { segments, subtree }: PathPattern,
  reading: string,
  id: string | undefined,
): boolean {
  let at = 1;
  for (const segment of segments) {
    // The path has ended before the pattern.
    if (at === 0) return false;
    const sent = segmentAt(reading, at);
    const isMatch =
      segment === anySegment ? sent !== '' : sent === (segment === idSegment ? id : segment);
    if (!isMatch) return false;
    at = nextSegment(reading, at);
  }
  return subtree ? at !== 0 : at === 0;
}

/** The segment of a reading that begins at `at`; the first one does at 1. */
function segmentAt(reading: string, at: number): string {
  const end = reading.indexOf('/', at);
  return end < 0 ? reading.slice(at) : reading.slice(at, end);
}

/** Where the one after it begins; 0 = there is none. */
function nextSegment(reading: string, at: number): number {
  return reading.indexOf('/', at) + 1;
}
