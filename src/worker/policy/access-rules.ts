/**
 * Who may publish and subscribe where. Compiled from the roles of the policy; answers with the rule that decided, so
 * that a refusal can be explained by the same code that made it.
 */
import {
  matchesPattern,
  otherEnd,
  parsePathPattern,
  pathReadings,
} from '../../common/base/path-pattern.ts';
import type { PathPattern, PathReadings } from '../../common/base/path-pattern.ts';
import { printable } from '../../common/base/principal.ts';
import {
  coversLevels,
  filterProblem,
  matchesLevels,
  overlapsLevels,
  splitLevels,
  topicProblem,
} from '../../common/base/topic-filter.ts';
import type { RoleDocument } from '../../common/config/policy-document.ts';
import type { ProxiedRouteDocument } from '../../common/config/proxied-route.ts';

export interface Rule {
  readonly role: string;
  readonly list: 'allow' | 'deny';
  readonly action: 'publish' | 'subscribe' | 'request';
  /** Position in that list of the configuration. */
  readonly index: number;
  /** As configured, with its template. */
  readonly filter: string;
}

export interface AccessVerdict {
  readonly allowed: boolean;
  /** The rule that decided; undefined = none did, and what no rule allows is denied. */
  readonly rule: Rule | undefined;
  readonly because: string;
}

interface CompiledRule extends Rule {
  readonly levels: readonly string[];
  readonly templated: boolean;
}

interface RequestRule extends Rule {
  readonly method: string;
  readonly pattern: PathPattern;
}

interface CompiledRole {
  readonly request: {
    readonly allow: readonly RequestRule[];
    readonly deny: readonly RequestRule[];
  };
  readonly publish: {
    readonly allow: readonly CompiledRule[];
    readonly deny: readonly CompiledRule[];
  };
  readonly subscribe: {
    readonly allow: readonly CompiledRule[];
    readonly deny: readonly CompiledRule[];
  };
}

const template = '${id}';

export class AccessRules {
  readonly #roles: ReadonlyMap<string, CompiledRole>;

  /** The roles MUST have been validated. */
  constructor(roles: Readonly<Record<string, RoleDocument>>) {
    this.#roles = new Map(
      Object.entries(roles).map(([name, role]) => [name, compileRole(name, role)]),
    );
  }

  /** A topic is allowed when an allowed filter matches it and no denied one does. */
  publish(role: string, id: string, topic: string): AccessVerdict {
    return this.#topic('publish', role, id, topic);
  }

  /**
   * A filter is allowed when one allowed filter covers all of it and no denied one meets it. It is never narrowed,
   * and never allowed by several rules together. A topic is a filter of itself: whether its messages may be read.
   */
  subscribe(role: string, id: string, filter: string): AccessVerdict {
    const refusal = refusalOf(filterProblem(filter), filter);
    if (refusal !== undefined) return refusal;
    const levels = splitLevels(filter);
    return this.#judge('subscribe', role, filter, {
      denies: (rule) => overlapsLevels(levelsFor(rule, id), levels),
      allows: (rule) => coversLevels(levelsFor(rule, id), levels),
    });
  }

  /** Whether the role may make every request that the route takes, whatever its path. */
  opens(role: string, route: RouteGrant): boolean {
    const rules = this.#roles.get(role)?.request;
    return rules?.deny.length === 0 && route.roles.includes(role);
  }

  /**
   * A request is allowed when the route is open to the role or an allowed request matches it in every way that its path
   * may be read, and no denied one matches it in any. What holds for GET holds for HEAD.
   *
   * @param path canonical.
   */
  request(
    role: string,
    id: string,
    method: string,
    path: string,
    route: RouteGrant,
  ): AccessVerdict {
    const rules = this.#roles.get(role)?.request;
    if (rules === undefined) return noSuchRole(role);
    const readings = pathReadings(path);
    const denying = rules.deny.find(
      (rule) =>
        takes(rule, method) && readings.some((reading) => matchesEither(rule.pattern, reading, id)),
    );
    if (denying !== undefined) return denied(denying, `denied by ${ruleText(denying)}`);
    if (route.roles.includes(role)) {
      const because = `allowed by routes.${route.name}.roles`;
      return { allowed: true, rule: undefined, because };
    }
    const allowing = rules.allow.find(
      (rule) => takes(rule, method) && matchesAll(rule.pattern, readings, id),
    );
    if (allowing !== undefined) return allowed(allowing);
    const what = `${method} ${printable(path)}`;
    const because = `neither routes.${route.name}.roles nor a rule of role "${role}" allows ${what}: denied by default`;
    return denied(undefined, because);
  }

  #topic(action: 'publish' | 'subscribe', role: string, id: string, topic: string): AccessVerdict {
    const refusal = refusalOf(topicProblem(topic), topic);
    if (refusal !== undefined) return refusal;
    const levels = splitLevels(topic);
    const hits = (rule: CompiledRule): boolean => matchesLevels(levelsFor(rule, id), levels);
    return this.#judge(action, role, topic, { denies: hits, allows: hits });
  }

  #judge(
    action: 'publish' | 'subscribe',
    role: string,
    resource: string,
    hits: { denies(rule: CompiledRule): boolean; allows(rule: CompiledRule): boolean },
  ): AccessVerdict {
    const rules = this.#roles.get(role)?.[action];
    if (rules === undefined) return noSuchRole(role);
    const denying = rules.deny.find((rule) => hits.denies(rule));
    if (denying !== undefined) return denied(denying, `denied by ${ruleText(denying)}`);
    const allowing = rules.allow.find((rule) => hits.allows(rule));
    if (allowing !== undefined) return allowed(allowing);
    return denied(
      undefined,
      `no rule of role "${role}" lets it ${action} ${printable(resource)}: denied by default`,
    );
  }
}

