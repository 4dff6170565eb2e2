/** Keys with which devices and services sign. */
import { SallyportError } from '../../../common/base/errors.ts';
import type { ControlServices, KeyToAdd } from '../ports.ts';
import type { Answer, ApiRequest, Route } from '../route.ts';
import type { Fields } from '../request-fields.ts';
import {
  bodyFields,
  optionalText,
  pathPrincipal,
  requiredInteger,
  requiredText,
} from '../request-fields.ts';

/** Of a PEM file with one public key; that of P-384 has 215. */
const maxPemCharacters = 4_096;
/** Of a secret in base64: one of 64 bytes has 88, and a longer one is told how long it is. */
const maxSecretCharacters = 1_024;
const maxIdCharacters = 32;
const maxReasonCharacters = 500;
const maxTtlSeconds = 10 * 366 * 24 * 3_600;
const maxOverlapSeconds = 92 * 24 * 3_600;

const terms = ['ttlSeconds', 'replace', 'overlapSeconds'] as const;

export const keyRoutes: readonly Route[] = [
  {
    method: 'GET',
    path: '/v1/principals/{kind}/{id}/keys',
    access: 'operator',
    handle: (services, request) => ({
      status: 200,
      json: { keys: services.keys(pathPrincipal(request)) },
    }),
  },
  {
    method: 'POST',
    path: '/v1/principals/{kind}/{id}/keys',
    access: 'operator',
    async handle(services, request) {
      const fields = bodyFields(request.body, ['publicKey', 'secret', 'id', ...terms]);
      const pem = optionalText(fields, 'publicKey', maxPemCharacters);
      const secret = optionalText(fields, 'secret', maxSecretCharacters);
      const id = optionalText(fields, 'id', maxIdCharacters);
      if (pem !== undefined && secret === undefined) {
        return add(services, request, fields, { type: 'public', pem, id });
      }
      if (secret !== undefined && pem === undefined) {
        return add(services, request, fields, { type: 'secret', secret: base64(secret), id });
      }
      throw new SallyportError('usage', 'one of "publicKey" and "secret" must be there');
    },
  },
  {
    method: 'POST',
    path: '/v1/principals/{kind}/{id}/keys/derive',
    // Answers with a secret key, which must not leave the machine over a network.
    access: 'local',
    async handle(services, request) {
      const fields = bodyFields(request.body, terms);
      return add(services, request, fields, { type: 'derived' });
    },
  },
  {
    method: 'POST',
    path: '/v1/principals/{kind}/{id}/keys/{key}/remove',
    access: 'operator',
    async handle(services, request) {
      const fields = bodyFields(request.body, ['reason']);
      const reason = optionalText(fields, 'reason', maxReasonCharacters);
      const name = pathPrincipal(request);
      const id = request.params.get('key') ?? '';
      const { actor } = request.caller;
      return { status: 200, json: await services.removeKey(actor, name, id, reason) };
    },
  },
];

async function add(
  services: ControlServices,
  request: ApiRequest,
  fields: Fields,
  key: KeyToAdd['key'],
): Promise<Answer> {
  const { actor } = request.caller;
  const order = { key, ttlMs: ttlOf(fields), replaces: replacementOf(fields) };
  return { status: 201, json: await services.addKey(actor, pathPrincipal(request), order) };
}

function ttlOf(fields: Fields): number | undefined {
  if (!fields.has('ttlSeconds')) return undefined;
  return requiredInteger(fields, 'ttlSeconds', 1, maxTtlSeconds) * 1_000;
}

function replacementOf(fields: Fields): KeyToAdd['replaces'] {
  if (!fields.has('replace') && !fields.has('overlapSeconds')) return undefined;
  const id = requiredText(fields, 'replace', maxIdCharacters);
  const overlapMs = requiredInteger(fields, 'overlapSeconds', 0, maxOverlapSeconds) * 1_000;
  return { id, overlapMs };
}

function base64(text: string): Buffer {
  const bytes = Buffer.from(text, 'base64');
  // Buffer skips what is not base64: a key that is not the device's would be registered.
  if (bytes.toString('base64') === text) return bytes;
  throw new SallyportError('usage', '"secret" must be base64');
}
