/** The header of the request that a backend gets: what we say of the device, and what of its own header may pass. */
import type { BadHead, RequestHead } from '../../http/request-head.ts';
import type { UpstreamRequest } from '../../../routes/upstream/ports.ts';
import { problems } from '../../http/wire.ts';
import type { Peer } from '../peer.ts';
import type { HttpsPorts } from '../ports.ts';
import { appendPassedOn } from './request-headers.ts';

export interface AskedRequest {
  readonly head: RequestHead;
  /** Name and value in turn, as node:http has them. */
  readonly raw: readonly string[];
  /** Canonical. */
  readonly path: string;
  readonly route: string;
}

/** What of an upstream's request is a header. */
type UpstreamHeaders = Required<Pick<UpstreamRequest, 'common' | 'headers'>>;

/** @returns why the request cannot go on, when it cannot. */
export function upstreamLines(
  { policy, assertions }: Pick<HttpsPorts, 'policy' | 'assertions'>,
  { subject, forwarding, authentication: { by } }: Peer,
  { head, raw, path, route }: AskedRequest,
): UpstreamHeaders | BadHead {
  const { pages, trustDomain } = policy().document;
  const common = forwarding.headers(head.host, pages.hosts);
  const headers: string[] = [];
  const refused = appendPassedOn(headers, raw, by === 'token' || by === 'device-jwt');
  if (refused !== undefined) return refused;
  if (!assertions.isWanted(route)) return { common, headers };
  const { method } = head;
  const asserted = { principal: subject.name, method, path };
  const assertion = assertions.sign(route, trustDomain, asserted);
  // A backend that waits for it must not be asked without.
  if (assertion === undefined) {
    return { problem: problems.unavailable, detail: 'there is no key for assertions yet' };
  }
  headers.push('X-Sallyport-Identity', assertion);
  return { common, headers };
}
