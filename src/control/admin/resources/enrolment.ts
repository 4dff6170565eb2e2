/** Enrolment over the network: tokens of devices, and requests that wait for an operator. */
import { SallyportError } from '../../../common/base/errors.ts';
import { isPrincipalId, printable } from '../../../common/base/principal.ts';
import type { ControlServices } from '../ports.ts';
import type { Answer, ApiRequest, Route } from '../route.ts';
import { bodyFields, optionalText, queryInteger, requiredInteger } from '../request-fields.ts';

const page = { min: 1, max: 1_000, fallback: 100 };
const position = { min: 0, max: Number.MAX_SAFE_INTEGER, fallback: 0 };
/** A token that lives longer is a credential lying about; a factory line makes a new one every quarter. */
const maxTtlSeconds = 92 * 24 * 3_600;
const maxUses = 1_000_000;
const maxIdCharacters = 128;
const maxReasonCharacters = 500;

export const enrolmentRoutes: readonly Route[] = [
  {
    method: 'GET',
    path: '/v1/enrolment/tokens',
    access: 'operator',
    handle(services, { query }) {
      const before = queryInteger(query, 'before', position);
      const limit = queryInteger(query, 'limit', page);
      const tokens = services.enrolmentTokens({
        before: before === 0 ? Number.MAX_SAFE_INTEGER : before,
        limit,
      });
      return { status: 200, json: { tokens } };
    },
  },
  {
    method: 'POST',
    path: '/v1/enrolment/tokens',
    access: 'operator',
    async handle(services, request) {
      const fields = bodyFields(request.body, ['device', 'ttlSeconds', 'uses']);
      const device = optionalText(fields, 'device', maxIdCharacters);
      if (device !== undefined && !isPrincipalId(device)) {
        throw new SallyportError('usage', `"${printable(device)}" is not a valid device id`);
      }
      const ttlMs = requiredInteger(fields, 'ttlSeconds', 1, maxTtlSeconds) * 1_000;
      const uses = requiredInteger(fields, 'uses', 1, maxUses);
      const created = await services.createEnrolmentToken(request.caller.actor, {
        device,
        ttlMs,
        uses,
      });
      return { status: 201, json: created };
    },
  },
  {
    method: 'POST',
    path: '/v1/enrolment/tokens/{number}/withdraw',
    access: 'operator',
    async handle(services, request) {
      bodyFields(request.body, []);
      const number = pathNumber(request);
      return {
        status: 200,
        json: await services.withdrawEnrolmentToken(request.caller.actor, number),
      };
    },
  },
  {
    method: 'GET',
    path: '/v1/enrolment/requests',
    access: 'operator',
    handle(services, { query }) {
      const after = queryInteger(query, 'after', position);
      const limit = queryInteger(query, 'limit', page);
      return { status: 200, json: { requests: services.enrolmentRequests({ after, limit }) } };
    },
  },
  {
    method: 'POST',
    path: '/v1/enrolment/requests/{number}/approve',
    access: 'operator',
    handle: (services, request) => decide(services, request, 'approved'),
  },
  {
    method: 'POST',
    path: '/v1/enrolment/requests/{number}/deny',
    access: 'operator',
    handle: (services, request) => decide(services, request, 'denied'),
  },
];

async function decide(
  services: ControlServices,
  request: ApiRequest,
  decision: 'approved' | 'denied',
): Promise<Answer> {
  const reason = optionalText(bodyFields(request.body, ['reason']), 'reason', maxReasonCharacters);
  const { actor } = request.caller;
  const number = pathNumber(request);
  return { status: 200, json: await services.decideEnrolment(actor, number, decision, reason) };
}

function pathNumber(request: ApiRequest): number {
  const text = request.params.get('number') ?? '';
  if (/^[1-9]\d{0,14}$/.test(text)) return Number(text);
  throw new SallyportError('usage', `"${printable(text)}" is not a number`, {
    hint: 'see: sallyport enrolment list',
  });
}
