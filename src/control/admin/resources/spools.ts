/** The queues before the backends of routes: what waits in them, and what a backend has refused for good. */
import { SallyportError } from '../../../common/base/errors.ts';
import type { Answer, ApiRequest, Route } from '../route.ts';
import type { ControlServices } from '../ports.ts';
import { bodyFields, optionalText, queryInteger } from '../request-fields.ts';

const page = { min: 1, max: 1000, fallback: 100 };
/** Of the name of a backend or an event's id. */
const maxNameCharacters = 128;
const maxIds = 1000;

export const spoolRoutes: readonly Route[] = [
  {
    method: 'GET',
    path: '/v1/routes',
    access: 'operator',
    async handle(services) {
      return { status: 200, json: { routes: await services.spools() } };
    },
  },
  {
    method: 'GET',
    path: '/v1/routes/{route}/dead-letters',
    access: 'operator',
    async handle(services, { params, query }) {
      const backend = query.get('backend') ?? '';
      const deadLetters = await services.deadLetters(params.get('route') ?? '', {
        backend: backend === '' ? undefined : backend.slice(0, maxNameCharacters),
        after: (query.get('after') ?? '').slice(0, maxNameCharacters),
        limit: queryInteger(query, 'limit', page),
      });
      return { status: 200, json: { deadLetters } };
    },
  },
  ...(['retry', 'discard'] as const).map((action): Route => ({
    method: 'POST',
    path: `/v1/routes/{route}/dead-letters/${action}`,
    access: 'operator',
    handle: (services, request) => settle(services, request, action),
  })),
];

async function settle(
  services: ControlServices,
  request: ApiRequest,
  action: 'retry' | 'discard',
): Promise<Answer> {
  const fields = bodyFields(request.body, ['backend', 'ids']);
  const backend = optionalText(fields, 'backend', maxNameCharacters);
  const ids = idsOf(fields.get('ids'));
  const route = request.params.get('route') ?? '';
  const { actor } = request.caller;
  return {
    status: 200,
    json: await services.settleDeadLetters(actor, action, route, { backend, ids }),
  };
}

/** Nothing at all means all of them; an empty list would be a mistake of whoever made it, and is refused. */
function idsOf(value: unknown): readonly string[] | undefined {
  if (value === undefined) return undefined;
  const isId = (id: unknown): id is string =>
    typeof id === 'string' && /^[0-9A-Za-z._:-]{1,128}$/.test(id);
  if (Array.isArray(value) && value.length > 0 && value.length <= maxIds && value.every(isId)) {
    return value;
  }
  throw new SallyportError('usage', `"ids" must be a list of 1 to ${maxIds} ids of dead letters`);
}
