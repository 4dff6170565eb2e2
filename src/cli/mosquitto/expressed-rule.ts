/**
 * One rule of an ACL in the words of a role. What is allowed is carried over exactly or not at all; what is denied may
 * grow, so that nothing is allowed that mosquitto denies.
 */
import { textProblem } from '../../common/config/units.ts';
import { splitLevels } from '../../common/base/topic-filter.ts';
import type { AclRule } from './acl-file.ts';

/** Whom `%u` stands for: whoever has the role, or one user whose name no identity can have. */
export type Who = { readonly anyone: true } | { readonly user: string };

export type Expressed =
  | { readonly filter: string; readonly widened: boolean }
  | { readonly reason: string; readonly instead: string };

/** A level of a role that stands for the id of whoever has it. */
export const template = '${id}';

export interface Reading {
  /** `%u` and `%c` are nothing but text outside of patterns. */
  readonly isPattern: boolean;
  /** mosquitto makes the user name the client id, so that `%c` means `%u`. */
  readonly clientIdIsUser: boolean;
  /** A user name that stands for whoever has the role, where it is a whole level. */
  readonly own?: string;
}

export function expressRule(rule: AclRule, who: Who, reading: Reading): Expressed {
  const { isPattern, clientIdIsUser, own } = reading;
  if (rule.filter.startsWith('$')) {
    return {
      reason: 'topics that begin with "$" are closed to everyone',
      instead: 'read /metrics on the admin listener for what $SYS says',
    };
  }
  let problem: Expressed | undefined;
  const levels = splitLevels(rule.filter).map((level) => {
    if (level === own) return template;
    const written = isPattern ? substituted(level, who, clientIdIsUser) : literal(level);
    if (typeof written === 'string') return written;
    problem ??= written;
    return '+';
  });
  const denies = rule.access === 'deny';
  if (problem !== undefined && !denies) return problem;
  const filter = levels.join('/');
  // A role with it would not be accepted: a URL with a user name, or a name that turned into something else.
  if (textProblem('role-filter', filter) !== undefined || /:\/\/[^/?#\s]*@/u.test(filter)) {
    return denies
      ? { filter: '#', widened: true }
      : { reason: 'a role cannot have this filter', instead: 'rename the topic' };
  }
  return { filter, widened: problem !== undefined };
}

type Level = string | { readonly reason: string; readonly instead: string };

function literal(level: string): Level {
  if (!level.includes('${')) return level;
  return { reason: '"${" begins a template in a role', instead: 'rename the topic' };
}

function substituted(level: string, who: Who, clientIdIsUser: boolean): Level {
  const text = clientIdIsUser ? level.replaceAll('%c', '%u') : level;
  if (text.includes('%c')) {
    return {
      reason: '%c is the client id, which a client chooses itself',
      instead: 'write %u: the name in its certificate',
    };
  }
  if (!text.includes('%u')) return literal(level);
  if ('user' in who) return literal(text.replaceAll('%u', () => who.user));
  if (text === '%u') return template;
  return {
    reason: 'an id in a role is a whole level, never a part of one',
    instead: 'give the id a level of its own in the topic',
  };
}
