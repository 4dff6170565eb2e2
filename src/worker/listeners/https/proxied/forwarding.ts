/**
 * What the gateway itself tells a backend about a request: who asks, from where, and to whom the device believed to speak.
 * The same for all requests of a connection, so that it is made once.
 */
import { parseCertificate } from '../../../../common/identity/certificate.ts';
import { nameText } from '../../../../common/identity/name-text.ts';
import { CommonHeaders } from '../../../routes/upstream/common-headers.ts';
import { isOwnName } from '../own-names.ts';
import type { ConnectedSubject } from '../../identified.ts';

export interface ForwardedPeer {
  readonly subject: Pick<ConnectedSubject, 'name' | 'kind' | 'id'>;
  /** DER of the certificate that has been verified; undefined = it has proven by other means who it is. */
  readonly certificate: Buffer | undefined;
  readonly address: string;
}

/** An address of IPv4 as a socket of both versions has it (RFC 4291 §2.5.5.2). */
const mapped = '::ffff:';
const nothing = new CommonHeaders([]);

export class Forwarding {
  readonly #peer: ForwardedPeer;
  /** Made when there is a request that needs it: most connections never have one. */
  #base: readonly string[] | undefined;
  #host = '';
  #hosts: readonly string[] = [];
  #headers = nothing;

  constructor(peer: ForwardedPeer) {
    this.#peer = peer;
  }

  /**
   * @param host the request's `Host`, checked for its form. It is told to a backend when it is one of `hosts`, the gateway's
   *   own names: a backend makes links of it.
   * @returns the same as long as nothing of it has changed.
   */
  headers(host: string, hosts: readonly string[]): CommonHeaders {
    if (host !== this.#host || hosts !== this.#hosts) {
      this.#base ??= baseOf(this.#peer);
      const isOwn = isOwnName(host, hosts);
      this.#headers = new CommonHeaders(
        isOwn ? [...this.#base, 'X-Forwarded-Host', host] : this.#base,
      );
      this.#host = host;
      this.#hosts = hosts;
    }
    return this.#headers;
  }
}

function baseOf({ subject, certificate, address }: ForwardedPeer): readonly string[] {
  const lines = ['X-Principal', subject.name];
  if (subject.kind === 'device') lines.push('X-Device-Id', subject.id);
  if (certificate !== undefined) {
    lines.push('X-Client-DN', nameText(parseCertificate(certificate).subject));
    // RFC 9440 §2.1: a byte sequence of RFC 8941.
    lines.push('Client-Cert', `:${certificate.toString('base64')}:`);
  }
  const plain = address.startsWith(mapped) ? address.slice(mapped.length) : address;
  lines.push('X-Forwarded-For', plain, 'X-Forwarded-Proto', 'https');
  // RFC 9110 §7.6.3.
  lines.push('Via', '1.1 sallyport');
  return lines;
}
