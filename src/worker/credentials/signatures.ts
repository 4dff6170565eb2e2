/**
 * The signatures of requests and messages, of every protocol. What a listener gets is a `Signed` for the facts of the
 * policy, whose row `integrity` verifies it, or nothing when the message carries no signature.
 */
import type { UserProperty } from '../../common/codec/mqtt/packets.ts';
import type { PrincipalName } from '../../common/base/principal.ts';
import type { IntegrityDocument } from '../../common/config/proxied-route.ts';
import type { Signed } from '../policy/integrity.ts';
import { hmacClaim } from './hmac-claim.ts';
import type { SignedParts } from './hmac-claim.ts';
import { httpMessageClaim } from './http-message-claim.ts';
import type { KeyedIdentity } from './ports.ts';
import { RequestFields } from './request-fields.ts';
import type { SignatureClaim } from './signature-claim.ts';
import { SignedMessage } from './signed-message.ts';
import type { Refusal, VerifyingParts } from './signed-message.ts';

export interface SignedRequestParts {
  readonly method: string;
  /** Canonical. */
  readonly path: string;
  /** Without the question mark; undefined = there is none. */
  readonly query: string | undefined;
  /** Name and value in turn, as node:http has them. */
  readonly rawHeaders: readonly string[];
  /** All of it. Not changed as long as the answer is not there. */
  readonly body: Buffer;
  /** Whom the connection's certificate has proven; undefined = nobody, the signature has to tell. */
  readonly principal: PrincipalName | undefined;
}

export interface SignedPublishParts {
  readonly topic: string;
  /** Borrowed until the answer is there. */
  readonly payload: Buffer;
  readonly userProperties: readonly UserProperty[] | undefined;
  readonly principal: PrincipalName | undefined;
}

export type SignatureAuthentication =
  | {
      readonly ok: true;
      readonly name: PrincipalName;
      /** The snapshot's live record. */
      readonly identity: KeyedIdentity;
      /** `RegisteredKey.id`, for the log. */
      readonly keyId: string;
      readonly signed: Signed;
      /** False once the key is not in force any more: what lasts longer than the request MUST end then. */
      readonly stands: () => boolean;
    }
  | Refusal;

export class Signatures {
  readonly #parts: VerifyingParts;

  constructor(parts: VerifyingParts) {
    this.#parts = parts;
  }

  /** @returns undefined when the request carries no signature of any kind. */
  signedRequest(parts: SignedRequestParts): Signed | undefined {
    return this.#request(parts);
  }

  /** The same of an MQTT PUBLISH with user properties. */
  signedPublish(parts: SignedPublishParts): Signed | undefined {
    const { topic, payload, userProperties, principal } = parts;
    if (userProperties === undefined) return undefined;
    if (!userProperties.some(([name]) => name === iotSignature)) return undefined;
    const read = () => publishClaim(topic, payload, userProperties);
    return new SignedMessage(this.#parts, read, principal);
  }

  /**
   * Who has signed a request, for a listener whose peers show no certificate. Verifies the signature and its time; that
   * the request is new is found by `signed.verify`, whoever asks it first: the caller, or the policy's row `integrity` after
   * standing and rates of the principal. Whoever lets somebody in by it MUST have that row asked: a route that has no `integrity` takes none.
   *
   * @param rules of the route that is asked for.
   */
  authenticateBySignature(
    parts: SignedRequestParts,
    rules: IntegrityDocument,
  ): SignatureAuthentication {
    const signed = this.#request(parts);
    if (signed === undefined) return { ok: false, detail: 'no signature' };
    const found = signed.signer(parts.body.length === 0 ? overSomething(rules) : rules);
    if ('ok' in found) return found;
    const { principal: name, identity, id: keyId } = found;
    const { keys } = this.#parts;
    return { ok: true, name, identity, keyId, signed, stands: () => keys.stands(found) };
  }

  #request(parts: SignedRequestParts): SignedMessage | undefined {
    const found = signatureHeaders(parts.rawHeaders);
    if (found === undefined) return undefined;
    return new SignedMessage(this.#parts, () => requestClaim(parts, found), parts.principal);
  }
}

/** Of nothing the HMAC is the same for ever: whoever has seen it once, a backend for one, would have who made it for good. */
function overSomething(rules: IntegrityDocument): IntegrityDocument {
  return { ...rules, accept: rules.accept.filter((method) => method !== 'body-hmac') };
}

const iotSignature = 'x-iot-signature';
const iotNames = [iotSignature, 'x-iot-timestamp', 'x-iot-nonce', 'x-iot-key-id'] as const;
type IotName = (typeof iotNames)[number];

/** Of each at most the first value. */
class SignatureHeaders {
  readonly iot = new Map<IotName, string>();
  twice: IotName | undefined;
  /** There is a field of RFC 9421. */
  isMessageSignature = false;

  take(name: IotName, value: string): void {
    if (this.iot.has(name)) this.twice = name;
    else this.iot.set(name, value);
  }
}

/**
 * Of every request that a route with `integrity` may be for, so it looks at lengths first.
 *
 * @returns undefined when there is no signature.
 */
function signatureHeaders(raw: readonly string[]): SignatureHeaders | undefined {
  let found: SignatureHeaders | undefined;
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i] ?? '';
    const { length } = name;
    if (length !== 9 && length !== 11 && length !== 12 && length !== 15) continue;
    const lower = name.toLowerCase();
    if (lower === 'signature' || lower === 'signature-input') {
      (found ??= new SignatureHeaders()).isMessageSignature = true;
    } else if (isIotName(lower)) {
      (found ??= new SignatureHeaders()).take(lower, raw[i + 1] ?? '');
    }
  }
  return found?.isMessageSignature === true || found?.iot.has(iotSignature) === true
    ? found
    : undefined;
}

function isIotName(name: string): name is IotName {
  return name.startsWith('x-iot-') && iotNames.some((each) => each === name);
}

function requestClaim(parts: SignedRequestParts, found: SignatureHeaders): SignatureClaim | string {
  if (!found.iot.has(iotSignature)) {
    return httpMessageClaim(new RequestFields(parts.rawHeaders), parts);
  }
  // Nobody can tell which of them would be meant.
  return found.isMessageSignature ? 'signatures of two kinds' : iotClaim(found, parts);
}

function iotClaim({ iot, twice }: SignatureHeaders, parts: SignedParts): SignatureClaim | string {
  if (twice !== undefined) return `${twice} comes twice`;
  return hmacClaim(
    {
      signature: iot.get(iotSignature) ?? '',
      timestamp: iot.get('x-iot-timestamp'),
      nonce: iot.get('x-iot-nonce'),
      keyId: iot.get('x-iot-key-id'),
    },
    parts,
  );
}

/** In user properties the names are in lower case. */
function publishClaim(
  topic: string,
  payload: Buffer,
  userProperties: readonly UserProperty[],
): SignatureClaim | string {
  const found = new SignatureHeaders();
  for (const [name, value] of userProperties) if (isIotName(name)) found.take(name, value);
  return iotClaim(found, { method: 'PUBLISH', path: topic, query: undefined, body: payload });
}
