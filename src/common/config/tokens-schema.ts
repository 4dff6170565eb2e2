/** The part of the schema that is about access tokens: whose are taken, and those that the gateway gives out. */
import { count, duration, mapping, secret, size } from './config-node.ts';
import type { ConfigNode } from './config-node.ts';

/** Asymmetric ones (RFC 7518 section 3.1, RFC 8037): whoever verifies must not be able to sign. */
const tokenAlgorithms = [
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'PS256',
  'PS384',
  'PS512',
  'RS256',
  'RS384',
  'RS512',
] as const;

const ca = (of: string): ConfigNode => ({
  type: 'string',
  kind: 'path',
  description: `PEM file with the authorities that may have signed the certificate of ${of}, and no others; without it, those that Node brings.`,
  example: 'issuer-ca.pem',
});

const jwks: ConfigNode = {
  ...mapping(
    'Where its public keys are (RFC 7517): an `https://` URL, or that and how it is asked. Nothing is ever fetched from where a token says, and redirects are not followed. Without it every token is asked about by `introspection`.',
    {
      url: { type: 'string', kind: 'https-url', description: 'The URL, `https://`.' },
      ca: ca('that server'),
      every: duration(
        'How often the keys are fetched; a token under a key that is new asks for them sooner.',
        '15m',
      ),
      maxAge: duration(
        'Keys that were fetched longer ago are trusted no more. Bounds for how long a key that its issuer has withdrawn is taken while its server cannot be reached.',
        '1d',
      ),
      timeout: duration('For the keys to be there as a whole.', '10s'),
      maxBytes: size('Bytes of them. Bounds what a server can make control hold.', '256KiB'),
    },
    { required: ['url'], example: 'https://id.example/jwks.json' },
  ),
  type: ['string', 'object'],
  kind: 'https-url',
};

const introspection = mapping(
  'Asks the issuer about each token (RFC 7662), so that one it has taken back is refused.',
  {
    url: { type: 'string', kind: 'https-url', description: 'The URL, `https://`, and no other.' },
    clientId: { type: 'string', kind: 'token-text', description: 'As whom the gateway asks.' },
    clientSecret: secret('Its password there.', { file: 'introspection.secret' }),
    ca: ca('that server'),
    cache: duration(
      'How long an answer is kept. For so long a token that was taken back is still taken here.',
      '30s',
    ),
    timeout: duration('For an answer; without one the token is refused.', '3s'),
  },
  {
    required: ['url', 'clientId', 'clientSecret'],
    example: {
      url: 'https://id.example/introspect',
      clientId: 'sallyport',
      clientSecret: { file: 'introspection.secret' },
    },
  },
);

const principal = mapping(
  'How a token names who has it. Never a device: those have keys of their own.',
  {
    kind: {
      enum: ['service', 'operator'],
      default: 'service',
      description: 'What its tokens name.',
    },
    claim: {
      type: 'string',
      kind: 'claim',
      default: 'sub',
      description: 'Claim that holds the name: `sub`, `client_id`, `azp` …',
    },
    prefix: {
      type: 'string',
      kind: 'id-prefix',
      default: '',
      description: 'Put before the name, so that two issuers cannot name the same principal.',
    },
    register: {
      enum: ['known', 'any'],
      default: 'known',
      description:
        '`known`: who is named has to be registered, and has the role it has there. `any`: whoever the issuer names is let in with `role`.',
    },
    role: {
      type: 'string',
      kind: 'name',
      description: 'Role of those who are not registered; needed with `register: any`.',
      example: 'backend',
    },
    scopes: {
      type: 'array',
      maxItems: 64,
      default: [],
      items: { type: 'string', kind: 'scope' },
      description: 'Scopes that a token has to have, all of them.',
      example: ['fleet.read'],
    },
  },
);

const issuer = mapping(
  'One issuer.',
  {
    name: {
      type: 'string',
      kind: 'name',
      description: 'How it is called in logs; `own` is the gateway itself.',
    },
    issuer: {
      type: 'string',
      kind: 'token-text',
      description: '`iss` of its tokens, to the letter.',
    },
    audience: {
      type: ['string', 'array'],
      kind: 'token-text',
      minItems: 1,
      maxItems: 16,
      items: { type: 'string', kind: 'token-text' },
      description: 'What has to be among `aud` of a token; of a list, one.',
    },
    jwks,
    algorithms: {
      type: 'array',
      minItems: 1,
      uniqueItems: true,
      default: ['ES256', 'EdDSA', 'PS256', 'RS256'],
      items: { enum: tokenAlgorithms },
      description:
        'JWS algorithms that are taken. There is no `none`, and none with a shared secret.',
    },
    binding: {
      enum: ['bound', 'bearer'],
      default: 'bound',
      description:
        '`bound`: a token is taken only with the key it is bound to: the certificate of the connection (RFC 8705) or a DPoP proof (RFC 9449). `bearer`: whoever has it may use it.',
    },
    type: {
      enum: ['strict', 'any'],
      default: 'strict',
      description:
        '`strict`: `typ` has to be `at+jwt` (RFC 9068). `any` is for issuers that cannot.',
    },
    principal,
    introspection,
  },
  { required: ['name', 'issuer', 'audience'] },
);

const endpoint = mapping(
  'The gateway gives out access tokens itself, to services that show their certificate or sign with a registered key (RFC 6749 section 4.4, RFC 7523, RFC 8705): `POST /oauth2/token`. `false` switches it off.',
  {
    issuer: {
      type: 'string',
      kind: 'issuer-url',
      description:
        '`iss` of its tokens, `https://` without a slash at its end; without it the first of `serverNames` and the port of the `https` listener, or of `httpsSigned` where that one is alone.',
      example: 'https://gateway.fleet.example:8443',
    },
    audience: {
      type: 'string',
      kind: 'token-text',
      description: '`aud` of its tokens; without it the issuer.',
      example: 'https://gateway.fleet.example:8443',
    },
    life: duration('For how long a token holds; 1h at most.', '5m'),
    perMinute: count(
      'Tokens of one service. Keeps one client from keeping control busy.',
      60,
      1,
      100_000,
    ),
  },
  { type: ['object', 'boolean'], onlyFalse: true, default: false },
);

export const tokens = mapping(
  'Access tokens (RFC 9068): whose are taken where a route has `authenticate: [token]`.',
  {
    issuers: {
      type: 'array',
      maxItems: 16,
      default: [],
      items: issuer,
      description: 'Whose access tokens are taken.',
      example: [
        {
          name: 'corporate',
          issuer: 'https://id.example',
          audience: 'https://gateway.fleet.example',
          jwks: 'https://id.example/jwks.json',
          principal: { claim: 'client_id', prefix: 'corp-' },
        },
      ],
    },
    endpoint,
    keyRotation: duration(
      'For how long one key signs what the gateway says: its access tokens, and what it tells servers behind it of who asks.',
      '7d',
    ),
  },
);