function refusalOf(problem: string | undefined, text: string): AccessVerdict | undefined {
  if (problem !== undefined) return denied(undefined, problem);
  // No rule can open what is the gateway's own.
  return text.startsWith('$')
    ? denied(undefined, 'topics that begin with "$" are closed to everyone')
    : undefined;
}

type RouteGrant = Pick<ProxiedRouteDocument, 'name' | 'roles'>;

function takes(rule: RequestRule, method: string): boolean {
  return (
    rule.method === '*' || rule.method === method || (rule.method === 'GET' && method === 'HEAD')
  );
}

function matchesAll(pattern: PathPattern, readings: PathReadings, id: string): boolean {
  return readings.every((reading) => matchesPattern(pattern, reading, id));
}

/** A denial that could be got round by a slash would be none. */
function matchesEither(pattern: PathPattern, reading: string, id: string): boolean {
  return matchesPattern(pattern, reading, id) || matchesPattern(pattern, otherEnd(reading), id);
}

function noSuchRole(role: string): AccessVerdict {
  return denied(undefined, `there is no role "${printable(role)}": denied by default`);
}

function allowed(rule: Rule): AccessVerdict {
  return { allowed: true, rule: publicRule(rule), because: `allowed by ${ruleText(rule)}` };
}

function denied(rule: Rule | undefined, because: string): AccessVerdict {
  return { allowed: false, rule: rule === undefined ? undefined : publicRule(rule), because };
}

function publicRule({ role, list, action, index, filter }: Rule): Rule {
  return { role, list, action, index, filter };
}

function ruleText({ role, list, action, index, filter }: Rule): string {
  return `roles.${role}.${list}.${action}[${index}] "${filter}"`;
}

function levelsFor(rule: CompiledRule, id: string): readonly string[] {
  return rule.templated
    ? rule.levels.map((level) => (level === template ? id : level))
    : rule.levels;
}

function compileRole(role: string, document: RoleDocument): CompiledRole {
  const list = (name: 'allow' | 'deny', action: 'publish' | 'subscribe'): CompiledRule[] =>
    document[name][action].map((filter, index) => {
      const levels = splitLevels(filter);
      return {
        role,
        list: name,
        action,
        index,
        filter,
        levels,
        templated: levels.includes(template),
      };
    });
  const requests = (name: 'allow' | 'deny'): RequestRule[] =>
    document[name].request.map((filter, index) => {
      const [method = '', path = ''] = filter.split(' ');
      const pattern = parsePathPattern(path);
      return { role, list: name, action: 'request', index, filter, method, pattern };
    });
  return {
    request: { allow: requests('allow'), deny: requests('deny') },
    publish: { allow: list('allow', 'publish'), deny: list('deny', 'publish') },
    subscribe: { allow: list('allow', 'subscribe'), deny: list('deny', 'subscribe') },
  };
}
