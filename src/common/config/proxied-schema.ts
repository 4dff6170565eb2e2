/** The part of the schema that is about requests: which go where, how they are judged, what is asked of the server behind. */
import { count, duration, mapping, rate, secret, size } from './config-node.ts';
import type { ConfigNode } from './config-node.ts';
import { authenticationMethods, integrityMethods, requestMethods } from './proxied-route.ts';

export const defaultMethods = requestMethods.filter((method) => method !== 'OPTIONS');

/** Of routes with `match` as well. */
export const proofs: Readonly<Record<string, ConfigNode>> = {
  authenticate: {
    type: 'array',
    minItems: 1,
    uniqueItems: true,
    items: { enum: authenticationMethods },
    description:
      'How whoever sends may have proven who it is: by the client `certificate` of its connection, a `signature` under a registered key, an access `token` of one of `tokens.issuers`, or a `device-jwt`, a JWT that the device has signed with its registered key. Without it by certificate, and on a route of messages that has `integrity` by signature too. A message has to satisfy every route that it matches.',
    example: ['certificate', 'token'],
  },
  integrity: mapping(
    'A signature over the message or the request itself, with its time and a nonce that is taken once.',
    {
      accept: {
        type: 'array',
        minItems: 1,
        uniqueItems: true,
        default: ['hmac', 'http-signature'],
        items: { enum: integrityMethods },
        description:
          'Forms that are taken: `hmac` over method, path, time, nonce and body; `http-signature` (RFC 9421); `body-hmac` over the body alone, which proves neither time nor place and is for devices that cannot do better. See signatures.md.',
      },
      clock: duration(
        'How far the time of a signature may lie from ours, each way. Bounds for how long what was recorded could be sent again, if its nonce were forgotten.',
        '60s',
      ),
      required: {
        type: 'boolean',
        default: true,
        description:
          'Whether nothing passes without one, however its sender has proven who it is. With `false` one that is there must hold all the same.',
      },
    },
    { minProperties: 0, example: { accept: ['hmac'], clock: '60s', required: true } },
  ),
};

const server = mapping(
  'One of several servers.',
  {
    url: { type: 'string', kind: 'upstream-url', description: 'Its URL.' },
    weight: count('Its share of the requests, next to the others.', 1, 1, 100),
  },
  { required: ['url'] },
);

const health = mapping(
  'Asks each server by itself whether it is well. Without it only what requests show counts.',
  {
    path: {
      type: 'string',
      kind: 'request-target',
      description: 'What is asked for with GET; 2xx and 3xx are well.',
    },
    every: duration('Pause between two questions of one worker to one server.', '10s'),
    timeout: duration('For an answer.', '2s'),
  },
  { required: ['path'], example: { path: '/healthz', every: '10s', timeout: '2s' } },
);

const proxy = mapping('How the servers of `upstream` are spoken to.', {
  ca: {
    type: 'string',
    kind: 'path',
    description:
      'PEM file with the authorities that may have signed their certificates, and no others; without it, those that Node brings.',
    example: 'backend-ca.pem',
  },
  certificate: {
    type: 'string',
    kind: 'path',
    description:
      'PEM file with the certificate that the gateway shows them, then those of its issuers. Needs `key`.',
    example: 'gateway.crt',
  },
  key: secret(
    'The private key of `certificate`, PEM, not encrypted. It is read at the start and at each reload and kept in memory only.',
    { file: 'gateway.key' },
  ),
  connectTimeout: duration('For a connection, its TLS handshake included.', '5s'),
  answerTimeout: duration(
    'Until the head of an answer is there, and between two pieces of its body. Frees what a server that hangs holds.',
    '30s',
  ),
  timeout: duration(
    'From a request to the end of its answer; WebSocket is not meant. Ends answers that dribble.',
    '5m',
  ),
  connections: count(
    'Connections of one worker to one server at once. Keeps a fleet from flooding it.',
    64,
    1,
    10_000,
  ),
  waiting: count(
    'Requests of one worker that wait for one of them; beyond it devices are told `busy`. Bounds what a slow server makes a worker hold.',
    256,
    0,
    100_000,
  ),
  headerBytes: size(
    'Bytes of the head of an answer. Bounds what a server can make a worker hold.',
    '16KiB',
  ),
  breaker: mapping('Leaves out a server that fails, until one request shows that it is back.', {
    failures: count(
      'Failures in a row: no connection, no answer in time, 500, 502, 503, 504.',
      5,
      1,
      1_000,
    ),
    open: duration('For how long it is left out.', '10s'),
  }),
  health,
  identity: {
    enum: ['none', 'jwt'],
    default: 'none',
    description:
      'How servers are told who asks: by the headers that the gateway sets alone, which they may trust as far as nobody else can reach them, or by a signed assertion in `X-Sallyport-Identity` as well. See proxied-routes.md.',
  },
  audience: {
    type: 'string',
    kind: 'token-text',
    description: '`aud` of that assertion; without it the origin of the first URL of `upstream`.',
    example: 'https://backend.example',
  },
});

/** Keys of a route with `path`. */
export const proxiedKeys: Readonly<Record<string, ConfigNode>> = {
  path: {
    type: 'string',
    kind: 'request-path',
    description:
      'Instead of `match`: the requests to the `https` listener that it is about. `/a/b` is that path and no other, `/a/` everything below it; a segment `*` stands for any one, `${id}` for the own id of whoever asks. Of several routes the most specific counts: at the first segment in which they differ a literal one before `${id}`, that before `*`, and the longer before the shorter.',
    example: '/backend/',
  },
  upstream: {
    type: ['string', 'object', 'array'],
    kind: 'upstream-url',
    properties: server.properties ?? {},
    required: ['url'],
    additionalProperties: false,
    minItems: 1,
    maxItems: 32,
    items: { ...server, type: ['string', 'object'], kind: 'upstream-url' },
    description:
      'Where they go: a URL, `http://` or `https://`, or a list of URLs and of `{ url, weight }`, which take turns. A URL with a path puts it in the place of `path`; one without leaves the path as it is. Plain `http` off this machine is warned of.',
    example: 'http://127.0.0.1:9000',
  },
  methods: {
    type: 'array',
    minItems: 1,
    uniqueItems: true,
    items: { enum: requestMethods },
    description: `Methods that are passed on; without it ${defaultMethods.join(', ')}.`,
    example: ['GET', 'POST'],
  },
  roles: {
    type: 'array',
    maxItems: 256,
    uniqueItems: true,
    items: { type: 'string', kind: 'name' },
    description:
      'Roles that may make every request of the route; without it `device`. Others may what `allow.request` of their role says, and `deny.request` wins over both.',
    example: ['device', 'backend'],
  },
  bytesRate: rate(
    'Bytes of request bodies per identity on this route; `limit: 1000000/h`. `[]` is no limit. A window without `burst` lets through at once what it does in its unit of time; a larger body never passes.',
    [],
  ),
  concurrent: count(
    'Requests of one identity under way at once to one worker. Keeps one device from taking the connections of all.',
    8,
    1,
    10_000,
  ),
  bodyBytes: size(
    'Bytes of one request body. Bounds what a worker holds where a schema or a signature needs the whole of it, and what servers get.',
    '1MiB',
  ),
  contentTypes: {
    type: 'array',
    maxItems: 64,
    default: [],
    items: { type: 'string', kind: 'media-type' },
    description: 'Media types of request bodies that are taken; none is any.',
    example: ['application/json'],
  },
  webSocket: {
    type: 'boolean',
    default: false,
    description: 'Whether WebSocket may be spoken through the route.',
  },
  proxy,
};
