/** Devices, services and operators: what the registry knows, certificates for them, their standing. */
import { standingActions } from '../../../common/base/principal.ts';
import type { StandingAction } from '../../../common/base/principal.ts';
import type { Answer, ApiRequest, Route } from '../route.ts';
import type { ControlServices } from '../ports.ts';
import {
  bodyFields,
  kindOf,
  optionalText,
  pathPrincipal,
  queryInteger,
  requiredText,
} from '../request-fields.ts';

/** Rows of a page: a fleet of 100,000 must not become one answer. */
const page = { min: 1, max: 1000, fallback: 100 };
/** A P-384 CSR with a long SAN is below 2 KiB; RSA-4096 below 3. */
const maxCsrCharacters = 16_384;
const maxRoleCharacters = 128;
const maxReasonCharacters = 500;

export const principalRoutes: readonly Route[] = [
  {
    method: 'GET',
    path: '/v1/principals',
    access: 'operator',
    handle(services, { query }) {
      const kind = kindOf(query.get('kind'));
      const limit = queryInteger(query, 'limit', page);
      const after = (query.get('after') ?? '').slice(0, 128);
      return { status: 200, json: { principals: services.listPrincipals(kind, { after, limit }) } };
    },
  },
  {
    method: 'GET',
    path: '/v1/principals/{kind}/{id}',
    access: 'operator',
    handle(services, request) {
      return { status: 200, json: services.showPrincipal(pathPrincipal(request)) };
    },
  },
  {
    method: 'POST',
    path: '/v1/principals/{kind}/{id}/enrol',
    access: 'operator',
    async handle(services, request) {
      const name = pathPrincipal(request);
      const fields = bodyFields(request.body, ['csr', 'role']);
      const csr = requiredText(fields, 'csr', maxCsrCharacters);
      const role = optionalText(fields, 'role', maxRoleCharacters);
      return { status: 201, json: await services.enrol(request.caller.actor, name, csr, role) };
    },
  },
  {
    method: 'POST',
    path: '/v1/principals/{kind}/{id}/create',
    // Answers with a private key, which must not leave the machine over a network.
    access: 'local',
    async handle(services, request) {
      const name = pathPrincipal(request);
      const fields = bodyFields(request.body, ['role']);
      const role = optionalText(fields, 'role', maxRoleCharacters);
      return { status: 201, json: await services.createLab(request.caller.actor, name, role) };
    },
  },
  {
    method: 'POST',
    path: '/v1/principals/{kind}/{id}/register',
    access: 'operator',
    async handle(services, request) {
      const name = pathPrincipal(request);
      const fields = bodyFields(request.body, ['role']);
      const role = optionalText(fields, 'role', maxRoleCharacters);
      const { actor } = request.caller;
      return { status: 200, json: await services.registerPrincipal(actor, name, role) };
    },
  },
  ...standingActions.map(standingRoute),
];

function standingRoute(action: StandingAction): Route {
  return {
    method: 'POST',
    path: `/v1/principals/{kind}/{id}/${action}`,
    access: 'operator',
    handle: (services, request) => changeStanding(services, request, action),
  };
}

async function changeStanding(
  services: ControlServices,
  request: ApiRequest,
  action: StandingAction,
): Promise<Answer> {
  const name = pathPrincipal(request);
  const reason = optionalText(bodyFields(request.body, ['reason']), 'reason', maxReasonCharacters);
  const result = await services.changeStanding(request.caller.actor, name, action, reason);
  return { status: 200, json: result };
}
