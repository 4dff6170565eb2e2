/**
 * A worker trusts its snapshot's author, not its bytes: a policy with anything missing or out of form is refused whole
 * and the last good one stays. Schemas are checked where they are compiled.
 */
import { SallyportError } from '../../common/base/errors.ts';
import { filterProblem, splitLevels } from '../../common/base/topic-filter.ts';
import {
  parsePathPattern,
  pathPatternProblem,
  patternKey,
  reservedPath,
} from '../../common/base/path-pattern.ts';
import { cloneRules, whenQueueFull } from '../../common/config/policy-document.ts';
import type { LimitsDocument, PolicyDocument } from '../../common/config/policy-document.ts';
import {
  authenticationMethods,
  integrityMethods,
  requestMethods,
} from '../../common/config/proxied-route.ts';

/** Held to the type by the compiler: a limit that is added there is demanded here. */
const limitNames: Readonly<Record<Exclude<keyof LimitsDocument, 'whenQueueFull'>, true>> = {
  sessions: true,
  sessionsPerIdentity: true,
  subscriptionsPerSession: true,
  sourceConnectionsPerSecond: true,
  sourceConnections: true,
  halfOpen: true,
  sourceHalfOpen: true,
  handshakesPerSecond: true,
  eventLoopDelayMs: true,
  admissionQueue: true,
  admissionWaitMs: true,
  sourceFailures: true,
  sourceSlowedPerSecond: true,
  proxyHeaderMs: true,
  connectsPerMinute: true,
  serviceConnectsPerMinute: true,
  connectPenaltyMs: true,
  handshakeMs: true,
  connectMs: true,
  connectBytes: true,
  packetBytes: true,
  payloadBytes: true,
  userProperties: true,
  noncesPerIdentity: true,
  topicBytes: true,
  topicLevels: true,
  keepAliveSeconds: true,
  receiveMaximum: true,
  topicAliases: true,
  outboundBytes: true,
  outboundMessages: true,
  sessionExpiryMs: true,
  queuedMessages: true,
  queuedBytes: true,
  retainedPerIdentity: true,
  retainedBytesPerIdentity: true,
  ratePauseMs: true,
  rateRefusals: true,
  controlPacketsPerSecond: true,
  stalledMs: true,
  headerBytes: true,
  headers: true,
  headersMs: true,
  requestMs: true,
  idleMs: true,
  connectionsPerIdentity: true,
  streamMs: true,
  commandsPerDevice: true,
  commandBytesPerDevice: true,
  commandTtlMs: true,
  diskReserveBytes: true,
  visitMs: true,
  visitRequests: true,
  estRequestBytes: true,
  statusConnections: true,
  sourceStatusConnections: true,
  sourceStatusPerSecond: true,
  statusCallsPerSecond: true,
  signedTimesPerSecond: true,
  ocspRequestBytes: true,
  ocspCacheBytes: true,
  signedConnections: true,
  sourceSignedConnections: true,
  signedFailures: true,
  unprovenBodyBytes: true,
  unprovenBytes: true,
  tokenBytes: true,
  cachedTokens: true,
  tokenClockMs: true,
  deviceTokenLifeMs: true,
  introspections: true,
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
  const paths = new Set<unknown>();
  for (const route of list(document['proxied'], 'proxied')) {
    const { name, key } = assertProxied(route);
    if (names.has(name)) throw wrong(`routes.${name}`, 'is there twice');
    if (paths.has(key)) throw wrong(`routes.${name}.path`, 'is there twice');
    names.add(name);
    paths.add(key);
  }
  const rates = mapping(document['identityRates'], 'identityRates');
  for (const kind of ['device', 'service', 'operator'])
    assertWindows(rates[kind], `identityRates.${kind}`);
  const pages = mapping(document['pages'], 'pages');
  for (const name of ['hosts', 'origins']) {
    for (const text of list(pages[name], `pages.${name}`)) {
      if (typeof text !== 'string') throw wrong(`pages.${name}`, 'has what is not a text');
    }
  }
  const limits = mapping(document['limits'], 'limits');
  const clones = mapping(document['clones'], 'clones');
  assertCount(clones['windowMs'], 'clones.windowMs');
  if (!cloneRules.some((rule) => rule === clones['rule'])) throw wrong('clones.rule', 'is unknown');
  for (const name of Object.keys(limitNames)) assertCount(limits[name], `limits.${name}`);
  if (!whenQueueFull.some((known) => known === limits['whenQueueFull'])) {
    throw wrong('limits.whenQueueFull', 'is not known');
  }
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
    for (const request of list(lists['request'], `${at}.${rule}.request`)) {
      assertRequest(request, `${at}.${rule}.request`);
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
  assertProofs(route, at);
  if (route['payloadBytes'] !== undefined) assertCount(route['payloadBytes'], `${at}.payloadBytes`);
  assertBreaker(route, at);
  return name;
}

function assertProxied(value: unknown): { readonly name: string; readonly key: string } {
  const route = mapping(value, 'routes');
  const { name, path } = { name: route['name'], path: route['path'] };
  if (typeof name !== 'string' || name === '') throw wrong('routes', 'has a route without a name');
  const at = `routes.${name}`;
  if (typeof path !== 'string') throw wrong(`${at}.path`, 'is not a text');
  const problem = pathPatternProblem(path);
  if (problem !== undefined) throw wrong(`${at}.path`, `is no path: ${problem}`);
  const pattern = parsePathPattern(path);
  if (reservedPath(path) !== undefined) throw wrong(`${at}.path`, "is the gateway's own");
  assertSome(route['methods'], `${at}.methods`, requestMethods);
  assertProofs(route, at);
  for (const key of ['roles', 'contentTypes']) assertTexts(route[key], `${at}.${key}`);
  for (const key of ['rate', 'bytesRate']) assertWindows(route[key], `${at}.${key}`);
  for (const key of ['concurrent', 'bodyBytes']) assertCount(route[key], `${at}.${key}`);
  if (typeof route['webSocket'] !== 'boolean')
    throw wrong(`${at}.webSocket`, 'is neither true nor false');
  assertBreaker(route, at);
  return { name, key: patternKey(pattern) };
}

/** How whoever comes may have proven who it is; by a signature only where something is said of signatures. */
function assertProofs(route: Readonly<Record<string, unknown>>, at: string): void {
  assertSome(route['authenticate'], `${at}.authenticate`, authenticationMethods);
  if (route['integrity'] === undefined) {
    if (list(route['authenticate'], at).includes('signature'))
      throw wrong(`${at}.authenticate`, 'takes signatures, of which "integrity" says nothing');
    return;
  }
  const integrity = mapping(route['integrity'], `${at}.integrity`);
  if (typeof integrity['required'] !== 'boolean')
    throw wrong(`${at}.integrity.required`, 'is neither true nor false');
  assertSome(integrity['accept'], `${at}.integrity.accept`, integrityMethods);
  assertCount(integrity['windowMs'], `${at}.integrity.windowMs`);
}

function assertBreaker(route: Readonly<Record<string, unknown>>, at: string): void {
  if (route['breaker'] === undefined) return;
  const breaker = mapping(route['breaker'], `${at}.breaker`);
  for (const key of ['failures', 'withinMs', 'openMs'])
    assertCount(breaker[key], `${at}.breaker.${key}`);
}

function assertRequest(value: unknown, at: string): void {
  if (typeof value !== 'string') throw wrong(at, 'is not a text');
  const [method = '', path = '', more] = value.split(' ');
  const isMethod = method === '*' || requestMethods.some((known) => known === method);
  if (!isMethod || more !== undefined || pathPatternProblem(path) !== undefined) {
    throw wrong(at, 'has what is no method and path');
  }
}

/** Some of `known`, and at least one. */
function assertSome(value: unknown, at: string, known: readonly string[]): void {
  const texts = assertTexts(value, at);
  if (texts.length === 0) throw wrong(at, 'is empty');
  for (const text of texts) if (!known.includes(text)) throw wrong(at, 'has what is not known');
}

function assertTexts(value: unknown, at: string): readonly string[] {
  const texts = list(value, at);
  if (!texts.every((text) => typeof text === 'string')) throw wrong(at, 'has what is not a text');
  return texts;
}

function assertFilter(value: unknown, at: string, templates: boolean): void {
  if (typeof value !== 'string') throw wrong(at, 'is not a text');
  const problem = filterProblem(value);
  if (problem !== undefined) throw wrong(at, `has a filter that is not one: ${problem}`);
  // An id never begins with "$".
  const ofOwnId = templates && splitLevels(value)[0] === '${id}';
  if (value.startsWith('$') && !ofOwnId) throw wrong(at, 'has a filter that begins with "$"');
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
