/** The policy in force, as the document that workers compile. */
import type { Route } from '../route.ts';

export const policyRoutes: readonly Route[] = [
  {
    method: 'GET',
    path: '/v1/policy',
    access: 'operator',
    handle: (services) => ({ status: 200, json: services.policy() }),
  },
];
