/** The part of the schema that is about bounds; each says what it protects. */
import { count, duration, mapping, rate, size } from './config-node.ts';
import type { ConfigNode } from './config-node.ts';
import { whenQueueFull } from './policy-document.ts';

export const limits: Readonly<Record<string, ConfigNode>> = {
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
    'Connections of one worker whose handshake has begun and that have not authenticated yet; beyond it the source network that has most of them loses its oldest to one that has fewer. Bounds what strangers can hold.',
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
  handshakesPerSecond: count(
    'Handshakes that one worker begins per second at most, and with them sessions; fewer while its event loop is late. Keeps a fleet that comes back at once from taking the whole processor.',
    1_000,
    1,
    1_000_000,
  ),
  eventLoopDelay: duration(
    'How late the event loop of a worker may be before new connections wait longer. Protects the latency of live sessions from a fleet that connects.',
    '50ms',
  ),
  admissionQueue: count(
    'TCP connections of one worker that wait to be let in, served by source network (IPv4 /24, IPv6 /48) in turn; beyond it they are closed before TLS. Bounds what waiting costs.',
    4_000,
    0,
    1_000_000,
  ),
  admissionWait: duration(
    'How long a connection waits to be let in before it is closed. Keeps a worker from serving clients that have given up.',
    '15s',
  ),
  sourceFailures: count(
    'Failed handshakes and authentications per minute from one source network before its connections are slowed down; each one that succeeds takes one back. Makes guessing and broken fleets cheap for the others.',
    60,
    1,
    1_000_000,
  ),
  sourceSlowedPerSecond: count(
    'Connections per second that are let in from a source network that is slowed down.',
    5,
    1,
    1_000_000,
  ),
  proxyHeader: duration(
    'For the PROXY header of a connection from a load balancer. Ends connections that say nothing.',
    '3s',
  ),
  connectsPerMinute: count(
    'MQTT sessions that one device or operator begins per minute, over all workers; as many as it may have at once, if that is more. Slows down a device that connects again and again, and two that take over from each other.',
    60,
    1,
    1_000_000,
  ),
  serviceConnectsPerMinute: count(
    'The same of a service, which may well connect for every message.',
    1_200,
    1,
    1_000_000,
  ),
  connectPenalty: duration(
    'Longest wait of an identity that begins more of them; the wait doubles from one second while it goes on.',
    '60s',
  ),
  handshake: duration(
    'For a TLS handshake; slow devices need 10 s. Ends connections that say nothing.',
    '30s',
  ),
  connect: duration(
    'From the end of the handshake to a complete CONNECT, or to the request of an HTTPS peer that is not let in. Ends sessions that never begin.',
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
  noncesPerIdentity: count(
    'Nonces of signatures that one worker remembers for one identity, within the time for which it has to: its rate times twice `integrity.clock`, or more. Bounds the store.',
    20_000,
    1,
    10_000_000,
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
  topicAliases: count(
    'MQTT 5 topic aliases of one connection in each direction; 0 offers none. Bounds memory per session: each holds a topic of `topicBytes`.',
    16,
    0,
    1_000,
  ),
  outboundBytes: size('Bytes waiting for a slow reader before it is disconnected.', '1MiB'),
  outboundMessages: count(
    'Messages waiting for a slow reader before it is disconnected.',
    1_000,
    1,
    1_000_000,
  ),
  sessionExpiry: duration(
    'Longest time that an MQTT session outlives its connection: an MQTT 5 client that asks for more is given this, a 3.1.1 client without clean session always. Frees what devices that are gone for good have left.',
    '7d',
  ),
  queuedMessages: count(
    'Messages of QoS 1 and 2 that wait for one MQTT session. Keeps a device that is away from filling the store.',
    1_000,
    1,
    1_000_000,
  ),
  queuedBytes: size(
    'Bytes of the messages that wait for one MQTT session; the same bound.',
    '1MiB',
  ),
  whenQueueFull: {
    type: 'string',
    enum: whenQueueFull,
    description:
      'What is dropped when more would wait for an MQTT session than it may: the message that comes, or the oldest that wait. Either is counted as `mqtt_dropped{reason="queue-full"}`.',
    default: 'drop-newest',
  },
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
    'Messages refused for their rate in a row before an MQTT client is disconnected. Ends floods that ignore their refusals.',
    100,
    1,
    1_000_000,
  ),
  headerBytes: size(
    "Bytes of an HTTP request's line and headers together. Bounds what is buffered before a request is known.",
    '8KiB',
  ),
  headers: count('Headers of an HTTP request. Bounds the work of reading one.', 64, 1, 1_000),
  requestHeaders: duration(
    'From the first byte of an HTTP request to the end of its headers. Ends requests that dribble in.',
    '10s',
  ),
  request: duration(
    'From the first byte of an HTTP request to the end of its body; the same protection.',
    '30s',
  ),
  idle: duration('For an HTTPS connection between two requests. Frees what nobody uses.', '75s'),
  connectionsPerIdentity: count(
    'HTTPS connections of one identity to one worker. Keeps one cloned certificate from taking them all.',
    8,
    1,
    10_000,
  ),
  stream: duration(
    'An event stream of commands is ended after this, and its reader connects again. Keeps long connections from outliving their certificates.',
    '1h',
  ),
  commandsPerDevice: count(
    'Commands that wait for one device; beyond it their publisher is told `quota`. Keeps a device that is away from filling the store.',
    100,
    1,
    10_000,
  ),
  commandBytesPerDevice: size(
    'Bytes of the commands that wait for one device; the same bound.',
    '256KiB',
  ),
  commandTtl: duration(
    'How long a command waits that has no expiry of its own. Keeps a device from obeying what nobody remembers.',
    '7d',
  ),
  diskReserve: {
    ...size(
      'Bytes of the disk that are kept for removing what was delivered; with less to spare devices are told `unavailable`. Keeps a disk that is full from staying so.',
      '64MiB',
    ),
    kind: 'disk-size',
  },
  visit: duration(
    'How long a connection lasts whose peer need not authenticate; then the answer under way is the last. Keeps strangers from staying.',
    '60s',
  ),
  visitRequests: count(
    'Requests on such a connection. Makes each dozen of them cost a handshake.',
    16,
    1,
    10_000,
  ),
  estRequestBytes: size(
    'Bytes of a request to the EST listener: a certificate signing request in base64. Bounds what is read from strangers.',
    '32KiB',
  ),
  statusConnections: count(
    'Connections to the status listener of one worker; beyond it the source network that has most of them loses its oldest. Bounds what strangers can hold, apart from what devices need.',
    1_000,
    1,
    1_000_000,
  ),
  sourceStatusConnections: count(
    'The same from one address. Keeps one host from taking all of them.',
    200,
    1,
    1_000_000,
  ),
  sourceStatusPerSecond: count(
    "Requests to the status listener of one worker from one address (IPv4 /32, IPv6 /64), ten seconds' worth of them at once. A CRL counts once for each 16 KiB of it, a signed time four times, an OCSP request that control has to answer ten times. Keeps one host from buying signatures and bandwidth.",
    100,
    1,
    1_000_000,
  ),
  statusCallsPerSecond: count(
    'OCSP requests that one worker has control answer, because it has no answer in store; those with a nonce get half of it. Keeps control free for operators and enrolment.',
    200,
    1,
    100_000,
  ),
  signedTimesPerSecond: count(
    'Signed times of one worker; each costs it about 50 µs. Bounds what strangers take from the devices.',
    500,
    1,
    100_000,
  ),
  ocspRequestBytes: size('Bytes of an OCSP request. Bounds what is read from strangers.', '4KiB'),
  ocspCacheBytes: size(
    'Bytes of OCSP requests and answers that a worker keeps; those that were not asked for longest go first. Bounds memory.',
    '16MiB',
  ),
  signedConnections: count(
    'Connections to the listeners without client certificates of one worker; beyond it the source network that has most of those that have proven nothing yet loses its oldest to one that has fewer. Bounds what these listeners take from the others.',
    2_000,
    1,
    1_000_000,
  ),
  sourceSignedConnections: count(
    'The same from one address. Keeps one host from taking all of them.',
    500,
    1,
    1_000_000,
  ),
  signedFailures: count(
    'Signatures and tokens that did not hold over HTTPS, per minute from one source network, before what comes from there is refused unread, unless something has held on its connection; each connection on which one holds takes one back. Makes guessing and broken clients cheap. Passwords of MQTT count as failed authentications do: `sourceFailures`.',
    60,
    1,
    1_000_000,
  ),
  unprovenBodyBytes: size(
    'Bytes of one request body that are read before its signature has shown who it is from. Bounds what a stranger can send.',
    '64KiB',
  ),
  unprovenBytes: size(
    'Bytes of all such bodies of one worker at once, a quarter of them at most from one source network; beyond it the request is told `busy`. Bounds memory.',
    '16MiB',
  ),
  tokenBytes: size(
    'Bytes of an access token, a device-signed JWT or a DPoP proof. Bounds the work on what a stranger has sent.',
    '8KiB',
  ),
  cachedTokens: count(
    'Tokens of one worker whose signature need not be verified again while they hold; those not seen for longest go first. Bounds memory.',
    10_000,
    0,
    1_000_000,
  ),
  tokenClock: duration(
    'How far ahead of ours the clock of whoever issues a token may be, and how far the time of a DPoP proof may lie from ours, each way: for so long, twice, a proof is remembered.',
    '60s',
  ),
  deviceTokenLife: duration(
    'The longest life of a JWT that a device signs for itself, and how far ahead it may end. Bounds what one is worth that was stolen, or signed ahead.',
    '1h',
  ),
  introspections: count(
    'Tokens of one worker that are being asked about at their issuer at once; beyond it devices are told `busy`. Bounds what unknown tokens cost.',
    32,
    1,
    10_000,
  ),
  drain: duration(
    'For connections to end by themselves when the gateway stops or is upgraded.',
    '10s',
  ),
  maxSnapshotAge: duration(
    'How long a worker lets new connections in without word from control. Bounds how long a worker can miss that somebody was revoked.',
    '24h',
  ),
};

export const rates = mapping(
  'Packets of one identity, all topics and connections together. Keeps one device from slowing the fleet.',
  {
    device: rate('Of a device.', { limit: '100/s', burst: 200 }),
    service: rate('Of a service.', { limit: '10000/s', burst: 20_000 }),
    operator: rate('Of an operator.', { limit: '100/s', burst: 200 }),
  },
);
