/** The audit log: its lines, and whether its chain holds. */
import type { Route } from '../route.ts';
import { bodyFields, queryInteger } from '../request-fields.ts';

export const auditLogRoutes: readonly Route[] = [
  {
    method: 'GET',
    path: '/v1/audit-log',
    access: 'operator',
    async handle(services, { query }) {
      const after = queryInteger(query, 'after', {
        min: 0,
        max: Number.MAX_SAFE_INTEGER,
        fallback: 0,
      });
      const limit = queryInteger(query, 'limit', { min: 1, max: 1000, fallback: 100 });
      return { status: 200, json: { lines: await services.auditLines(after, limit) } };
    },
  },
  {
    method: 'POST',
    path: '/v1/audit-log/verify',
    access: 'operator',
    async handle(services, { body }) {
      bodyFields(body, []);
      return { status: 200, json: await services.verifyAuditLog() };
    },
  },
];
