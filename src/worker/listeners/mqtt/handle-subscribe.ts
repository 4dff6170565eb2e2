/** SUBSCRIBE: MQTT 5 §3.8, §3.9; each filter is judged by itself. Retained messages follow the SUBACK. */
import { noProperties } from '../../../common/codec/mqtt/packets.ts';
import type { Subscribe, Subscription } from '../../../common/codec/mqtt/packets.ts';
import { ReasonCode } from '../../../common/codec/mqtt/reason-codes.ts';
import type { SubscriptionOptions } from '../../broker/ports.ts';
import type { MqttPeer } from './peer.ts';
import type { WantedRetained } from './replays.ts';
import type { Session } from './session.ts';
import { wireReasons } from './wire.ts';

/** MQTT 3.1.1 §3.9.3. */
const failure4 = 0x80;

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
    // No client that counts asks for more than the whole session may hold, and judging each would be the attack.
    connection.endFor('quota', `${packet.subscriptions.length} filters in one SUBSCRIBE`);
    return;
  }
  const reasonCodes: number[] = [];
  const retainedWanted: WantedRetained[] = [];
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
  if (retainedWanted.length > 0) session.replays.add(retainedWanted);
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
  if (decision.allowed) {
    // The policy may have changed while the rate was asked for; from here to the subscription nothing waits.
    if (ports.policy().permits('subscribe', session.subject, filter)) return undefined;
    log('forbidden', 'the policy has changed');
    return wireReasons.forbidden.suback5;
  }
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
  connection.log(
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
