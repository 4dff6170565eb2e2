/**
 * An ACL file as roles. The user names of mosquitto become ids: who has no section of his own is a device and gets the
 * patterns, who has one is a service with a role of its own. A device or service of a name may never do what mosquitto
 * refuses to the user of that name.
 */
import { isPrincipalId, printable } from '../../common/base/principal.ts';
import { overlaps, splitLevels } from '../../common/base/topic-filter.ts';
import type { AclFile, AclRule } from './acl-file.ts';
import { expressRule, template } from './expressed-rule.ts';
import type { Who } from './expressed-rule.ts';
import type { Finding } from './finding.ts';
import { nameRoles } from './role-names.ts';

export interface Lists {
  readonly publish: readonly string[];
  readonly subscribe: readonly string[];
}

export interface ImportedRole {
  readonly name: string;
  /** User names of mosquitto whose services have this role; none for `device` and `backend`. */
  readonly users: readonly string[];
  readonly allow: Lists;
  readonly deny: Lists;
}

export interface ImportedRules {
  readonly roles: readonly ImportedRole[];
  readonly findings: readonly Finding[];
}

/** What the schema of the configuration accepts; `device` and `backend` are always there. */
const maxRoles = 250;
const maxFilters = 1_000;

/** A rule that can be written into a role. */
interface Written {
  readonly rule: AclRule;
  readonly filter: string;
}

interface Rules {
  readonly allows: readonly Written[];
  readonly denies: readonly Written[];
}

export function importRules(acl: AclFile, clientIdIsUser: boolean): ImportedRules {
  return new Importer(acl, clientIdIsUser).run();
}

class Importer {
  readonly #acl: AclFile;
  readonly #clientIdIsUser: boolean;
  /** By place and what is said of it: a pattern is looked at once for every role. */
  readonly #findings = new Map<string, Finding>();

  constructor(acl: AclFile, clientIdIsUser: boolean) {
    this.#acl = acl;
    this.#clientIdIsUser = clientIdIsUser;
  }

