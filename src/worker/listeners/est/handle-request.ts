/**
 * From a request to what it asks for (RFC 7030 §3.2.2): what cannot be one of EST is refused here, the rest is carried to
 * control and its answer back. Nothing about the peer is judged but that it holds the key of its certificate.
 */
import { denyCodes, errorCodeOf, messageOf } from '../../../common/base/errors.ts';
import type { EstCall } from '../../../common/ipc/control-calls.ts';
import type { SecureConnection } from '../../transport/secure-connection.ts';
import type { Exchange } from '../http/exchange.ts';
import { readHead } from '../http/request-head.ts';
import type { RequestHead } from '../http/request-head.ts';
import type { Problem } from '../http/wire.ts';
import {
  methodNotAllowed,
  notImplemented,
  unknownExpectation,
  unsupportedCoding,
} from '../http/wire.ts';
import { give, readAnswer } from './answer.ts';
import type { Answer } from './answer.ts';
import type { EstPorts } from './ports.ts';
import type { PublicAnswers } from './public-answers.ts';

interface Operation {
  readonly method: 'GET' | 'POST';
  /** `public` is the same for everybody; `enrolment` is decided for each; `none` is not offered. */
  readonly kind: 'public' | 'enrolment' | 'none';
  readonly wrongMethod: Problem;
}

function operation(method: Operation['method'], kind: Operation['kind']): Operation {
  return { method, kind, wrongMethod: methodNotAllowed(method) };
}

const operations: ReadonlyMap<string, Operation> = new Map([
  ['cacerts', operation('GET', 'public')],
  ['csrattrs', operation('GET', 'public')],
  ['simpleenroll', operation('POST', 'enrolment')],
  ['simplereenroll', operation('POST', 'enrolment')],
  // Private keys are made where they are used; and a device that can do CMC can do without.
  ['serverkeygen', operation('POST', 'none')],
  ['fullcmc', operation('POST', 'none')],
]);

const pathPattern = /^\/\.well-known\/est\/(?:([A-Za-z0-9._~-]{1,64})\/)?([a-z]{1,16})$/;

/** @returns a promise that rejects for a defect only. */
export async function handleRequest(
  ports: EstPorts,
  publicAnswers: PublicAnswers,
  exchange: Exchange,
  transport: SecureConnection,
): Promise<void> {
  const head = readHead(exchange.request, ports.limits().headers);
  if ('problem' in head) {
    exchange.refuseWith(head.problem, head.detail);
    return;
  }
  // No protocol is changed here, and what follows is no longer all that was sent.
  if (head.wantsUpgrade) exchange.makeLast();
  exchange.action = head.method;
  exchange.resource = head.path;
  if (exchange.expectation === 'unknown') {
    exchange.refuseWith(unknownExpectation, 'Expect');
    return;
  }
  const [, label, name = ''] = pathPattern.exec(head.path) ?? [];
  const found = operations.get(name);
  // RFC 7030 §3.2.2: a label is none of the operations.
  if (found === undefined || (label !== undefined && operations.has(label))) {
    exchange.refuse('not-found', 'nothing of EST');
  } else if (head.method !== found.method) {
    exchange.refuseWith(found.wrongMethod, head.method);
  } else if (head.query !== undefined) {
    exchange.refuse('malformed', 'a query');
  } else if (found.kind === 'none') {
    exchange.refuseWith(notImplemented, 'not offered');
  } else {
    const call = callOf(head, name, label, transport.remoteAddress);
    if (found.kind === 'public') await answerAll(ports, publicAnswers, exchange, head, call);
    else await enrol(ports, exchange, transport, head, call);
  }
}

/** What is asked, without who asks. */
function callOf(
  head: RequestHead,
  name: string,
  label: string | undefined,
  address: string,
): EstCall {
  return {
    what: 'est',
    operation: name,
    label,
    method: head.method,
    address,
    certificate: undefined,
    authorization: undefined,
    contentType: undefined,
    body: undefined,
  };
}

async function answerAll(
  { failed }: EstPorts,
  publicAnswers: PublicAnswers,
  exchange: Exchange,
  { bodyBytes }: RequestHead,
  call: EstCall,
): Promise<void> {
  if (bodyBytes !== 0) {
    // RFC 9110 §9.3.1: such content has no meaning, and may be another request for somebody else on the way.
    exchange.refuse('malformed', 'GET with content');
    return;
  }
  const answer = await unlessRefused(exchange, () => publicAnswers.get(call));
  if (answer === undefined) return;
  // Strangers can think of any number of labels, and each that is none is a question to control.
  if (isRefusal(answer)) refused(exchange, failed, call.address);
  give(exchange, answer);
}

async function enrol(
  { limits, call: ask, failed, count }: EstPorts,
  exchange: Exchange,
  transport: SecureConnection,
  { contentCoding, contentType, bodyBytes, authorization }: RequestHead,
  call: EstCall,
): Promise<void> {
  const { estRequestBytes } = limits();
  if (contentCoding !== undefined && contentCoding.toLowerCase() !== 'identity') {
    exchange.refuseWith(unsupportedCoding, 'Content-Encoding');
    return;
  }
  if (bodyBytes === 0) {
    exchange.refuse('malformed', 'no request in it');
    return;
  }
  if (bodyBytes !== 'unknown' && bodyBytes > estRequestBytes) {
    exchange.refuse('too-large', `${bodyBytes} bytes`);
    return;
  }
  const body = await exchange.wholeBody(estRequestBytes);
  if (body === undefined) return;
  const { peerCertificate, remoteAddress } = transport;
  const answer = await unlessRefused(exchange, async () =>
    readAnswer(
      await ask({
        ...call,
        certificate: peerCertificate?.toString('base64'),
        authorization,
        contentType,
        body: body.toString('base64'),
      }),
    ),
  );
  if (answer === undefined) return;
  count(`est_answers{status="${answer.status}"}`);
  // Also for who has gone meanwhile: he has had his try.
  if (answer.status === 200) transport.authenticated();
  else if (isRefusal(answer)) refused(exchange, failed, remoteAddress);
  give(exchange, answer);
}

/**
 * The connection ends with it: each try takes a handshake, whose pace is the network's. Without that, the requests that a
 * few strangers may send on each connection were all that control has time for.
 */
function refused(exchange: Exchange, failed: EstPorts['failed'], address: string): void {
  failed(address);
  exchange.makeLast();
}

/** Of who asks, and no trouble of our own. */
function isRefusal({ status }: Answer): boolean {
  return status >= 400 && status < 500;
}

/** @returns undefined when the exchange is refused instead. */
async function unlessRefused(
  exchange: Exchange,
  asking: () => Promise<Answer>,
): Promise<Answer | undefined> {
  try {
    return await asking();
  } catch (error) {
    const code = errorCodeOf(error);
    exchange.refuse(denyCodes.find((each) => each === code) ?? 'unavailable', messageOf(error));
    return undefined;
  }
}
