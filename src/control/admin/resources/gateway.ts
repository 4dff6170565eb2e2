/** The gateway as a whole: how it is, and making it read its configuration or replace its processes. */
import type { Route } from '../route.ts';
import { bodyFields } from '../request-fields.ts';

export const gatewayRoutes: readonly Route[] = [
  {
    method: 'GET',
    path: '/v1/status',
    access: 'operator',
    handle: (services) => ({ status: 200, json: services.status() }),
  },
  {
    method: 'POST',
    path: '/v1/reload',
    access: 'operator',
    async handle(services, { caller, body }) {
      bodyFields(body, []);
      return { status: 200, json: await services.reload(caller.actor) };
    },
  },
  {
    method: 'POST',
    path: '/v1/reload-processes',
    access: 'operator',
    async handle(services, { caller, body }) {
      bodyFields(body, []);
      await services.replaceProcesses(caller.actor);
      return { status: 202, json: {} };
    },
  },
];
