/**
 * From a request to what it asks for: the resources of the device API and their methods, or a proxied route. A path of the
 * device API is compared as it was sent: one that has to be decoded or normalised to mean something is not found.
 */
import { canonicalTarget } from '../../../common/base/canonical-path.ts';
import { commandFilter } from '../../broker/commands.ts';
import type { Policy } from '../../policy/policy.ts';
import type { Reach } from '../../policy/entry.ts';
import type { Decision } from '../../policy/decision.ts';
import type { Peer, PeerConnection } from './peer.ts';
import type { Exchange } from '../http/exchange.ts';
import { handleAcknowledge } from './handle-acknowledge.ts';
import { handleCommands } from './handle-commands.ts';
import { giveKeySet, handleKeySet, keySetPath } from './handle-key-set.ts';
import { handlePublish } from './handle-publish.ts';
import type { Channel } from './handle-publish.ts';
import { handleTime } from './handle-time.ts';
import { readHead } from '../http/request-head.ts';
import type { RequestHead } from '../http/request-head.ts';
import { rateFields } from '../http/rate-fields.ts';
import type { Problem } from '../http/wire.ts';
import { methodNotAllowed, problems, unknownExpectation, upgradeRequired } from '../http/wire.ts';
import {
  handleMetadata,
  handleTokenKeys,
  metadataPath,
  tokenKeysPath,
} from './oauth/handle-metadata.ts';
import { handleToken, tokenPath } from './oauth/handle-token.ts';
import type { OAuthPorts } from './oauth/ports.ts';
import { ProxiedRequest } from './proxied/proxied-request.ts';
import { peerByToken, showsToken } from './token-peer.ts';
import { webSocketPath } from './websocket-handshake.ts';

type Handler = (
  connection: PeerConnection,
  peer: Peer,
  exchange: Exchange,
  head: RequestHead,
) => Promise<void> | undefined;

interface Resource {
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** The policy's entry is `publish` or `subscribe`, or `request` with this reach. */
  readonly judgedAs: 'message' | Reach;
  readonly hasQuery: boolean;
  readonly isForDevices: boolean;
  readonly handle: Handler;
  readonly wrongMethod: Problem;
}

function resource(
  method: Resource['method'],
  judgedAs: Resource['judgedAs'],
  handle: Handler,
  { hasQuery = false, isForDevices = true } = {},
): Resource {
  const wrongMethod = methodNotAllowed(method);
  return { method, judgedAs, hasQuery, isForDevices, handle, wrongMethod };
}

function channel(name: string, retain = false): Resource {
  const to: Channel = { name, retain };
  return resource('POST', 'message', (connection, peer, exchange, head) =>
    handlePublish(connection, peer, exchange, head, to),
  );
}

/** What the token endpoint says of itself. */
function forEverybody(handle: (ports: OAuthPorts, exchange: Exchange) => undefined): Resource {
  return resource('GET', 'service', ({ ports }, _peer, exchange) => handle(ports.oauth, exchange), {
    isForDevices: false,
  });
}

const resources: ReadonlyMap<string, Resource> = new Map([
  ['/api/v1/telemetry', channel('telemetry')],
  ['/api/v1/status', channel('status', true)],
  ['/api/v1/diagnostics', channel('diagnostics')],
  ['/api/v1/command-responses', channel('command_responses')],
  ['/api/v1/commands', resource('GET', 'message', handleCommands, { hasQuery: true })],
  ['/api/v1/time', resource('GET', 'time', handleTime)],
  [keySetPath, resource('GET', 'service', handleKeySet, { isForDevices: false })],
  [
    tokenPath,
    resource(
      'POST',
      'service',
      ({ ports, transport }, _peer, exchange, head) =>
        handleToken(ports.oauth, transport, exchange, head),
      { isForDevices: false, hasQuery: true },
    ),
  ],
  [metadataPath, forEverybody(handleMetadata)],
  [tokenKeysPath, forEverybody(handleTokenKeys)],
  [webSocketPath, resource('GET', 'service', handleNoUpgrade, { isForDevices: false })],
]);

/** What asks for the upgrade in good order, and when it can be had, does not come here. */
function handleNoUpgrade({ draining }: PeerConnection, _peer: Peer, exchange: Exchange): undefined {
  if (draining) exchange.refuse('busy', 'the gateway is stopping');
  else exchange.refuseWith(upgradeRequired, 'no upgrade, or not on its own');
}

const oneCommand = resource('DELETE', 'service', handleAcknowledge);
const commandPath = /^\/api\/v1\/commands\/[0-9A-Za-z-]{1,64}$/;

function resourceOf(path: string): Resource | undefined {
  return resources.get(path) ?? (commandPath.test(path) ? oneCommand : undefined);
}

/** Whether it is about the commands of whoever asks, to whom they are as open as their topics. */
export function isOfCommands(path: string): boolean {
  const found = resourceOf(path);
  return found !== undefined && (found === oneCommand || found.handle === handleCommands);
}

/**
 * Whether the policy judges the signature of what is asked for, or that it is new is the caller's to see to.
 *
 * @param path as it was sent.
 */
export function seesSignature(policy: Policy, method: string, path: string, id: string): boolean {
  const found = resourceOf(path);
  if (found !== undefined) return found.method === 'POST' && found.judgedAs === 'message';
  const target = canonicalTarget(path);
  return target.ok && policy.proxied(method, target.path, id) !== undefined;
}

