/** Where a server is, and how TLS is spoken with it. */
import { isIP } from 'node:net';
import { createSecureContext } from 'node:tls';
import type { ConnectionOptions } from 'node:tls';
import { ownOptions, secureOptions } from '../../../common/base/tls-profile.ts';
import type { BackendTls } from '../../../common/ipc/snapshot.ts';

export interface ServerAddress {
  readonly origin: string;
  /** Without the brackets of an IPv6 address. */
  readonly host: string;
  readonly port: number;
  readonly secure: boolean;
  /** Host and, unless it is the usual one, port. */
  readonly authority: string;
}

/** @param origin checked by control. */
export function addressOf(origin: string): ServerAddress {
  const { protocol, hostname, port, host } = new URL(origin);
  const secure = protocol === 'https:';
  const usual = secure ? 443 : 80;
  return {
    origin,
    host: hostname.replace(/^\[(.*)\]$/, '$1'),
    port: port === '' ? usual : Number(port),
    secure,
    authority: host,
  };
}

/** The options of all connections of one upstream: what the certificates say is read once. */
export class UpstreamTls {
  readonly #settings: BackendTls;
  #options: ConnectionOptions | undefined;

  constructor(settings: BackendTls) {
    this.#settings = settings;
  }

  optionsFor(host: string): ConnectionOptions {
    this.#options ??= this.#make();
    // RFC 6066 §3: an address is no name.
    return isIP(host) === 0 ? { ...this.#options, servername: host } : this.#options;
  }

  /** Whether connections made with these are as good as those made with ours. */
  isFor({ ca, client, approvedOnly = false }: BackendTls): boolean {
    const own = this.#settings;
    return (
      own.ca === ca &&
      own.client?.certificate === client?.certificate &&
      own.client?.privateKey === client?.privateKey &&
      (own.approvedOnly ?? false) === approvedOnly
    );
  }

  #make(): ConnectionOptions {
    const { ca, client, approvedOnly = false } = this.#settings;
    const profile = ownOptions(approvedOnly);
    const secureContext = createSecureContext({
      ...profile,
      secureOptions,
      ...(ca === undefined ? {} : { ca }),
      ...(client === undefined ? {} : { cert: client.certificate, key: client.privateKey }),
    });
    return { ...profile, secureContext, rejectUnauthorized: true, ALPNProtocols: ['http/1.1'] };
  }
}
