/** Why a principal may or may not do something: `sallyport policy test`. Decides with the code that workers run. */
import { canonicalTarget } from '../../common/base/canonical-path.ts';
import type { DenyCode } from '../../common/base/errors.ts';
import type { PrincipalKind } from '../../common/base/principal.ts';
import type { RateWindow } from '../../common/base/rate-window.ts';
import { matches, topicProblem } from '../../common/base/topic-filter.ts';
import type { PolicyDocument } from '../../common/config/policy-document.ts';
import type { AuthenticationMethod } from '../../common/config/proxied-route.ts';
import { AccessRules } from './access-rules.ts';
import type { Rule } from './access-rules.ts';
import { ProxiedRoutes } from './proxied-routes.ts';
import type { CompiledProxied } from './proxied-routes.ts';

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

export interface RequestExplanation extends Omit<Explanation, 'routes'> {
  /** With which code it is denied; undefined when it is allowed. */
  readonly code: DenyCode | undefined;
  /** The canonical path, which is what is judged and sent on; undefined = there is none. */
  readonly path: string | undefined;
  /** Where it belongs, and what else it has to pass there; undefined = nowhere. */
  readonly route: ExplainedProxied | undefined;
}

export interface ExplainedProxied {
  readonly name: string;
  readonly path: string;
  readonly authenticate: readonly AuthenticationMethod[];
  /** Whether nothing passes without a signature. */
  readonly signed: boolean;
  readonly rate: readonly RateWindow[];
  readonly bodyBytes: number;
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

/**
 * The same of a request on a proxied route.
 *
 * @param target path, with or without a query, as a device would send it.
 */
export function explainRequest(
  { document }: { readonly document: PolicyDocument },
  principal: ExplainedPrincipal,
  method: string,
  target: string,
): RequestExplanation {
  const identityRate = document.identityRates[principal.kind];
  const denied = (code: DenyCode, because: string, path?: string, route?: CompiledProxied) => ({
    allowed: false,
    code,
    rule: undefined,
    because,
    path,
    route: route === undefined ? undefined : explained(route),
    identityRate,
  });
  const canonical = canonicalTarget(target);
  if (!canonical.ok) return denied('malformed', canonical.problem);
  const { path } = canonical;
  const route = new ProxiedRoutes(document).find(path, principal.id);
  if (route === undefined) return denied('not-found', `no route leads on from ${path}`, path);
  if (!route.methods.has(method)) {
    const taken = route.document.methods.join(', ');
    return denied('not-found', `the route "${route.name}" takes ${taken}`, path, route);
  }
  const access = new AccessRules(document.roles);
  const verdict = access.request(principal.role, principal.id, method, path, route.document);
  return {
    allowed: verdict.allowed,
    code: verdict.allowed ? undefined : 'forbidden',
    rule: verdict.rule,
    because: verdict.because,
    path,
    route: explained(route),
    identityRate,
  };
}

function explained({ name, document }: CompiledProxied): ExplainedProxied {
  const { path, authenticate, integrity, rate, bodyBytes, schema, breaker } = document;
  return {
    name,
    path,
    authenticate,
    signed: integrity?.required === true,
    rate,
    bodyBytes,
    schema: schema !== undefined,
    breaker: breaker !== undefined,
  };
}
