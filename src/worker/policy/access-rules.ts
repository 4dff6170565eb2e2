/**
 * Who may publish and subscribe where. Compiled from the roles of the policy; answers with the rule that decided, so
 * that a refusal can be explained by the same code that made it.
 */
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

export interface Rule {
  readonly role: string;
  readonly list: 'allow' | 'deny';
  readonly action: 'publish' | 'subscribe';
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

interface CompiledRole {
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

  /** Whether a message of this topic may be handed to a subscriber: what `subscribe` would say of the topic itself. */
  read(role: string, id: string, topic: string): AccessVerdict {
    return this.#topic('subscribe', role, id, topic);
  }

  /**
   * A filter is allowed when one allowed filter covers all of it and no denied one meets it. It is never narrowed,
   * and never allowed by several rules together.
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
    if (rules === undefined) {
      return denied(undefined, `there is no role "${printable(role)}": denied by default`);
    }
    const denying = rules.deny.find((rule) => hits.denies(rule));
    if (denying !== undefined) return denied(denying, `denied by ${ruleText(denying)}`);
    const allowing = rules.allow.find((rule) => hits.allows(rule));
    if (allowing !== undefined) {
      return {
        allowed: true,
        rule: publicRule(allowing),
        because: `allowed by ${ruleText(allowing)}`,
      };
    }
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

function denied(rule: CompiledRule | undefined, because: string): AccessVerdict {
  return { allowed: false, rule: rule === undefined ? undefined : publicRule(rule), because };
}

function publicRule({ role, list, action, index, filter }: CompiledRule): Rule {
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
  return {
    publish: { allow: list('allow', 'publish'), deny: list('deny', 'publish') },
    subscribe: { allow: list('allow', 'subscribe'), deny: list('deny', 'subscribe') },
  };
}
