/**
 * Messages as CloudEvents 1.0.2 over HTTP: binary mode (HTTP binding §3.1), batches (§3.3, JSON format §4).
 *
 * What the publisher says of a message beside its topic and content type, MQTT's user properties and response topic, is
 * not passed on: a device could name attributes that a backend trusts.
 */
import { spiffeId } from '../../common/base/principal.ts';
import { parseStrictJson } from '../../common/base/strict-json.ts';
import type { Message } from '../broker/message.ts';
import { saysOtherCharset } from '../policy/body-type.ts';
import type { WaitingMessage } from './spool-record.ts';

export interface EventRequest {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

const specVersion = '1.0';
const eventType = 'com.sallyport.message.v1';
const json = 'application/json';
const anything = 'application/octet-stream';

const maxContentTypeLength = 256;
/** RFC 9110 §8.3: type, subtype, parameters, in characters that no reader takes for the end of the field. */
const contentTypePattern =
  /^[!#$%&'*+.^_`|~0-9A-Za-z-]+\/[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]*;[ \t]*[\x21-\x7e\x20\t]*)?$/;
const jsonType = /^[^;/]+\/(?:json|[^;/]+\+json)[ \t]*(?:;|$)/i;

/** One message in binary mode. */
export function singleEvent(waiting: WaitingMessage, trustDomain: string): EventRequest {
  const { id, acceptedAt, message } = waiting;
  return {
    headers: {
      'ce-specversion': specVersion,
      'ce-id': id,
      'ce-source': headerValue(spiffeId(trustDomain, message.publisher)),
      'ce-type': eventType,
      'ce-subject': headerValue(message.topic),
      'ce-time': timeOf(acceptedAt),
      'content-type': declaredType(message) ?? (isJson(message) ? json : anything),
    },
    body: message.payload,
  };
}

export function eventBatch(batch: readonly WaitingMessage[], trustDomain: string): EventRequest {
  const parts: Buffer[] = [];
  for (const [i, waiting] of batch.entries()) {
    parts.push(i === 0 ? openBracket : comma, ...batchedEvent(waiting, trustDomain));
  }
  parts.push(closeBracket);
  return {
    headers: { 'content-type': 'application/cloudevents-batch+json; charset=utf-8' },
    body: Buffer.concat(parts),
  };
}

const openBracket = Buffer.from('[');
const comma = Buffer.from(',');
const closeBracket = Buffer.from(']');
const closeBrace = Buffer.from('}');
const closeText = Buffer.from('"}');

/**
 * JSON format §3.1.1: a JSON payload is the value of `data`, any other is `data_base64`. The payload's own text is put
 * in as it is: the strict reader has found it to be exactly one JSON value, and numbers keep all their digits.
 */
function batchedEvent(waiting: WaitingMessage, trustDomain: string): Buffer[] {
  const { id, acceptedAt, message } = waiting;
  const declared = declaredType(message);
  const asJson = (declared === undefined || jsonType.test(declared)) && isJson(message);
  const attributes = JSON.stringify({
    specversion: specVersion,
    id,
    source: spiffeId(trustDomain, message.publisher),
    type: eventType,
    subject: message.topic,
    time: timeOf(acceptedAt),
    datacontenttype: declared ?? (asJson ? json : anything),
  });
  const open = attributes.slice(0, -1);
  if (asJson) return [Buffer.from(`${open},"data":`), message.payload, closeBrace];
  const base64 = message.payload.toString('base64');
  return [Buffer.from(`${open},"data_base64":"${base64}`), closeText];
}

/**
 * The publisher's word, if it is one. A type of CloudEvents itself, wherever a careless reader may find it, would make
 * the payload an event whose source the device had written: readers look at the content type first (HTTP binding §3).
 * Types of forms make some frameworks act on fields of the body; curl claims one for whatever it sends. JSON is UTF-8, and
 * was judged as that: read as UTF-7, `+ACI-` in a string is the quote that ends it.
 */
function declaredType(message: Message): string | undefined {
  const type = message.properties.contentType;
  if (type === undefined || type.length > maxContentTypeLength) return undefined;
  if (!contentTypePattern.test(type) || misleading.test(type)) return undefined;
  return saysOtherCharset(type) && isJson(message) ? undefined : type;
}

const misleading = /cloudevents|^application\/x-www-form-urlencoded|^multipart\/|,/i;

function isJson({ payload }: Message): boolean {
  return parseStrictJson(payload).ok;
}

/** RFC 3339. */
function timeOf(ms: number): string {
  return new Date(ms).toISOString();
}

const unsafe = /[^\x21\x23\x24\x26-\x7e]/gu;

/** HTTP binding §3.1.3.2: space, quotation mark, percent and everything that is not printable ASCII, as UTF-8. */
function headerValue(text: string): string {
  return text.toWellFormed().replace(unsafe, encodeURIComponent);
}
