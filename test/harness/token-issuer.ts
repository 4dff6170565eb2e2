/**
 * A real authorization server, npm's oidc-provider, on loopback and over TLS: it gives out access tokens as JWTs or opaque,
 * bound by DPoP or to a certificate or to nothing, answers introspection, and takes tokens back.
 */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, request } from 'node:https';
import type { Server } from 'node:https';
import type { TLSSocket } from 'node:tls';
import * as DPoP from 'dpop';
import { Provider } from 'oidc-provider';
import type { Identity } from './gateway.ts';
import { issueLeaf, makeAuthority } from './openssl.ts';
import { temporaryFolder } from './temporary-folder.ts';
import type { TemporaryFolder } from './temporary-folder.ts';

export const issuerAudience = 'https://gateway.fleet.example';

/** With which everybody authenticates himself there. */
const secret = 'a secret of the tests and of nobody else';
const clients = ['dashboard', 'reports', 'gateway'] as const;

export interface TokenRequest {
  readonly client?: (typeof clients)[number];
  readonly scope?: string;
  /** The token is bound to this key (RFC 9449). */
  readonly dpop?: DPoP.KeyPair;
  /** The token is bound to this certificate (RFC 8705). */
  readonly certificate?: Identity;
  readonly opaque?: boolean;
}

export class TokenIssuerServer implements AsyncDisposable {
  /** PEM of the authority that vouches for it. */
  readonly ca: string;
  /** Paths that were asked for. */
  readonly asked: string[] = [];
  readonly errors: unknown[] = [];
  readonly #folder: TemporaryFolder = temporaryFolder();
  readonly #server: Server;
  #provider: Provider | undefined;
  #opaque = false;
  #keys: Record<string, unknown>[] = [];

  static async start(): Promise<TokenIssuerServer> {
    const issuer = new TokenIssuerServer();
    await new Promise<void>((resolve) => issuer.#server.listen(0, '127.0.0.1', resolve));
    issuer.signBy('first');
    return issuer;
  }

  private constructor() {
    const authority = makeAuthority(this.#folder.at('ca'), 'Issuer');
    const leaf = issueLeaf(authority, this.#folder.at('ca'), 'issuer', authority.crt, {
      subject: '/CN=localhost',
      extensions: ['extendedKeyUsage=serverAuth', 'subjectAltName=DNS:localhost'],
    });
    this.ca = readFileSync(authority.crt, 'utf8');
    const tls = { key: readFileSync(leaf.key), cert: readFileSync(leaf.crt) };
    // Whose certificates they are is not its business: RFC 8705 section 2.2, and the gateway's to say.
    this.#server = createServer(
      { ...tls, requestCert: true, rejectUnauthorized: false },
      (incoming, response) => {
        this.asked.push(incoming.url ?? '');
        this.#provider?.callback()(incoming, response);
      },
    );
  }

  get url(): string {
    const address = this.#server.address();
    assert.ok(typeof address === 'object' && address !== null);
    return `https://localhost:${address.port}`;
  }

  /** From now on with a new key, which its set has beside the one before. */
  signBy(kid: string): void {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const key = { ...privateKey.export({ format: 'jwk' }), kid, use: 'sig', alg: 'ES256' };
    this.#keys = [key, ...this.#keys].slice(0, 2);
    const provider = new Provider(this.url, this.#configuration());
    provider.on('server_error', (_context, error) => this.errors.push(error));
    this.#provider = provider;
  }

  /** @throws AssertionError when there is none. */
  async token(asked: TokenRequest = {}): Promise<string> {
    const { client = 'dashboard', scope = 'fleet.read', dpop, certificate, opaque = false } = asked;
    this.#opaque = opaque;
    const proof = dpop && (await DPoP.generateProof(dpop, `${this.url}/token`, 'POST'));
    const { status, body } = await this.#post(
      '/token',
      client,
      { grant_type: 'client_credentials', scope, resource: issuerAudience },
      { headers: proof === undefined ? {} : { DPoP: proof }, certificate },
    );
    assert.equal(status, 200, body);
    const { access_token: token } = JSON.parse(body) as { access_token?: unknown }; // RFC 6749 section 5.1
    assert.ok(typeof token === 'string');
    return token;
  }

  /** RFC 7009. */
  async takeBack(token: string, client: (typeof clients)[number] = 'dashboard'): Promise<void> {
    const { status, body } = await this.#post('/token/revocation', client, { token });
    assert.equal(status, 200, body);
  }

  /** What the gateway needs to ask it. */
  get introspection(): {
    readonly url: string;
    readonly clientId: string;
    readonly secret: string;
  } {
    return { url: `${this.url}/token/introspection`, clientId: 'gateway', secret };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#folder[Symbol.dispose]();
  }

  #configuration(): Readonly<Record<string, unknown>> {
    const client = (id: string): object => ({
      client_id: id,
      client_secret: secret,
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
      id_token_signed_response_alg: 'ES256',
      tls_client_certificate_bound_access_tokens: id === 'reports',
    });
    return {
      clients: clients.map(client),
      jwks: { keys: this.#keys },
      scopes: ['fleet.read', 'fleet.write'],
      enabledJWA: { dPoPSigningAlgValues: ['ES256', 'Ed25519', 'PS256', 'RS256'] },
      features: {
        devInteractions: { enabled: false },
        clientCredentials: { enabled: true },
        dPoP: { enabled: true },
        revocation: { enabled: true },
        introspection: { enabled: true, allowedPolicy: () => true },
        mTLS: {
          enabled: true,
          certificateBoundAccessTokens: true,
          getCertificate: ({ socket }: { readonly socket: TLSSocket }) =>
            socket.getPeerX509Certificate()?.toString(),
        },
        resourceIndicators: {
          enabled: true,
          defaultResource: () => issuerAudience,
          useGrantedResource: () => true,
          getResourceServerInfo: () => ({
            scope: 'fleet.read fleet.write',
            audience: issuerAudience,
            accessTokenTTL: 600,
            ...(this.#opaque
              ? { accessTokenFormat: 'opaque' }
              : { accessTokenFormat: 'jwt', jwt: { sign: { alg: 'ES256' } } }),
          }),
        },
      },
    };
  }

  #post(
    path: string,
    client: string,
    form: Readonly<Record<string, string>>,
    more: { headers?: Readonly<Record<string, string>>; certificate?: Identity | undefined } = {},
  ): Promise<{ readonly status: number; readonly body: string }> {
    const { promise, resolve, reject } = Promise.withResolvers<{ status: number; body: string }>();
    const user = [client, secret].map(encodeURIComponent).join(':');
    const { certificate } = more;
    const sent = request(
      `${this.url}${path}`,
      {
        method: 'POST',
        ca: this.ca,
        agent: false,
        headers: {
          Authorization: `Basic ${Buffer.from(user).toString('base64')}`,
          'Content-Type': 'application/x-www-form-urlencoded',
          ...more.headers,
        },
        ...(certificate === undefined
          ? {}
          : { cert: readFileSync(certificate.crt), key: readFileSync(certificate.key) }),
      },
      (response) => {
        let body = '';
        response.setEncoding('utf8').on('data', (piece: string) => {
          body += piece;
        });
        response.on('end', () => resolve({ status: response.statusCode ?? 0, body }));
      },
    );
    sent.on('error', reject);
    sent.end(new URLSearchParams(form).toString());
    return promise;
  }
}
