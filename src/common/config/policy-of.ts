/** The part of a configuration that workers decide with, as plain data. */
import { deepFreeze } from '../base/deep-freeze.ts';
import type { Config } from './config.ts';
import type { PolicyDocument } from './policy-document.ts';

export function policyDocumentOf(config: Config): PolicyDocument {
  return deepFreeze({
    trustDomain: config.trustDomain,
    roles: { ...config.roles },
    routes: config.routes.map(
      ({ name, match, rate, schema, payloadBytes, breaker, authenticate, integrity }) => ({
        name,
        match,
        rate,
        schema,
        payloadBytes,
        breaker,
        authenticate,
        integrity,
      }),
    ),
    proxied: config.proxied,
    identityRates: config.identityRates,
    limits: config.limits,
    clones: { rule: config.clones.rule, windowMs: config.clones.windowMs },
    pages: {
      hosts: config.serverNames.map((name) => name.toLowerCase()),
      origins: config.listeners.https === false ? [] : config.listeners.https.origins,
    },
  });
}
