/**
 * One request, from its first line to its answer. The order is the security of it: who is it → is there such a route
 * for them → the body, bounded → who is it still → the route.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { SallyportError, errorCodeOf } from '../../common/base/errors.ts';
import type { Logger } from '../../common/base/logger.ts';
import { findRoute } from './find-route.ts';
import type { FoundRoute } from './find-route.ts';
import type { ControlServices } from './ports.ts';
import { problemOf } from './problem.ts';
import { readJsonBody } from './read-json-body.ts';
import type { Access, Answer, Caller, Route } from './route.ts';
import type { SourceBrake } from './source-brake.ts';

/** Largest body of an operator: a CSR is a few KiB. */
const maxBodyBytes = 1024 * 1024;
/** Largest body of a peer that has proven nothing: a token and a CSR. */
const maxAnonymousBodyBytes = 16 * 1024;

export interface RequestHandlerParts {
  readonly services: ControlServices;
  readonly routes: readonly Route[];
  readonly brake: SourceBrake;
  readonly logger: Logger;
  /** Asked twice per request: before and after its body, because standing may change while a body dribbles in. */
  readonly identify: (request: IncomingMessage) => Caller;
}

export type RequestHandler = (request: IncomingMessage, response: ServerResponse) => void;

export function createRequestHandler(parts: RequestHandlerParts): RequestHandler {
  return (request, response) => {
    handle(parts, request, response).catch((error: unknown) => {
      parts.logger.error({ err: error }, 'admin answer could not be sent');
      response.destroy();
    });
  };
}

async function handle(
  parts: RequestHandlerParts,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  let caller: Caller = anonymous;
  try {
    caller = parts.identify(request);
    send(response, await answer(parts, request, response, caller));
  } catch (error) {
    refuse(parts.logger, request, response, caller, error);
  }
}

const anonymous: Caller = Object.freeze({ via: 'anonymous', actor: 'anonymous', source: '' });

async function answer(
  parts: RequestHandlerParts,
  request: IncomingMessage,
  response: ServerResponse,
  caller: Caller,
): Promise<Answer> {
  const { route, params, query } = routeFor(parts.routes, request, response, caller);
  assertAccess(route.access, caller);
  const braked = caller.via === 'anonymous';
  if (braked) enterBrake(parts.brake, response, caller);
  const body = route.method === 'GET' ? undefined : await readJsonBody(request, bodyBound(caller));
  const still = parts.identify(request);
  if (still.via !== caller.via || still.actor !== caller.actor) throw unauthenticated();
  const result = await route.handle(parts.services, { caller, params, query, body });
  if (braked) parts.brake.succeeded(caller.source);
  return result;
}

/** A peer without a certificate gets the same answer for every path it may not use, there or not. */
function routeFor(
  routes: readonly Route[],
  request: IncomingMessage,
  response: ServerResponse,
  caller: Caller,
): FoundRoute {
  const search = findRoute(routes, request.method ?? '', request.url ?? '');
  if (search.found !== undefined) return search.found;
  if (caller.via === 'anonymous' || caller.via === 'metrics-token') throw unauthenticated();
  if (search.allowed.length > 0) response.setHeader('allow', search.allowed.join(', '));
  throw new SallyportError('not-found', 'there is no such resource');
}

const mayCall: Readonly<Record<Access, readonly Caller['via'][]>> = Object.freeze({
  local: ['local'],
  operator: ['local', 'operator'],
  metrics: ['local', 'operator', 'metrics-token'],
  anyone: ['local', 'operator', 'anonymous'],
});

function assertAccess(access: Access, caller: Caller): void {
  if (mayCall[access].includes(caller.via)) return;
  if (caller.via !== 'operator') throw unauthenticated();
  throw new SallyportError('forbidden', 'this is possible on the gateway itself only', {
    hint: 'run the sallyport command on the machine of the gateway',
  });
}

function enterBrake(brake: SourceBrake, response: ServerResponse, caller: Caller): void {
  const waitMs = brake.enter(caller.source);
  if (waitMs === 0) return;
  response.setHeader('retry-after', Math.ceil(waitMs / 1000));
  throw new SallyportError('rate', 'too many attempts');
}

function bodyBound(caller: Caller): number {
  return caller.via === 'anonymous' ? maxAnonymousBodyBytes : maxBodyBytes;
}

function unauthenticated(): SallyportError {
  return new SallyportError('unauthenticated', 'no operator');
}

function send(response: ServerResponse, result: Answer): void {
  if (!('json' in result) && !('text' in result)) {
    response.writeHead(result.status).end();
    return;
  }
  const text = 'json' in result ? JSON.stringify(result.json) : result.text;
  const type = 'json' in result ? 'application/json' : result.contentType;
  write(response, result.status, type, text);
}

function refuse(
  logger: Logger,
  request: IncomingMessage,
  response: ServerResponse,
  caller: Caller,
  error: unknown,
): void {
  const fields = { actor: caller.actor, source: caller.source, method: request.method };
  const code = errorCodeOf(error);
  if (code === 'internal') logger.error({ ...fields, err: error }, 'admin request failed');
  else logger.info({ ...fields, code }, 'admin request refused');
  const detailed = caller.via === 'local' || caller.via === 'operator';
  const problem = problemOf(error, detailed);
  // What is left of the body stays unread: the connection ends with the answer.
  if (!request.complete) response.setHeader('connection', 'close');
  write(response, problem.status, 'application/problem+json', JSON.stringify(problem));
}

function write(response: ServerResponse, status: number, type: string, text: string): void {
  const body = Buffer.from(text);
  response.writeHead(status, {
    'content-type': type,
    'content-length': body.length,
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  });
  response.end(body);
}
