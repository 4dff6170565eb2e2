/** The admin API's surface, complete. */
import type { Route } from './route.ts';
import { auditLogRoutes } from './resources/audit-log.ts';
import { caRoutes } from './resources/ca.ts';
import { commandRoutes } from './resources/commands.ts';
import { enrolmentRoutes } from './resources/enrolment.ts';
import { gatewayRoutes } from './resources/gateway.ts';
import { keyRoutes } from './resources/keys.ts';
import { metricsRoutes } from './resources/metrics.ts';
import { operatorRoutes } from './resources/operators.ts';
import { policyRoutes } from './resources/policy.ts';
import { principalRoutes } from './resources/principals.ts';
import { spoolRoutes } from './resources/spools.ts';

export const adminRoutes: readonly Route[] = Object.freeze([
  ...gatewayRoutes,
  ...principalRoutes,
  ...keyRoutes,
  ...operatorRoutes,
  ...enrolmentRoutes,
  ...commandRoutes,
  ...spoolRoutes,
  ...policyRoutes,
  ...caRoutes,
  ...auditLogRoutes,
  ...metricsRoutes,
]);
