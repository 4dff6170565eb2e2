/** The part of a configuration that workers decide with, as plain data. */
import { deepFreeze } from '../base/deep-freeze.ts';
import type { Config } from './config.ts';
import type { PolicyDocument } from './policy-document.ts';

export function policyDocumentOf(config: Config): PolicyDocument {
  return deepFreeze({
    trustDomain: config.trustDomain,
    roles: { ...config.roles },
    routes: config.routes.map(({ name, match, rate, schema, payloadBytes, breaker }) => ({
      name,
      match,
      rate,
      schema,
      payloadBytes,
      breaker,
    })),
    identityRates: config.identityRates,
    limits: config.limits,
  });
}
