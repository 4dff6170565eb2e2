/**
 * The options of mosquitto 2.0 and 2.1 that have no counterpart: why, and what there is in their place. Those that are
 * carried over are the business of settings.ts and limits.ts.
 */

export interface Replacement {
  readonly reason: string;
  readonly instead: string;
}

function said(reason: string, instead: string): Replacement {
  return { reason, instead };
}

const anonymous = said(
  'nobody connects without a certificate',
  'enrol every client: device enroll, service create',
);
const passwords = said(
  'identities come from certificates, not from passwords',
  'enrol every user: device enroll, or service create with the role that is named after it',
);
const psk = said('pre-shared keys are not accepted', 'enrol the devices: device enroll');
const plugin = said(
  'what a plugin allows or refuses is not known here',
  'write its rules as roles, or put them into the ACL file, remove the plugin and import again',
);
const ownSuites = said(
  'only ECDHE with AEAD is offered, whatever is configured',
  'nothing, unless a device speaks nothing better',
);
const serverKey = said(
  'the gateway has a server certificate from its own authority and renews it itself',
  'write the names of the gateway into serverNames, and give the devices its root: ca.crt, as device create writes it',
);
const clientIds = said(
  'a client id means nothing before the certificate of its client',
  'nothing: sessions are kept apart by certificate',
);
const logging = said(
  'logs are JSON lines on standard error',
  'set logs.level, and let the service manager keep them',
);
const persistence = said(
  'what was acknowledged is on the disk, always',
  'choose the folder with --data, and see durability',
);
const memory = said('memory is bounded part by part', 'see limits');
const websockets = said('MQTT over WebSocket is at /mqtt of the https listener', 'see limits');
const bridge = said(
  'the gateway opens no connections to other brokers',
  'let the other broker connect as a service, or send messages on with a route (routes.….to)',
);
const system = said('there are no $SYS topics', 'read /metrics on the admin listener');
const retained = said(
  'it cannot be switched',
  'nothing: retained messages are judged by the policy of today when they are delivered',
);
const delivery = said('messages are delivered as the MQTT standard says', 'nothing');
const pid = said('the supervisor writes its own', 'read <data>/run.json');
const users = said(
  'control and workers have users of their own when started as root',
  'see docs/architecture.md, "Trust boundaries"',
);

/** By name; a name that ends in `*` stands for all that begin so. */
const replacements: Readonly<Record<string, Replacement>> = {
  accept_protocol_versions: said('MQTT 5 and 3.1.1 are accepted, 3.1 is not', 'nothing'),
  allow_anonymous: anonymous,
  listener_allow_anonymous: anonymous,
  allow_duplicate_messages: delivery,
  allow_zero_length_clientid: clientIds,
  auth_plugin: plugin,
  auth_plugin_deny_special_chars: plugin,
  'auth_opt_*': plugin,
  global_plugin: plugin,
  plugin,
  plugin_load: plugin,
  plugin_use: plugin,
  'plugin_opt_*': plugin,
  auto_id_prefix: clientIds,
  listener_auto_id_prefix: clientIds,
  'autosave_*': persistence,
  bind_interface: said('a listener is bound to an address', 'set listeners.mqtts.host'),
  capath: said(
    'an authority is named by one file',
    'put root and issuing CAs into one PEM file and name it in ca.trustAnchors',
  ),
  certfile: serverKey,
  check_retain_source: retained,
  ciphers: ownSuites,
  'ciphers_tls1.3': ownSuites,
  dhparamfile: ownSuites,
  clientid_prefixes: clientIds,
  connection_messages: logging,
  enable_control_api: said('operators use the command line or the admin API', 'see docs/cli.md'),
  enable_proxy_protocol: said(
    'which load balancers are trusted has to be said',
    'see the listeners in docs/configuration.md',
  ),
  http_dir: said('the gateway serves no files', 'use a web server'),
  'log_*': logging,
  global_max_clients: said('sessions are bounded for each worker', 'set limits.sessions'),
  global_max_connections: said('sessions are bounded for each worker', 'set limits.sessions'),
  max_connections: said(
    'sessions are bounded for each worker',
    'set limits.sessions to it, divided by the workers',
  ),
  max_inflight_bytes: memory,
  memory_limit: memory,
  packet_buffer_size: memory,
  max_qos: said('every QoS is offered to whoever may publish or subscribe', 'nothing'),
  password_file: passwords,
  'persistence*': persistence,
  pid_file: pid,
  psk_file: psk,
  psk_hint: psk,
  queue_qos0_messages: delivery,
  upgrade_outgoing_qos: delivery,
  set_tcp_nodelay: said('it is always on', 'nothing'),
  socket_domain: said('a listener is bound to an address', 'set listeners.mqtts.host'),
  sys_interval: system,
  'tls_engine*': said('keys are read from files', 'see ca.masterKey'),
  tls_keyform: said('keys are read from files', 'see ca.masterKey'),
  user: users,
  'websockets_*': websockets,
};

const bridgeWords = [
  'address',
  'addresses',
  'bridge_*',
  'cleansession',
  'clientid',
  'idle_timeout',
  'keepalive_interval',
  'local_*',
  'notification_topic',
  'notifications*',
  'password',
  'remote_*',
  'restart_timeout',
  'round_robin',
  'start_type',
  'threshold',
  'topic',
  'try_private',
  'username',
];

/** Undefined for what is not known at all. */
export function replacementOf(name: string): Replacement | undefined {
  if (name === 'connection') return bridge;
  if (Object.hasOwn(replacements, name)) return replacements[name];
  return Object.entries(replacements).find(([known]) => isMeant(known, name))?.[1];
}

/** Belongs to the `connection` before it. */
export function isBridgeWord(name: string): boolean {
  return bridgeWords.some((known) => known === name || isMeant(known, name));
}

function isMeant(known: string, name: string): boolean {
  return known.endsWith('*') && name.startsWith(known.slice(0, -1));
}
