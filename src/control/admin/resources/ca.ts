/** The CA's certificates, its pins, rotating its keys and taking the root key away. */
import { SallyportError } from '../../../common/base/errors.ts';
import type { CaRole } from '../ports.ts';
import type { Route } from '../route.ts';
import { bodyFields, optionalText, queryInteger, requiredText } from '../request-fields.ts';
import type { Fields } from '../request-fields.ts';

const roles: readonly CaRole[] = ['root', 'issuing', 'server'];
/** A quarter of a millisecond each, during which control does nothing else. */
const checksAtOnce = { min: 1, max: 500, fallback: 200 };
const anyRow = { min: 0, max: 1e15 - 1, fallback: 0 };
/** A few keys and their certificates. */
const maxRootKeysCharacters = 64 * 1024;

export const caRoutes: readonly Route[] = [
  {
    method: 'GET',
    path: '/v1/ca',
    access: 'operator',
    handle: (services) => ({ status: 200, json: services.ca() }),
  },
  {
    method: 'GET',
    path: '/v1/ca/check',
    access: 'operator',
    handle(services, { query }) {
      const after = queryInteger(query, 'after', anyRow);
      const limit = queryInteger(query, 'limit', checksAtOnce);
      return { status: 200, json: services.checkIssued({ after, limit }) };
    },
  },
  {
    method: 'POST',
    path: '/v1/ca/pins',
    access: 'operator',
    async handle(services, { caller, body }) {
      const role = optionalText(bodyFields(body, ['role']), 'role', 10);
      const asked = role === undefined ? roles : [roleOf(role)];
      const pins = await services.pins(caller.actor, asked);
      return { status: 200, json: { pins } };
    },
  },
  {
    method: 'POST',
    path: '/v1/ca/rotate',
    // Takes root keys: on this machine only.
    access: 'local',
    async handle(services, { caller, body }) {
      const fields = bodyFields(body, ['role', 'force', 'rootKeys']);
      const role = roleOf(requiredText(fields, 'role', 10));
      const rootKeys = optionalText(fields, 'rootKeys', maxRootKeysCharacters);
      const order = { role, force: flag(fields, 'force'), rootKeys };
      return { status: 200, json: await services.rotateCa(caller.actor, order) };
    },
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

function roleOf(text: string): CaRole {
  const role = roles.find((known) => known === text);
  if (role !== undefined) return role;
  throw new SallyportError('usage', `"role" must be one of: ${roles.join(', ')}`);
}

function flag(fields: Fields, name: string): boolean {
  const value = fields.get(name) ?? false;
  if (typeof value === 'boolean') return value;
  throw new SallyportError('usage', `"${name}" must be true or false`);
}