/** What is the same for everybody, and for those who have proven nothing. @returns undefined = it is none of that. */
export function answerEverybody(
  { ports, transport }: PeerConnection,
  exchange: Exchange,
  head: RequestHead,
): Promise<void> | undefined {
  const { method, path } = head;
  if (path === tokenPath && method === 'POST') {
    return handleToken(ports.oauth, transport, exchange, head);
  }
  if (method !== 'GET' || head.bodyBytes !== 0) return undefined;
  if (path === keySetPath) return Promise.resolve(giveKeySet(ports, exchange));
  if (path === metadataPath) return Promise.resolve(handleMetadata(ports.oauth, exchange));
  if (path === tokenKeysPath) return Promise.resolve(handleTokenKeys(ports.oauth, exchange));
  return undefined;
}

/** @returns a promise that rejects for a defect only. */
export function handleRequest(
  connection: PeerConnection,
  peer: Peer,
  exchange: Exchange,
): Promise<void> | undefined {
  const head = readHead(exchange.request, connection.ports.limits().headers);
  if ('problem' in head) {
    exchange.refuseWith(head.problem, head.detail);
    return undefined;
  }
  // No protocol is changed here, and what follows may be of the other one.
  if (head.wantsUpgrade) exchange.makeLast();
  exchange.action = head.method;
  exchange.resource = head.path;
  if (exchange.expectation === 'unknown') {
    exchange.refuseWith(unknownExpectation, 'Expect');
    return undefined;
  }
  const found = resourceOf(head.path);
  const proxied = found === undefined ? proxiedOf(connection, peer, exchange, head) : undefined;
  if (proxied instanceof ProxiedRequest) {
    return showsToken(peer, head, proxied.route)
      ? proxiedByToken(connection, peer, exchange, head, proxied.path)
      : proxied.start();
  }
  if (exchange.over) return undefined;
  const isAllowed = found?.method === head.method;
  // Whoever may do nothing here is told so, and what is not there costs like what is.
  const isForOthers = peer.subject.kind !== 'device' && found?.isForDevices !== false;
  if (found === undefined || !isAllowed || isForOthers) {
    const reach = isAllowed && found.judgedAs === 'time' ? 'time' : 'service';
    return judged(peer, exchange, reach, () => {
      if (proxied !== undefined) exchange.refuseWith(methodNotAllowed(proxied), head.method);
      else if (isForOthers) exchange.refuse('forbidden', 'for devices only');
      else exchange.refuseWith(found?.wrongMethod ?? problems['not-found'], head.method);
    });
  }
  if (head.query !== undefined && !found.hasQuery) {
    exchange.refuse('malformed', 'a query that is not for here');
    return undefined;
  }
  if (head.bodyBytes !== 0 && found.method !== 'POST') {
    // RFC 9110 §9.3.1: such content has no meaning, and may be another request for somebody else on the way.
    exchange.refuse('malformed', `${head.method} with content`);
    return undefined;
  }
  const { by } = peer.authentication;
  if (
    isOfCommands(head.path) &&
    !connection.ports.policy().takes(by, commandFilter(peer.subject.id))
  ) {
    return judged(peer, exchange, 'service', () =>
      exchange.refuse('unauthenticated', `no route takes ${by} for commands`),
    );
  }
  if (found.judgedAs === 'message') return found.handle(connection, peer, exchange, head);
  return judged(peer, exchange, found.judgedAs, () =>
    found.handle(connection, peer, exchange, head),
  );
}

/** @returns the methods that would be taken, when this one is not; undefined = there is no route, or it was refused. */
function proxiedOf(
  connection: PeerConnection,
  peer: Peer,
  exchange: Exchange,
  head: RequestHead,
): ProxiedRequest | string | undefined {
  const policy = connection.ports.policy();
  if (policy.document.proxied.length === 0) return undefined;
  const target = canonicalTarget(exchange.request.target);
  if (!target.ok) {
    exchange.refuse('malformed', target.problem);
    return undefined;
  }
  const { path } = target;
  const { id } = peer.subject;
  exchange.resource = path;
  const route = policy.proxied(head.method, path, id);
  if (route !== undefined) {
    return new ProxiedRequest({ connection, peer, exchange, head, path, route });
  }
  const methods = policy.proxiedMethods(path, id);
  return methods.length === 0 ? undefined : methods.join(', ');
}

/** A route whose path has the principal's id is looked for again: it may be another's. */
async function proxiedByToken(
  connection: PeerConnection,
  peer: Peer,
  exchange: Exchange,
  head: RequestHead,
  path: string,
): Promise<void> {
  const guest = await peerByToken(connection, peer, exchange, head, path);
  if (guest === undefined || exchange.over) return;
  const route = connection.ports.policy().proxied(head.method, path, guest.subject.id);
  if (route === undefined) {
    await judged(guest, exchange, 'service', () => exchange.refuse('not-found', head.method));
  } else {
    await new ProxiedRequest({ connection, peer: guest, exchange, head, path, route }).start();
  }
}

const authenticated = Object.freeze({ authentication: Object.freeze({ ok: true }) });

function judged(
  peer: Peer,
  exchange: Exchange,
  reach: Reach,
  handle: () => Promise<void> | undefined | void,
): Promise<void> | undefined {
  const bound = peer.checks.request(reach);
  const passes = (decision: Decision): boolean => {
    if (exchange.over) return false;
    exchange.more = rateFields(peer.subject.rates, bound.rates);
    if (!decision.allowed) exchange.deny(decision);
    return decision.allowed;
  };
  const decision = bound.decide(authenticated);
  if (decision instanceof Promise) {
    return decision.then((settled) => (passes(settled) ? handle() : undefined));
  }
  return passes(decision) ? (handle() ?? undefined) : undefined;
}
