/**
 * `POST` to a channel: the body becomes a message on the device's own topic, judged by the policy, made durable, handed
 * on, and then accepted.
 */
import { noProperties } from '../../../common/codec/mqtt/packets.ts';
import type { MessageProperties } from '../../../common/codec/mqtt/packets.ts';
import type { Message } from '../../broker/message.ts';
import type { Decision } from '../../policy/decision.ts';
import type { RateBucket } from '../../policy/ports.ts';
import type { Storing } from '../../routes/intake.ts';
import type { Peer, PeerConnection } from './peer.ts';
import type { Exchange } from '../http/exchange.ts';
import { refuseFor } from './failures.ts';
import { rateFields } from '../http/rate-fields.ts';
import type { RequestHead } from '../http/request-head.ts';
import { accepted, unsupportedCoding } from '../http/wire.ts';

export interface Channel {
  /** Last level of the topic. */
  readonly name: string;
  readonly retain: boolean;
}

/** What curl says of any body when it is told nothing: no statement about the payload. */
const formContent = /^application\/x-www-form-urlencoded[ \t]*(?:;|$)/i;
const noBytes = Buffer.alloc(0);

export function handlePublish(
  connection: PeerConnection,
  peer: Peer,
  exchange: Exchange,
  head: RequestHead,
  channel: Channel,
): Promise<void> | undefined {
  const topic = `devices/${peer.subject.id}/${channel.name}`;
  exchange.action = 'publish';
  exchange.resource = topic;
  const publication: Publication = {
    connection,
    peer,
    exchange,
    head,
    topic,
    retain: channel.retain,
    properties: propertiesOf(head.contentType),
  };
  // Who may not publish at all is told before anything else is looked at; that costs him nothing of his rate.
  if (peer.subject.identity.standing !== 'active') return judge(publication, noBytes);
  const { contentCoding, bodyBytes } = head;
  if (contentCoding !== undefined && contentCoding.toLowerCase() !== 'identity') {
    // Nothing is ever decompressed here: a payload is what was sent.
    exchange.refuseWith(unsupportedCoding, 'Content-Encoding');
    return undefined;
  }
  const { payloadBytes } = connection.ports.limits();
  if (bodyBytes !== 'unknown' && bodyBytes > payloadBytes) {
    exchange.refuse('too-large', `${bodyBytes} bytes`);
    return undefined;
  }
  if (bodyBytes === 0) return judge(publication, noBytes);
  exchange.readBody(payloadBytes, (payload) => {
    connection.run(() => {
      judge(publication, payload)?.catch((error: unknown) => connection.fault(error));
    });
  });
  return undefined;
}

interface Publication {
  readonly connection: PeerConnection;
  readonly peer: Peer;
  readonly exchange: Exchange;
  readonly head: RequestHead;
  readonly topic: string;
  readonly retain: boolean;
  readonly properties: MessageProperties;
}

function judge(publication: Publication, payload: Buffer): Promise<void> | undefined {
  const { connection, peer, exchange, head, topic, retain, properties } = publication;
  connection.ports.count('https_messages_in');
  const { contentType } = properties;
  const signed =
    peer.signed ??
    connection.ports.signatures.signedRequest({
      method: head.method,
      path: head.path,
      query: head.query,
      rawHeaders: exchange.request.rawHeaders,
      body: payload,
      principal: peer.subject.name,
    });
  const { by } = peer.authentication;
  const facts = { payload, qos: 1, retain, userProperties: 0, contentType, by, signed } as const;
  const bound = peer.checks.publish(topic);
  const { rates } = bound;
  const decision = bound.decide(facts);
  return decision instanceof Promise
    ? decision.then((settled) => decided(publication, payload, settled, rates))
    : decided(publication, payload, decision, rates);
}

function decided(
  publication: Publication,
  payload: Buffer,
  decision: Decision,
  rates: readonly RateBucket[],
): Promise<void> | undefined {
  const { connection, peer, exchange, topic, retain, properties } = publication;
  if (exchange.over) return undefined;
  exchange.more = rateFields(peer.subject.rates, rates);
  if (!decision.allowed) {
    exchange.deny(decision);
    return undefined;
  }
  const message: Message = {
    topic,
    payload,
    qos: 1,
    retain,
    properties,
    publisher: peer.subject.name,
    publisherSession: '',
    delivery: undefined,
    expiresAt: undefined,
  };
  const { intake } = connection.ports;
  let storing: Storing | undefined;
  try {
    storing = intake.store(message);
  } catch (error) {
    refuseFor(exchange, error);
    return undefined;
  }
  if (storing === undefined) {
    accept(publication, message);
    return undefined;
  }
  const { message: dealt, done } = storing;
  return done.then(
    () => accept(publication, dealt),
    (error: unknown) => refuseFor(exchange, error),
  );
}

/** Also when the device has gone meanwhile: what is stored is published. */
function accept({ connection, exchange, peer }: Publication, message: Message): void {
  const { intake, logger } = connection.ports;
  intake.publish(message);
  if (logger.isLevelEnabled('debug')) {
    const { topic, payload } = message;
    const { name } = peer.subject;
    const fields = { principal: name, action: 'publish', resource: topic, bytes: payload.length };
    logger.debug(fields, 'accepted');
  }
  exchange.answer(202, accepted);
}

function propertiesOf(contentType: string | undefined): MessageProperties {
  if (contentType === undefined || contentType === '') return noProperties;
  return formContent.test(contentType) ? noProperties : { contentType };
}
