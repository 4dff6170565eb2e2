/**
 * The whole configuration as one JSON Schema: what is accepted, what each key is for, and what it is when it is not
 * there. Validation, defaults, `sallyport init` and docs/configuration.md all come from here.
 *
 * Besides the standard's keywords it uses four of its own: `kind` (a text of units.ts), `onlyFalse` (of true and
 * false, only false), `notYet` (accepted only as an address that is not used, or as an empty mapping, or not at all, with the reason) and
 * `example` (a value for the documentation).
 */
import { builtInRoles } from './built-in-roles.ts';
import { maxWorkers } from './config.ts';
import type { TextKind } from './units.ts';

export interface ConfigNode {
  readonly description?: string;
  readonly default?: unknown;
  readonly type?: string | readonly string[];
  readonly enum?: readonly unknown[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly minProperties?: number;
  readonly maxProperties?: number;
  readonly maxLength?: number;
  readonly required?: readonly string[];
  readonly properties?: Readonly<Record<string, ConfigNode>>;
  readonly additionalProperties?: false | ConfigNode;
  readonly propertyNames?: ConfigNode;
  readonly items?: ConfigNode;
  readonly kind?: TextKind;
  readonly onlyFalse?: true;
  readonly notYet?: { readonly accepts: 'listener' | 'empty' | 'nothing'; readonly reason: string };
  readonly example?: unknown;
}

function count(description: string, value: number, minimum: number, maximum: number): ConfigNode {
  return { type: 'integer', description, default: value, minimum, maximum };
}

function size(description: string, value: string): ConfigNode {
  return { type: 'string', kind: 'size', description, default: value };
}

function duration(description: string, value: string): ConfigNode {
  return { type: 'string', kind: 'duration', description, default: value };
}

function mapping(
  description: string,
  properties: Readonly<Record<string, ConfigNode>>,
  more: ConfigNode = {},
): ConfigNode {
  return { type: 'object', description, properties, additionalProperties: false, ...more };
}

function later(description: string, reason: string): ConfigNode {
  return { type: 'object', description, default: {}, notYet: { accepts: 'empty', reason } };
}

const port: ConfigNode = {
  type: 'integer',
  minimum: 0,
  maximum: 65_535,
  description: 'Port; 0 = any free port.',
};

function listener(description: string, host: string, number: number): ConfigNode {
  return mapping(
    `${description} \`false\` switches it off.`,
    {
      host: { type: 'string', kind: 'host', description: 'Address to listen on.', default: host },
      port: { ...port, default: number },
    },
    { type: ['object', 'boolean'], onlyFalse: true },
  );
}

function missingListener(description: string): ConfigNode {
  return {
    type: ['object', 'boolean'],
    description,
    default: false,
    notYet: {
      accepts: 'listener',
      reason: 'write false, or the host and port that it is to have; nothing listens there yet',
    },
  };
}

const rateWindow: ConfigNode = mapping(
  'One window.',
  {
    limit: { type: 'string', kind: 'rate', description: 'Steady rate: N/s, N/m, N/h or N/day.' },
    burst: {
      type: 'integer',
      minimum: 0,
      maximum: 1_000_000,
      default: 0,
      description: 'How many above the steady rate pass at once.',
    },
  },
  { required: ['limit'] },
);

function rate(description: string, value: unknown): ConfigNode {
  return {
    ...rateWindow,
    type: ['object', 'array'],
    description,
    items: rateWindow,
    maxItems: 8,
    default: value,
  };
}

function secret(description: string, example: unknown): ConfigNode {
  return mapping(
    `${description} Named by exactly one of \`file\`, \`credential\` and \`environment\`.`,
    {
      file: {
        type: 'string',
        kind: 'path',
        description: 'A file, readable by its owner only; relative to the configuration.',
      },
      credential: {
        type: 'string',
        maxLength: 255,
        description: 'A systemd credential (`LoadCredential=`).',
      },
      environment: {
        type: 'string',
        maxLength: 255,
        description:
          'An environment variable that holds the path of the file (never the secret itself).',
      },
    },
    { minProperties: 1, maxProperties: 1, example },
  );
}

const filters = (description: string): ConfigNode => ({
  type: 'array',
  description,
  default: [],
  maxItems: 1_000,
  items: { type: 'string', kind: 'role-filter' },
});

const grants = (description: string, verb: string): ConfigNode =>
  mapping(description, {
    publish: filters(`Filters of topics it ${verb} publish to.`),
    subscribe: filters(
      `Filters it ${verb} subscribe to; a wider filter is refused, never narrowed.`,
    ),
  });

const role = mapping('One role.', {
  allow: grants('What the role may do.', 'may'),
  deny: grants('What it may not do; wins over `allow`.', 'may not'),
});

const backends =
  'sending messages to backends is not available yet; subscribe to the topic with a service certificate';
const proxied = 'proxied routes are not available yet';

const route = mapping('One route.', {
  match: {
    type: 'string',
    kind: 'topic-filter',
    description: 'Topic filter of the messages it is about.',
    example: 'devices/+/telemetry',
  },
  schema: {
    type: 'string',
    kind: 'path',
    description:
      'File with the JSON Schema (2020-12 or draft-07) of the payload, relative to the configuration.',
    example: 'schemas/telemetry.json',
  },
  rate: rate('Messages per identity on this route; not there or `[]` is no limit.', []),
  payloadBytes: {
    type: 'string',
    kind: 'size',
    description: 'Bytes of one payload; without it, `limits.payloadBytes`.',
    example: '4KiB',
  },
  breaker: mapping(
    'Circuit breaker: an identity whose messages keep failing the payload checks is refused unread for a while.',
    {
      failures: {
        type: 'integer',
        minimum: 1,
        maximum: 1_000_000,
        description: 'Refused in a row that open it.',
      },
      within: {
        type: 'string',
        kind: 'duration',
        description: 'Time within which they must fall.',
      },
      open: {
        type: 'string',
        kind: 'duration',
        description: 'Time it stays open; then one message is let through to try.',
      },
    },
    {
      required: ['failures', 'within', 'open'],
      example: { failures: 20, within: '10s', open: '1m' },
    },
  ),
  to: {
    type: ['array', 'object', 'string', 'boolean'],
    description: 'Backends.',
    notYet: { accepts: 'nothing', reason: backends },
  },
  path: {
    type: 'string',
    description: 'Proxied path.',
    notYet: { accepts: 'nothing', reason: proxied },
  },
  upstream: {
    type: 'string',
    description: 'Proxied upstream.',
    notYet: { accepts: 'nothing', reason: proxied },
  },
});

const trustAnchor = mapping(
  'One certificate authority.',
  {
    name: {
      type: 'string',
      kind: 'name',
      description:
        "How it is called in `device list` and in logs; `internal` is the gateway's own.",
    },
    file: {
      type: 'string',
      kind: 'path',
      description:
        'PEM file with the root and every CA that signs the certificates itself; a chain that clients send is not followed.',
    },
    kind: {
      enum: ['device', 'service', 'operator'],
      default: 'device',
      description: 'What its certificates name.',
    },
    role: {
      type: 'string',
      kind: 'name',
      default: 'device',
      description: 'Role of the identities it names.',
    },
    from: {
      enum: ['cn', 'san-dns', 'san-uri', 'serial-number'],
      default: 'cn',
      description: 'Where in the certificate the id is.',
    },
    prefix: {
      type: 'string',
      kind: 'id-prefix',
      default: '',
      description: 'Put before the id, so that two authorities cannot name the same identity.',
    },
    register: {
      enum: ['auto', 'known'],
      default: 'known',
      description:
        '`auto` registers an id when it first connects; `known` refuses ids that are not registered.',
    },
  },
  { required: ['name', 'file'] },
);

const limits: Readonly<Record<string, ConfigNode>> = {
  sessions: count(
    'Sessions of one worker. Protects its memory and its file descriptors.',
    20_000,
    1,
    1_000_000,
  ),
  sessionsPerIdentity: count(
    'Sessions of one identity. Keeps one cloned certificate from filling the gateway.',
    4,
    1,
    10_000,
  ),
  subscriptionsPerSession: count(
    'Subscriptions of one session. Bounds memory and the work per message.',
    50,
    1,
    10_000,
  ),
  sourceConnectionsPerSecond: count(
    'New TCP connections per second from one address (IPv4 /32, IPv6 /64), judged before TLS. Keeps one host from buying handshakes.',
    500,
    1,
    1_000_000,
  ),
  sourceConnections: count(
    'TCP connections at once from one address; large, because a fleet may share one behind NAT.',
    10_000,
    1,
    1_000_000,
  ),
  halfOpen: count(
    'Connections of one worker that have not authenticated yet. Bounds what strangers can hold.',
    2_000,
    1,
    1_000_000,
  ),
  sourceHalfOpen: count(
    'The same from one address. Keeps one host from taking all of them.',
    500,
    1,
    1_000_000,
  ),
  handshake: duration(
    'For a TLS handshake; slow devices need 10 s. Ends connections that say nothing.',
    '30s',
  ),
  connect: duration(
    'From the end of the handshake to a complete CONNECT. Ends sessions that never begin.',
    '10s',
  ),
  connectBytes: size('Bytes of a CONNECT packet. Bounds memory before a session exists.', '64KiB'),
  packetBytes: size(
    'Bytes of any MQTT packet, judged from its header. Bounds memory per connection.',
    '320KiB',
  ),
  payloadBytes: size('Bytes of one payload. Bounds what a message costs its receivers.', '256KiB'),
  userProperties: count(
    'User properties of one MQTT packet. Bounds parsing and forwarding.',
    32,
    0,
    10_000,
  ),
  topicBytes: size('Bytes of a topic or filter. Bounds the topic tree.', '512B'),
  topicLevels: count('Levels of a topic or filter. Bounds matching.', 16, 1, 1_000),
  keepAlive: duration(
    'Longest keep-alive; an MQTT 5 client that asks for more, or for none, is given this. 3.1.1 has no way to be told and keeps what it asked for. Finds dead peers.',
    '600s',
  ),
  receiveMaximum: count(
    'QoS 1 and 2 messages in flight per direction of a session. Bounds memory per session.',
    64,
    1,
    65_535,
  ),
  outboundBytes: size('Bytes waiting for a slow reader before it is disconnected.', '1MiB'),
  outboundMessages: count(
    'Messages waiting for a slow reader before it is disconnected.',
    1_000,
    1,
    1_000_000,
  ),
  retainedPerIdentity: count(
    'Retained messages of one identity. Keeps one device from filling the store.',
    16,
    0,
    1_000_000,
  ),
  retainedBytesPerIdentity: size('Bytes of the retained messages of one identity.', '256KiB'),
  controlPacketsPerSecond: count(
    'Packets other than PUBLISH from one connection. Ends a client that floods with pings.',
    200,
    1,
    1_000_000,
  ),
  stalled: duration(
    'How long bytes may wait for a peer that reads none of them. Ends connections whose reader is gone.',
    '30s',
  ),
  ratePause: duration(
    'How long an MQTT 3.1.1 client that is too fast is held back before it is disconnected; 3.1.1 has no code to refuse one message with.',
    '10s',
  ),
  rateRefusals: count(
    'Messages refused for their rate in a row before the client is disconnected. Ends floods that ignore their refusals.',
    100,
    1,
    1_000_000,
  ),
  drain: duration(
    'For connections to end by themselves when the gateway stops or is upgraded.',
    '10s',
  ),
  maxSnapshotAge: duration(
    'How long a worker lets new connections in without word from control. Bounds how old a revocation list may be.',
    '24h',
  ),
};

const rates = mapping(
  'Packets of one identity, all topics and connections together. Keeps one device from slowing the fleet.',
  {
    device: rate('Of a device.', { limit: '100/s', burst: 200 }),
    service: rate('Of a service.', { limit: '10000/s', burst: 20_000 }),
    operator: rate('Of an operator.', { limit: '100/s', burst: 200 }),
  },
);

const stage = (what: string): string => `${what} cannot be configured yet; leave the key out`;

/** Key exchange groups that OpenSSL 3.5 and the gateway accept. */
const groups = ['X25519MLKEM768', 'X25519', 'P-256', 'P-384'];

export const configSchema: ConfigNode = mapping('', {
  trustDomain: {
    type: 'string',
    kind: 'trust-domain',
    default: 'fleet.internal',
    description:
      'The SPIFFE trust domain in every certificate: `spiffe://<trustDomain>/device/<id>`. Changing it later means new certificates for every device.',
  },
  serverNames: {
    type: 'array',
    minItems: 1,
    maxItems: 64,
    default: ['localhost', '127.0.0.1'],
    items: { type: 'string', kind: 'server-name' },
    description:
      'DNS names and IP addresses under which devices reach the gateway; they go into the server certificate.',
  },
  listeners: mapping('Where the gateway listens.', {
    mqtts: listener(
      'MQTT 5 and 3.1.1 over TLS; a client certificate is required.',
      '0.0.0.0',
      8883,
    ),
    https: missingListener('Device API over HTTPS.'),
    est: missingListener('EST (RFC 7030).'),
    coaps: missingListener('CoAP over DTLS.'),
    coapsTcp: missingListener('CoAP over TLS.'),
    amqps: missingListener('AMQP 1.0 over TLS.'),
    status: missingListener('OCSP, CRLs and CA certificates over plain HTTP.'),
    admin: listener(
      'For operators: `/metrics`. Keep it on an address that devices cannot reach.',
      '127.0.0.1',
      9443,
    ),
  }),
  tls: mapping('TLS of every listener. Only ECDHE with AEAD ciphers, whatever is set here.', {
    minVersion: {
      enum: ['1.2', '1.3'],
      default: '1.2',
      description: 'Oldest version that is accepted.',
    },
    groups: {
      type: 'array',
      minItems: 1,
      maxItems: 8,
      default: groups,
      items: { enum: groups },
      description: 'Key exchange groups, most wanted first.',
    },
  }),
  ca: mapping("The gateway's certificate authority, and others whose certificates it accepts.", {
    masterKey: secret(
      'The key that seals the CA keys; 32 bytes or more. Without it, one is made in the data directory, which then must be guarded like the keys themselves.',
      { credential: 'sallyport-master' },
    ),
    deviceDays: count(
      'Days a device certificate is valid. Devices do not renew theirs by themselves yet: enrol them again before.',
      730,
      1,
      3_650,
    ),
    serverDays: count('Days the server certificate is valid; it is renewed by itself.', 90, 1, 825),
    trustAnchors: {
      type: 'array',
      maxItems: 64,
      default: [],
      items: trustAnchor,
      description: 'Certificate authorities of your own.',
      example: [{ name: 'factory', file: 'factory-ca.pem', from: 'cn', prefix: 'factory-' }],
    },
  }),
  enrolment: mapping('How devices get certificates.', {
    csrBytes: size('Bytes of a certificate signing request. Bounds what is parsed.', '16KiB'),
  }),
  roles: {
    type: 'object',
    description: `What principals may publish and subscribe to, by role: every device has \`device\`, a service the one it was created with. Nothing is allowed that no filter allows. Filters are MQTT topic filters in which \`\${id}\` as a whole level stands for the principal's id. ${Object.keys(
      builtInRoles,
    )
      .map((r) => `\`${r}\``)
      .join(' and ')} are built in; a role of the same name replaces one.`,
    default: builtInRoles,
    propertyNames: { type: 'string', kind: 'name' },
    additionalProperties: role,
    maxProperties: 256,
  },
  routes: {
    type: 'object',
    description:
      'What holds for the messages of a topic filter. A message must pass every route that matches. `telemetry` always exists: keys left out of it keep their defaults.',
    default: { telemetry: { match: 'devices/+/telemetry', rate: { limit: '5/s', burst: 10 } } },
    propertyNames: { type: 'string', kind: 'name' },
    additionalProperties: route,
    maxProperties: 256,
  },
  limits: mapping('Bounds of a worker. Every one stops something; raise them knowingly.', {
    ...limits,
    identityRates: rates,
  }),
  durability: {
    enum: ['flushed', 'process'],
    default: 'flushed',
    description:
      'When a message counts as stored and is acknowledged. `flushed`: when it is on the disk. `process`: when it is committed, which survives a crash of the gateway but not a power cut.',
  },
  store: later('Where state is kept.', stage('the store')),
  logs: mapping('Logs, JSON lines on standard error.', {
    level: {
      enum: ['debug', 'info', 'warn', 'error', 'fatal'],
      default: 'info',
      description: 'Least important level that is written.',
    },
  }),
  metrics: mapping('`/metrics` on the admin listener.', {
    token: secret(
      'Bearer token that a scraper must show. Without it, only an operator certificate opens `/metrics`.',
      { file: 'metrics.token' },
    ),
  }),
  audit: later('The posture audit.', stage('the audit')),
  anomaly: later('Anomaly detection.', stage('anomaly detection')),
  firmware: later('Signed firmware.', stage('firmware')),
  segmentation: later('Network segmentation.', stage('segmentation')),
  workers: {
    type: ['integer', 'string'],
    kind: 'auto',
    minimum: 1,
    maximum: maxWorkers,
    default: 'auto',
    description: 'Worker processes, 1 to 64; `auto` = one per core.',
  },
});
