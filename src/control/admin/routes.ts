/** The admin API's surface, complete. */
import type { Route } from './route.ts';
import { auditLogRoutes } from './resources/audit-log.ts';
import { caRoutes } from './resources/ca.ts';
import { gatewayRoutes } from './resources/gateway.ts';
import { metricsRoutes } from './resources/metrics.ts';
import { operatorRoutes } from './resources/operators.ts';
import { policyRoutes } from './resources/policy.ts';
import { principalRoutes } from './resources/principals.ts';

export const adminRoutes: readonly Route[] = Object.freeze([
  ...gatewayRoutes,
  ...principalRoutes,
  ...operatorRoutes,
  ...policyRoutes,
  ...caRoutes,
  ...auditLogRoutes,
  ...metricsRoutes,
]);
