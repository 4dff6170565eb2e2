/** The CA's certificates, and taking the root key away. */
import type { Route } from '../route.ts';
import { bodyFields } from '../request-fields.ts';

export const caRoutes: readonly Route[] = [
  {
    method: 'GET',
    path: '/v1/ca',
    access: 'operator',
    handle: (services) => ({ status: 200, json: services.ca() }),
  },
  {
    method: 'POST',
    path: '/v1/ca/export-root',
    // Answers with the root key: on this machine only.
    access: 'local',
    async handle(services, { caller, body }) {
      bodyFields(body, []);
      return { status: 200, json: await services.exportRoot(caller.actor) };
    },
  },
  {
    method: 'POST',
    path: '/v1/ca/export-root/confirm',
    access: 'local',
    async handle(services, { caller, body }) {
      bodyFields(body, []);
      await services.confirmRootExported(caller.actor);
      return { status: 204 };
    },
  },
];
