/** Invitations of operators, and the one thing that a peer without a certificate can do: redeem one. */
import { principalName } from '../../../common/base/principal.ts';
import type { Route } from '../route.ts';
import { bodyFields, requiredInteger, requiredText } from '../request-fields.ts';

/** An invitation that lives longer than a month is a credential lying about. */
const maxTtlSeconds = 30 * 24 * 3600;
const maxTokenCharacters = 256;
const maxCsrCharacters = 8192;

export const operatorRoutes: readonly Route[] = [
  {
    method: 'POST',
    path: '/v1/operators/{id}/invite',
    access: 'operator',
    async handle(services, request) {
      const id = request.params.get('id') ?? '';
      principalName('operator', id);
      const fields = bodyFields(request.body, ['ttlSeconds']);
      const ttlSeconds = requiredInteger(fields, 'ttlSeconds', 60, maxTtlSeconds);
      const invitation = await services.inviteOperator(request.caller.actor, id, ttlSeconds * 1000);
      return { status: 201, json: invitation };
    },
  },
  {
    method: 'POST',
    path: '/v1/operator-enrolment',
    access: 'anyone',
    async handle(services, request) {
      const fields = bodyFields(request.body, ['token', 'csr']);
      const token = requiredText(fields, 'token', maxTokenCharacters);
      const csr = requiredText(fields, 'csr', maxCsrCharacters);
      return {
        status: 201,
        json: await services.redeemInvitation(request.caller.source, token, csr),
      };
    },
  },
];
