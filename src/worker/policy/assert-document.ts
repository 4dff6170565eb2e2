/**
 * A worker trusts its snapshot's author, not its bytes: a policy with anything missing or out of form is refused whole
 * and the last good one stays. Schemas are checked where they are compiled.
 */
import { SallyportError } from '../../common/base/errors.ts';
import { filterProblem, splitLevels } from '../../common/base/topic-filter.ts';
import type { LimitsDocument, PolicyDocument } from '../../common/config/policy-document.ts';

/** Held to the type by the compiler: a limit that is added there is demanded here. */
const limitNames: Readonly<Record<keyof LimitsDocument, true>> = {
  sessions: true,
  sessionsPerIdentity: true,
  subscriptionsPerSession: true,
  sourceConnectionsPerSecond: true,
  sourceConnections: true,
  halfOpen: true,
  sourceHalfOpen: true,
  handshakeMs: true,
  connectMs: true,
  connectBytes: true,
  packetBytes: true,
  payloadBytes: true,
  userProperties: true,
  topicBytes: true,
  topicLevels: true,
  keepAliveSeconds: true,
  receiveMaximum: true,
  outboundBytes: true,
  outboundMessages: true,
  retainedPerIdentity: true,
  retainedBytesPerIdentity: true,
  ratePauseMs: true,
  rateRefusals: true,
  controlPacketsPerSecond: true,
  stalledMs: true,
  drainMs: true,
  maxSnapshotAgeMs: true,
};

/** @throws SallyportError `invalid-config` that names the first thing that is missing or wrong. */
export function assertPolicyDocument(value: unknown): asserts value is PolicyDocument {
  const document = mapping(value, 'the policy');
  if (typeof document['trustDomain'] !== 'string') throw wrong('trustDomain', 'is not a text');
  const roles = mapping(document['roles'], 'roles');
  for (const [name, role] of Object.entries(roles)) assertRole(role, `roles.${name}`);
  const routes = list(document['routes'], 'routes');
  const names = new Set<unknown>();
  for (const route of routes) {
    const name = assertRoute(route);
    if (names.has(name)) throw wrong(`routes.${name}`, 'is there twice');
    names.add(name);
  }
  const rates = mapping(document['identityRates'], 'identityRates');
  for (const kind of ['device', 'service', 'operator'])
    assertWindows(rates[kind], `identityRates.${kind}`);
  const limits = mapping(document['limits'], 'limits');
  for (const name of Object.keys(limitNames)) assertCount(limits[name], `limits.${name}`);
}

function assertRole(value: unknown, at: string): void {
  const role = mapping(value, at);
  for (const rule of ['allow', 'deny']) {
    const lists = mapping(role[rule], `${at}.${rule}`);
    for (const action of ['publish', 'subscribe']) {
      for (const filter of list(lists[action], `${at}.${rule}.${action}`)) {
        assertFilter(filter, `${at}.${rule}.${action}`, true);
      }
    }
  }
}

function assertRoute(value: unknown): string {
  const route = mapping(value, 'routes');
  const name = route['name'];
  if (typeof name !== 'string' || name === '') throw wrong('routes', 'has a route without a name');
  const at = `routes.${name}`;
  assertFilter(route['match'], `${at}.match`, false);
  assertWindows(route['rate'], `${at}.rate`);
  if (route['payloadBytes'] !== undefined) assertCount(route['payloadBytes'], `${at}.payloadBytes`);
  if (route['breaker'] !== undefined) {
    const breaker = mapping(route['breaker'], `${at}.breaker`);
    for (const key of ['failures', 'withinMs', 'openMs'])
      assertCount(breaker[key], `${at}.breaker.${key}`);
  }
  return name;
}

function assertFilter(value: unknown, at: string, templates: boolean): void {
  if (typeof value !== 'string') throw wrong(at, 'is not a text');
  const problem = filterProblem(value);
  if (problem !== undefined) throw wrong(at, `has a filter that is not one: ${problem}`);
  if (value.startsWith('$')) throw wrong(at, 'has a filter that begins with "$"');
  const known = (level: string): boolean =>
    !level.includes('${') || (templates && level === '${id}');
  if (!splitLevels(value).every(known)) throw wrong(at, 'has a template that is not known');
}

function assertWindows(value: unknown, at: string): void {
  for (const entry of list(value, at)) {
    const window = mapping(entry, at);
    for (const key of ['limit', 'perMs']) {
      assertCount(window[key], `${at}.${key}`);
      if (window[key] === 0) throw wrong(`${at}.${key}`, 'is zero');
    }
    assertCount(window['burst'], `${at}.burst`);
  }
}

function assertCount(value: unknown, at: string): void {
  if (typeof value !== 'number' || !Number.isFinite(value) || value < 0) {
    throw wrong(at, 'is not a number of zero or more');
  }
}

function mapping(value: unknown, at: string): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw wrong(at, 'is not a mapping');
  return value as Readonly<Record<string, unknown>>; // just shown
}

function list(value: unknown, at: string): readonly unknown[] {
  if (!Array.isArray(value)) throw wrong(at, 'is not a list');
  return value;
}

function wrong(at: string, problem: string): SallyportError {
  return new SallyportError('invalid-config', `the policy is refused: ${at} ${problem}`);
}
