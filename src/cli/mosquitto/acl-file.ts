/** mosquitto's ACL file, read as strictly as mosquitto 2 reads it. */
import { printable } from '../../common/base/principal.ts';
import { filterProblem } from '../../common/base/topic-filter.ts';
import { refused } from './finding.ts';
import type { Place } from './finding.ts';

const accesses = ['read', 'write', 'readwrite', 'deny'] as const;
export type Access = (typeof accesses)[number];

export interface AclRule extends Place {
  readonly access: Access;
  /** As written; `%u` and `%c` mean something in a pattern only. */
  readonly filter: string;
}

export interface AclFile {
  /** For clients without a user name. */
  readonly anonymous: readonly AclRule[];
  /** By user name; a user whose section has no rule is not here. */
  readonly users: ReadonlyMap<string, readonly AclRule[]>;
  /** For everyone. */
  readonly patterns: readonly AclRule[];
}

const maxRules = 100_000;
/** Every pattern is held against every rule of a user. */
const maxPatterns = 500;
const startsAgain = 'correct the line; mosquitto does not start with it either';

/** @throws SallyportError `invalid-config` with file and line for what mosquitto refuses to start with. */
export function parseAcl(text: string, file: string): AclFile {
  const anonymous: AclRule[] = [];
  const patterns: AclRule[] = [];
  const users = new Map<string, AclRule[]>();
  let rules = 0;
  let user: string | undefined;
  for (const [index, raw] of text.split('\n').entries()) {
    const place = { file, line: index + 1 };
    // mosquitto strips the end of a line alone: a comment or a keyword after other white space is an error to it.
    const line = raw.replace(/[ \t\v\f\r]+$/u, '');
    if (line === '' || line.startsWith('#')) continue;
    const [keyword, rest] = firstWord(line);
    if (keyword === 'user') {
      user = rest.replace(/^[ \t\v\f\r]+/u, '');
      if (user === '') throw refused(place, '"user" names nobody', startsAgain);
      continue;
    }
    if (keyword !== 'topic' && keyword !== 'pattern') {
      throw refused(place, `"${printable(keyword)}" is no line of an ACL file`, startsAgain);
    }
    rules += 1;
    if (rules > maxRules) throw refused(place, `there are more than ${maxRules} rules`, 'split it');
    const rule = ruleOf(rest, place);
    if (patterns.length >= maxPatterns && keyword === 'pattern') {
      throw refused(place, `there are more than ${maxPatterns} patterns`, 'use wildcards');
    }
    if (keyword === 'pattern') patterns.push(rule);
    else if (user === undefined) anonymous.push(rule);
    else {
      const own = users.get(user);
      if (own === undefined) users.set(user, [rule]);
      else own.push(rule);
    }
  }
  return { anonymous, users, patterns };
}

/** `read a b` is access and filter; a single word is a filter for reading and writing, even when it is `read`. */
function ruleOf(text: string, place: Place): AclRule {
  if (text === '') throw refused(place, 'the topic is missing', startsAgain);
  const [word, rest] = firstWord(text);
  const access = rest === '' ? 'readwrite' : accesses.find((known) => known === word);
  if (access === undefined) {
    const known = accesses.join(', ');
    throw refused(place, `"${printable(word)}" is none of ${known}`, startsAgain);
  }
  const filter = rest === '' ? word : rest;
  const problem = filterProblem(filter);
  if (problem !== undefined) throw refused(place, problem, startsAgain);
  return { ...place, access, filter };
}

/** Spaces separate, tabs do not. */
function firstWord(line: string): [word: string, rest: string] {
  const text = line.replace(/^ +/u, '');
  const at = text.indexOf(' ');
  if (at === -1) return [text, ''];
  return [text.slice(0, at), text.slice(at).replace(/^ +/u, '')];
}
