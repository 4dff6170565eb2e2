/** Why a principal may or may not do something: `sallyport policy test`. Decides with the code that workers run. */
import type { PrincipalKind } from '../../common/base/principal.ts';
import type { RateWindow } from '../../common/base/rate-window.ts';
import { matches, topicProblem } from '../../common/base/topic-filter.ts';
import type { PolicyDocument } from '../../common/config/policy-document.ts';
import { AccessRules } from './access-rules.ts';
import type { Rule } from './access-rules.ts';

export interface ExplainedPrincipal {
  readonly kind: PrincipalKind;
  readonly id: string;
  readonly role: string;
}

export interface Explanation {
  readonly allowed: boolean;
  /** The rule that decided; undefined = none did, and what no rule allows is denied. */
  readonly rule: Rule | undefined;
  /** One sentence for people. */
  readonly because: string;
  /** What else a message on this topic has to pass; empty for a subscription. */
  readonly routes: readonly ExplainedRoute[];
  /** What the principal may do in all. */
  readonly identityRate: readonly RateWindow[];
}

export interface ExplainedRoute {
  readonly name: string;
  readonly match: string;
  readonly rate: readonly RateWindow[];
  readonly payloadBytes: number;
  readonly schema: boolean;
  readonly breaker: boolean;
}

/** Looks at the rules alone: neither standing nor rates are asked or charged. */
export function explain(
  { document }: { readonly document: PolicyDocument },
  principal: ExplainedPrincipal,
  action: 'publish' | 'subscribe',
  resource: string,
): Explanation {
  const access = new AccessRules(document.roles);
  const { allowed, rule, because } = access[action](principal.role, principal.id, resource);
  const isTopic = action === 'publish' && topicProblem(resource) === undefined;
  return {
    allowed,
    rule,
    because,
    routes: document.routes
      .filter(({ match }) => isTopic && matches(match, resource))
      .map(({ name, match, rate, payloadBytes, schema, breaker }) => ({
        name,
        match,
        rate,
        payloadBytes: payloadBytes ?? document.limits.payloadBytes,
        schema: schema !== undefined,
        breaker: breaker !== undefined,
      })),
    identityRate: document.identityRates[principal.kind],
  };
}
