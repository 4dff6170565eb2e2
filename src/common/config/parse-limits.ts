/** Limits as configured, checked: what the schema cannot say. */
import { accepted } from './filled-config.ts';
import type { FilledConfig } from './filled-config.ts';
import type { LimitsDocument, WhenQueueFull } from './policy-document.ts';
import { diskBytes, durationMs, sizeBytes } from './units.ts';

export function parseLimits(
  texts: FilledConfig['limits'],
  fail: (name: string, message: string) => void,
): LimitsDocument {
  const count = (name: string): number => Number(texts[name]);
  const bytes = (name: string): number => accepted(sizeBytes(String(texts[name])));
  const ms = (name: string): number => accepted(durationMs(String(texts[name])));
  const limits: LimitsDocument = {
    sessions: count('sessions'),
    sessionsPerIdentity: count('sessionsPerIdentity'),
    subscriptionsPerSession: count('subscriptionsPerSession'),
    sourceConnectionsPerSecond: count('sourceConnectionsPerSecond'),
    sourceConnections: count('sourceConnections'),
    halfOpen: count('halfOpen'),
    sourceHalfOpen: count('sourceHalfOpen'),
    handshakesPerSecond: count('handshakesPerSecond'),
    eventLoopDelayMs: ms('eventLoopDelay'),
    admissionQueue: count('admissionQueue'),
    admissionWaitMs: ms('admissionWait'),
    sourceFailures: count('sourceFailures'),
    sourceSlowedPerSecond: count('sourceSlowedPerSecond'),
    proxyHeaderMs: ms('proxyHeader'),
    connectsPerMinute: count('connectsPerMinute'),
    serviceConnectsPerMinute: count('serviceConnectsPerMinute'),
    connectPenaltyMs: ms('connectPenalty'),
    handshakeMs: ms('handshake'),
    connectMs: ms('connect'),
    connectBytes: bytes('connectBytes'),
    packetBytes: bytes('packetBytes'),
    payloadBytes: bytes('payloadBytes'),
    userProperties: count('userProperties'),
    noncesPerIdentity: count('noncesPerIdentity'),
    topicBytes: bytes('topicBytes'),
    topicLevels: count('topicLevels'),
    keepAliveSeconds: Math.floor(ms('keepAlive') / 1_000),
    receiveMaximum: count('receiveMaximum'),
    topicAliases: count('topicAliases'),
    outboundBytes: bytes('outboundBytes'),
    outboundMessages: count('outboundMessages'),
    sessionExpiryMs: ms('sessionExpiry'),
    queuedMessages: count('queuedMessages'),
    queuedBytes: bytes('queuedBytes'),
    // The schema lets no other text through.
    whenQueueFull: texts['whenQueueFull'] as WhenQueueFull,
    retainedPerIdentity: count('retainedPerIdentity'),
    retainedBytesPerIdentity: bytes('retainedBytesPerIdentity'),
    controlPacketsPerSecond: count('controlPacketsPerSecond'),
    stalledMs: ms('stalled'),
    ratePauseMs: ms('ratePause'),
    rateRefusals: count('rateRefusals'),
    headerBytes: bytes('headerBytes'),
    headers: count('headers'),
    headersMs: ms('requestHeaders'),
    requestMs: ms('request'),
    idleMs: ms('idle'),
    connectionsPerIdentity: count('connectionsPerIdentity'),
    streamMs: ms('stream'),
    commandsPerDevice: count('commandsPerDevice'),
    commandBytesPerDevice: bytes('commandBytesPerDevice'),
    commandTtlMs: ms('commandTtl'),
    diskReserveBytes: accepted(diskBytes(String(texts['diskReserve']))),
    visitMs: ms('visit'),
    visitRequests: count('visitRequests'),
    estRequestBytes: bytes('estRequestBytes'),
    statusConnections: count('statusConnections'),
    sourceStatusConnections: count('sourceStatusConnections'),
    sourceStatusPerSecond: count('sourceStatusPerSecond'),
    statusCallsPerSecond: count('statusCallsPerSecond'),
    signedTimesPerSecond: count('signedTimesPerSecond'),
    ocspRequestBytes: bytes('ocspRequestBytes'),
    ocspCacheBytes: bytes('ocspCacheBytes'),
    signedConnections: count('signedConnections'),
    sourceSignedConnections: count('sourceSignedConnections'),
    signedFailures: count('signedFailures'),
    unprovenBodyBytes: bytes('unprovenBodyBytes'),
    unprovenBytes: bytes('unprovenBytes'),
    tokenBytes: bytes('tokenBytes'),
    cachedTokens: count('cachedTokens'),
    tokenClockMs: ms('tokenClock'),
    deviceTokenLifeMs: ms('deviceTokenLife'),
    introspections: count('introspections'),
    drainMs: ms('drain'),
    maxSnapshotAgeMs: ms('maxSnapshotAge'),
  };
  const bound = (name: string, ok: boolean, message: string): void => {
    if (!ok) fail(name, message);
  };
  // MQTT counts keep-alive in two bytes of seconds, lengths of texts in two bytes, packets in 268,435,455 (§3.1.2.10, §1.5.4, §2.1.4).
  bound(
    'keepAlive',
    limits.keepAliveSeconds >= 1 && limits.keepAliveSeconds <= 65_535,
    'is not from 1s to 65535s',
  );
  bound('topicBytes', limits.topicBytes <= 65_535, 'is more than the 65535 bytes that MQTT allows');
  bound(
    'packetBytes',
    limits.packetBytes <= 268_435_455,
    'is more than the 268435455 bytes that MQTT allows',
  );
  bound(
    'connectBytes',
    limits.connectBytes <= limits.packetBytes,
    'is more than limits.packetBytes',
  );
  bound(
    'payloadBytes',
    limits.payloadBytes <= limits.packetBytes,
    'is more than limits.packetBytes, which ends the connection first',
  );
  bound(
    'headerBytes',
    limits.headerBytes >= 1_024 && limits.headerBytes <= 1_048_576,
    'is not from 1KiB to 1MiB',
  );
  bound(
    'request',
    limits.requestMs >= limits.headersMs,
    'is less than limits.requestHeaders, which is a part of it',
  );
  bound(
    'unprovenBodyBytes',
    limits.unprovenBodyBytes <= limits.unprovenBytes,
    'is more than limits.unprovenBytes, which holds for all of them',
  );
  bound(
    'tokenBytes',
    limits.tokenBytes <= 65_535,
    'is more than the 65535 bytes of a password in MQTT (§3.1.3.6)',
  );
  return limits;
}