  run(): ImportedRules {
    this.#anonymous();
    const groups = this.#groups();
    const roles = [
      this.#deviceRole(),
      ...nameRoles(groups).map(([name, users]) => this.#userRole(name, users)),
    ];
    // Built in, and open by default: what mosquitto does not allow must be taken away.
    if (!roles.some(({ name }) => name === 'backend')) {
      roles.push({ name: 'backend', users: [], allow: nothing, deny: nothing });
    }
    return { roles, findings: [...this.#findings.values()] };
  }

  #find(rule: AclRule, effect: Finding['effect'], reason: string, instead: string): void {
    const { file, line, access, filter } = rule;
    const what = `${access} ${filter}`;
    this.#findings.set(`${line} ${reason}`, { file, line, what, effect, reason, instead });
  }

  #anonymous(): void {
    const [first] = this.#acl.anonymous;
    if (first === undefined) return;
    this.#findings.set('anonymous', {
      file: first.file,
      line: first.line,
      what: `rules before the first user (${this.#acl.anonymous.length})`,
      effect: 'left-out',
      reason:
        'they are for clients without a user name, and nobody is let in without a certificate',
      instead: 'write them as pattern, which is for everyone, and import again',
    });
  }

  /** Users whose rules are the same but for their own name share a role; each list is never empty. */
  #groups(): readonly (readonly [string, ...string[]])[] {
    const groups = new Map<string, [string, ...string[]]>();
    let left = 0;
    for (const [user, rules] of this.#acl.users) {
      const key = isPrincipalId(user)
        ? JSON.stringify(rules.map(({ access, filter }) => [access, withoutName(filter, user)]))
        : user;
      const group = groups.get(key);
      if (group !== undefined) group.push(user);
      else if (groups.size < maxRoles) groups.set(key, [user]);
      else {
        left += 1;
        const [rule] = rules;
        if (left > 1 || rule === undefined) continue;
        this.#find(
          rule,
          'left-out',
          `there are more than ${maxRoles} different sets of rules: this user and those after it with yet another one have no role`,
          'write what users have in common as pattern with %u and import again',
        );
      }
    }
    return [...groups.values()];
  }

  /** Devices get the patterns. A device may have the name of a user with a section: what that denies, this denies. */
  #deviceRole(): ImportedRole {
    const { allows, denies } = this.#write(this.#acl.patterns, { anyone: true }, true);
    const named = [...this.#acl.users].flatMap(([user, rules]) => {
      if (!isPrincipalId(user)) return [];
      const own = this.#write(
        rules.filter(({ access }) => access === 'deny'),
        { anyone: true },
        false,
      );
      return own.denies
        .filter((deny) =>
          allows.some(({ filter }) => overlaps(filter.replaceAll(template, user), deny.filter)),
        )
        .map((deny) => ({ ...deny, user }));
    });
    for (const { rule, filter, user } of named) {
      if (!allows.some((allow) => meetsAnother(allow.filter, filter, user))) continue;
      this.#find(
        rule,
        'narrower',
        'it is said of one user, and the role device now denies it to every device',
        'nothing, if devices do not need it; else give the user topics of its own',
      );
    }
    return this.#role('device', [], { allows, denies: [...denies, ...named] });
  }

  #userRole(name: string, users: readonly [string, ...string[]]): ImportedRole {
    const [user] = users;
    const isId = isPrincipalId(user);
    const rules = this.#acl.users.get(user) ?? [];
    const own = this.#write(rules, { anyone: true }, false, users.length > 1 ? user : undefined);
    // mosquitto keeps such names from patterns: they could make one mean another topic.
    const patterns = /[+#/]/u.test(user)
      ? { allows: [], denies: [] }
      : this.#write(this.#acl.patterns, isId ? { anyone: true } : { user }, true);
    if (!isId) this.#renamed(user, rules);
    // To mosquitto a denied pattern takes back what patterns allow, not what the user's own section allows.
    const denies = patterns.denies.filter((deny) =>
      patterns.allows.some(({ filter }) => meets(filter, deny.filter)),
    );
    for (const { rule, filter } of denies) {
      if (!own.allows.some((allow) => meets(allow.filter, filter))) continue;
      this.#find(
        rule,
        'narrower',
        `in the role ${name} it wins over what the section of the user allows`,
        'nothing, if that will do; else narrow the pattern and import again',
      );
    }
    return this.#role(name, users, {
      allows: [...own.allows, ...patterns.allows],
      denies: [...own.denies, ...denies],
    });
  }

  #renamed(user: string, [rule]: readonly AclRule[]): void {
    if (rule === undefined) return;
    this.#findings.set(`renamed ${user}`, {
      file: rule.file,
      line: rule.line,
      what: `user ${printable(user)}`,
      effect: 'narrower',
      reason: 'its name cannot be an id',
      instead:
        'create the service under a name of letters, digits, ".", "_", ":" and "-" with the role that lists it',
    });
  }

  #write(rules: readonly AclRule[], who: Who, isPattern: boolean, own?: string): Rules {
    const allows: Written[] = [];
    const denies: Written[] = [];
    for (const rule of rules) {
      const said = expressRule(rule, who, {
        isPattern,
        clientIdIsUser: this.#clientIdIsUser,
        ...(own === undefined ? {} : { own }),
      });
      if (!('filter' in said)) {
        // What cannot be reached needs no denial.
        if (rule.access !== 'deny') this.#find(rule, 'left-out', said.reason, said.instead);
        continue;
      }
      if (said.widened) {
        this.#find(
          rule,
          'narrower',
          `it cannot be written exactly and denies ${said.filter}`,
          'give the id a level of its own in the topic, and use %u in place of %c',
        );
      }
      (rule.access === 'deny' ? denies : allows).push({ rule, filter: said.filter });
    }
    return { allows, denies };
  }

  #role(name: string, users: readonly string[], { allows, denies }: Rules): ImportedRole {
    const denied = unique(denies.map(({ filter }) => filter));
    if (denied.length > maxFilters) {
      this.#tooMany(
        denies[maxFilters],
        `the role ${name} has more than ${maxFilters} denied filters and allows nothing`,
      );
      return { name, users, allow: nothing, deny: nothing };
    }
    const of = (wanted: 'read' | 'write'): readonly string[] => {
      const own = allows.filter(
        ({ rule: { access } }) => access === wanted || access === 'readwrite',
      );
      const filters = unique(own.map(({ filter }) => filter));
      if (filters.length > maxFilters) {
        this.#tooMany(
          own.find(({ filter }) => filter === filters[maxFilters]),
          `the role ${name} has more than ${maxFilters} filters: this one and those after it are not in it`,
        );
      }
      return filters.slice(0, maxFilters);
    };
    return {
      name,
      users,
      allow: { publish: of('write'), subscribe: of('read') },
      deny: { publish: denied, subscribe: denied },
    };
  }

  #tooMany(at: Written | undefined, reason: string): void {
    if (at === undefined) return;
    this.#find(at.rule, 'left-out', reason, 'use wildcards or patterns with %u and import again');
  }
}

const nothing: Lists = { publish: [], subscribe: [] };

function unique(filters: readonly string[]): readonly string[] {
  return [...new Set(filters)];
}

/** What two users whose rules differ in their own name have in common. NUL is in no topic. */
function withoutName(filter: string, user: string): string {
  return splitLevels(filter)
    .map((level) => (level === user ? '\0' : level))
    .join('/');
}

/** Some id and topic are in both. */
function meets(a: string, b: string): boolean {
  return overlaps(a.replaceAll(template, '+'), b.replaceAll(template, '+'));
}

/** The same for an id that is not `user`. Too often rather than too seldom. */
function meetsAnother(allowed: string, denied: string, user: string): boolean {
  const levels = splitLevels(denied);
  const isOwn = splitLevels(allowed).some((level, i) => level === template && levels[i] === user);
  return !isOwn && meets(allowed, denied);
}
