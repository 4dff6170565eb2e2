/** SUBSCRIBE: MQTT 5 §3.8, §3.9; each filter is judged by itself. Retained messages follow the SUBACK. */
import { messageOf } from '../../../common/base/errors.ts';
import { noProperties } from '../../../common/codec/mqtt/packets.ts';
import type { Subscribe, Subscription } from '../../../common/codec/mqtt/packets.ts';
import { ReasonCode } from '../../../common/codec/mqtt/reason-codes.ts';
import type { SubscriptionOptions } from '../../broker/ports.ts';
import type { MqttPeer } from './peer.ts';
import type { Session } from './session.ts';
import { wireReasons } from './wire.ts';

/** MQTT 3.1.1 §3.9.3. */
const failure4 = 0x80;

interface Granted {
  readonly filter: string;
  readonly options: SubscriptionOptions;
}

export async function handleSubscribe(
  connection: MqttPeer,
  session: Session,
  packet: Subscribe,
): Promise<void> {
  if (packet.properties.subscriptionIdentifier !== undefined) {
    connection.disconnect(
      ReasonCode.subscriptionIdentifiersNotSupported,
      'subscription identifiers were not offered',
    );
    return;
  }
  const { ports } = connection;
  const most = ports.limits().subscriptionsPerSession;
  if (packet.subscriptions.length > most) {
    // Refused as a whole: a packet holds thousands of filters, and judging each would be the attack.
    logRefusal(
      connection,
      session,
      `${packet.subscriptions.length} filters`,
      'quota',
      'limits.subscriptionsPerSession',
    );
    const reasonCode = connection.version === 5 ? wireReasons.quota.suback5 : failure4;
    const reasonCodes = packet.subscriptions.map(() => reasonCode);
    connection.send({
      type: 'suback',
      packetId: packet.packetId,
      reasonCodes,
      properties: noProperties,
    });
    return;
  }
  const reasonCodes: number[] = [];
  const retainedWanted: Granted[] = [];
  for (const subscription of packet.subscriptions) {
    const refusal = await judge(connection, session, subscription);
    if (connection.isClosed()) return;
    if (refusal !== undefined) {
      reasonCodes.push(connection.version === 5 ? refusal : failure4);
      continue;
    }
    const options: SubscriptionOptions = {
      qos: subscription.qos === 0 ? 0 : 1,
      noLocal: subscription.noLocal,
      retainAsPublished: subscription.retainAsPublished,
    };
    const filter = subscription.topicFilter;
    const { existed } = ports.broker.subscribe(session, filter, options);
    session.subscriptions.set(filter, options);
    reasonCodes.push(options.qos);
    // MQTT 5 §3.8.3.1: 0 always, 1 only for a new subscription, 2 never.
    if (subscription.retainHandling === 0 || (subscription.retainHandling === 1 && !existed)) {
      retainedWanted.push({ filter, options });
    }
  }
  // From its SUBACK on a subscriber gets what is published on any worker.
  await ports.interestSettled();
  connection.send({
    type: 'suback',
    packetId: packet.packetId,
    reasonCodes,
    properties: noProperties,
  });
  if (retainedWanted.length === 0) return;
  sendRetained(connection, session, retainedWanted).catch((error: unknown) => {
    ports.logger.warn(
      { principal: session.principal, err: messageOf(error) },
      'retained messages not sent',
    );
  });
}

/** @returns the MQTT 5 reason code of the refusal, or undefined when the filter is granted. */
async function judge(
  connection: MqttPeer,
  session: Session,
  subscription: Subscription,
): Promise<number | undefined> {
  const { ports } = connection;
  const filter = subscription.topicFilter;
  const log = (code: string, detail: string): void =>
    logRefusal(connection, session, filter, code, detail);
  if (filter.startsWith('$share/')) {
    log('forbidden', 'shared subscriptions were not offered');
    return ReasonCode.sharedSubscriptionsNotSupported;
  }
  const known = session.subscriptions.has(filter);
  if (!known && session.subscriptions.size >= ports.limits().subscriptionsPerSession) {
    log('quota', 'limits.subscriptionsPerSession');
    return wireReasons.quota.suback5;
  }
  const decision = await ports.policy().bind('subscribe', session.subject, filter).decide();
  if (decision.allowed) return undefined;
  log(decision.code, decision.detail);
  if (decision.code === 'standing') connection.endFor('standing', decision.detail);
  return wireReasons[decision.code].suback5;
}

function logRefusal(
  connection: MqttPeer,
  session: Session,
  resource: string,
  code: string,
  detail: string,
): void {
  connection.ports.count(`refused{code="${code}"}`);
  connection.ports.logger.info(
    {
      ssl_client_s_dn: connection.subject,
      principal: session.principal,
      action: 'subscribe',
      resource,
      code,
      detail,
    },
    'refused',
  );
}

/** At the speed of the reader: a backend with a hundred thousand retained messages to get is not a slow one. */
async function sendRetained(
  connection: MqttPeer,
  session: Session,
  wanted: readonly Granted[],
): Promise<void> {
  for (const { filter, options } of wanted) {
    for await (const message of connection.ports.retained.match(filter)) {
      await connection.outbox.room();
      if (connection.isClosed() || session.subscriptions.get(filter) !== options) break;
      session.deliverAs(message, options, true);
    }
  }
}
