/** From a request to its answer: every path that there is. Everything else is not found, without a word. */
import { messageOf, SallyportError } from '../../../common/base/errors.ts';
import type { Allowance } from './allowance.ts';
import type { CaCertificates, Published } from './ca-certificates.ts';
import type { OcspAnswers } from './ocsp-answers.ts';
import type { StatusPorts } from './ports.ts';
import type { StatusRequest } from './request-reader.ts';
import type { RevocationList, RevocationLists } from './revocation-lists.ts';
import { isNonce } from './time-signer.ts';
import type { TimeSigner } from './time-signer.ts';
import {
  document,
  internal,
  malformed,
  notFound,
  ocspMalformed,
  ocspTryLater,
  signedTime,
  tooLarge,
  tooMany,
  unavailable,
} from './wire.ts';
import type { Answer } from './wire.ts';

export interface StatusService {
  readonly ports: StatusPorts;
  readonly ocsp: OcspAnswers;
  readonly lists: RevocationLists;
  readonly certificates: CaCertificates;
  readonly time: TimeSigner;
  /** Of the whole worker. */
  readonly signatures: Allowance;
}

/** What counts more than once against its source, besides the request itself; see `limits.sourceStatusPerSecond`. */
const signatureCost = 3;
const callCost = 9;
const bytesPerUnit = 16 * 1024;

const crlMaxAgeSeconds = 60;
/** A CA certificate does not change; which there are, seldom. */
const certificateMaxAgeSeconds = 3_600;

const crlPath = /^\/crl\/([0-9a-f]{8,64})(-delta)?\.crl$/;
const certificatePath = /^\/ca\/([0-9a-f]{8,64})\.cer$/;
const ocspPath = '/ocsp/';
const timePath = '/time?nonce=';

type Kind = 'ocsp' | 'crl' | 'ca' | 'time' | 'other';

/** @param source what whoever asks may still have. */
export function answerTo(
  service: StatusService,
  request: StatusRequest,
  source: Allowance,
): Answer | Promise<Answer> {
  const { count } = service.ports;
  if (!source.take(1)) {
    count('status_refused{code="rate"}');
    return tooMany;
  }
  const { method, target, ifNoneMatch } = request;
  const said = (kind: Kind): void => count(`status_requests{kind="${kind}"}`);
  if (method === 'POST') {
    said(target === '/ocsp' ? 'ocsp' : 'other');
    return target === '/ocsp' ? ocsp(service, request.body, source) : notFound;
  }
  if (target.startsWith(ocspPath)) {
    said('ocsp');
    const { ocspRequestBytes } = service.ports.limits();
    const inPath = requestIn(target.slice(ocspPath.length), ocspRequestBytes);
    return Buffer.isBuffer(inPath) ? ocsp(service, inPath, source) : inPath;
  }
  if (target.startsWith(timePath)) {
    said('time');
    return time(service, target.slice(timePath.length), source);
  }
  if (target === '/time') return malformed;
  if (target === '/time.cer') {
    said('time');
    return certificate(service.time.certificate, 60, ifNoneMatch);
  }
  if (target === '/crl.crl') {
    said('crl');
    return crl(service, undefined, false, ifNoneMatch, source);
  }
  const [, issuer, delta] = crlPath.exec(target) ?? [];
  if (issuer !== undefined && service.certificates.get(issuer) !== undefined) {
    said('crl');
    return crl(service, issuer, delta !== undefined, ifNoneMatch, source);
  }
  if (target === '/ca.pem') {
    said('ca');
    const { body, etag } = service.certificates.all;
    return document('application/x-pem-file', body, etag, certificateMaxAgeSeconds, ifNoneMatch);
  }
  const [, id] = certificatePath.exec(target) ?? [];
  said(id === undefined ? 'other' : 'ca');
  const found = id === undefined ? undefined : service.certificates.get(id);
  return certificate(found, certificateMaxAgeSeconds, ifNoneMatch);
}

function ocsp(
  service: StatusService,
  request: Buffer,
  source: Allowance,
): Answer | Promise<Answer> {
  const { count } = service.ports;
  const stored = service.ocsp.find(request);
  if (stored !== undefined) {
    count('ocsp_answers{from="store"}');
    return stored;
  }
  if (request.length === 0) return ocspMalformed;
  if (!source.take(callCost)) {
    count('status_refused{code="rate"}');
    return tooMany;
  }
  count('ocsp_answers{from="control"}');
  return service.ocsp.ask(request).catch((error: unknown) => ocspRefusal(service, error));
}

/** A client of OCSP is told in OCSP's own words, where it has some. */
function ocspRefusal(service: StatusService, error: unknown): Answer {
  if (!(error instanceof SallyportError)) return defect(service, error);
  service.ports.count(`status_refused{code="${error.code}"}`);
  switch (error.code) {
    case 'malformed':
      return ocspMalformed;
    case 'rate':
    case 'busy':
    case 'unavailable':
      return ocspTryLater;
    default:
      return defect(service, error);
  }
}

function crl(
  service: StatusService,
  issuer: string | undefined,
  delta: boolean,
  had: string | undefined,
  source: Allowance,
): Answer | Promise<Answer> {
  const shown = ({ der, tag }: RevocationList): Answer => {
    const answer = document('application/pkix-crl', der, `"${tag}"`, crlMaxAgeSeconds, had);
    // One of them has been counted.
    source.spend(Math.floor(answer.body.length / bytesPerUnit));
    return answer;
  };
  const stored = service.lists.find(issuer, delta);
  if (stored !== undefined) return shown(stored);
  return service.lists.ask(issuer, delta).then(shown, (error: unknown) => {
    if (!(error instanceof SallyportError)) return defect(service, error);
    service.ports.count(`status_refused{code="${error.code}"}`);
    return error.code === 'not-found' ? notFound : unavailable;
  });
}

function certificate(
  found: Published | undefined,
  maxAgeSeconds: number,
  had: string | undefined,
): Answer {
  if (found === undefined) return notFound;
  return document('application/pkix-cert', found.body, found.etag, maxAgeSeconds, had);
}

function time(service: StatusService, nonce: string, source: Allowance): Answer {
  if (!isNonce(nonce)) return malformed;
  if (!source.take(signatureCost) || !service.signatures.take(1)) {
    service.ports.count('status_refused{code="rate"}');
    return tooMany;
  }
  const jws = service.time.sign(nonce);
  return jws === undefined ? unavailable : signedTime(jws);
}

/** RFC 6960 appendix A.1: base64, then escaped for a URL, which not all clients do; a slash before it is a client's, too. */
function requestIn(escaped: string, maxBytes: number): Buffer | Answer {
  // Three characters for each that is escaped, four for three bytes.
  if (escaped.length > maxBytes * 4) return tooLarge;
  let text = escaped;
  try {
    if (escaped.includes('%')) text = decodeURIComponent(escaped);
  } catch {
    return malformed;
  }
  if (!/^\/?[A-Za-z0-9+/]{4,}={0,2}$/.test(text)) return malformed;
  const request = Buffer.from(text.startsWith('/') ? text.slice(1) : text, 'base64');
  return request.length > maxBytes ? tooLarge : request;
}

function defect({ ports }: StatusService, error: unknown): Answer {
  ports.count('internal_errors');
  ports.logger.error(
    { listener: 'status', err: messageOf(error) },
    'no answer because of a defect',
  );
  return internal;
}
