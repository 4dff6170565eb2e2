/** SUBSCRIBE: MQTT 5 §3.8, §3.9; each filter is judged by itself. Retained messages follow the SUBACK. */
import { noProperties } from '../../../common/codec/mqtt/packets.ts';
import type { Subscribe } from '../../../common/codec/mqtt/packets.ts';
import { noIdentifiers } from '../../broker/ports.ts';
import type { SubscriptionOptions } from '../../broker/ports.ts';
import { filterOfShared, isShared } from '../../broker/shared-subscription.ts';
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
  const { ports } = connection;
  const most = ports.limits().subscriptionsPerSession;
  if (packet.subscriptions.length > most) {
    // No client that counts asks for more than the whole session may hold, and judging each would be the attack.
    connection.endFor('quota', `${packet.subscriptions.length} filters in one SUBSCRIBE`);
    return;
  }
  const { subscriptionIdentifier } = packet.properties;
  const identifiers =
    subscriptionIdentifier === undefined ? noIdentifiers : Object.freeze([subscriptionIdentifier]);
  const reasonCodes: number[] = [];
  const granted = new Map<string, SubscriptionOptions>();
  const retainedWanted: WantedRetained[] = [];
  for (const subscription of packet.subscriptions) {
    const { topicFilter: filter, qos, noLocal, retainAsPublished, retainHandling } = subscription;
    // In MQTT 3.1.1 the prefix means nothing, and the filter is one of those that are closed to everyone.
    const shared = connection.version === 5 && isShared(filter);
    const judged = shared ? filterOfShared(filter) : filter;
    const refusal = await judge(connection, session, filter, judged);
    if (connection.isClosed()) return;
    if (refusal !== undefined) {
      reasonCodes.push(connection.version === 5 ? refusal : failure4);
      continue;
    }
    const options: SubscriptionOptions = { qos, noLocal, retainAsPublished, identifiers };
    const { existed } = ports.broker.subscribe(session, filter, options);
    session.subscriptions.set(filter, options);
    granted.set(filter, options);
    reasonCodes.push(qos);
    // MQTT 5 §3.8.3.1: 0 always, 1 only for a new subscription, 2 never. §4.8.2: never for a shared one.
    if (!shared && (retainHandling === 0 || (retainHandling === 1 && !existed))) {
      retainedWanted.push({ filter, options });
    }
  }
  if (granted.size > 0) await settled(connection, session, granted);
  connection.send({
    type: 'suback',
    packetId: packet.packetId,
    reasonCodes,
    properties: noProperties,
  });
  if (retainedWanted.length > 0) session.replay(retainedWanted);
  for (const filter of granted.keys()) session.subscribed(filter);
}

/** From its SUBACK on a subscriber gets what is published on any worker, and keeps the subscription whatever dies. */
async function settled(
  { ports }: MqttPeer,
  session: Session,
  granted: ReadonlyMap<string, SubscriptionOptions>,
): Promise<void> {
  await Promise.all([ports.interestSettled(), session.storeSubscriptions(granted)]);
}

/**
 * @param judged what topics are matched by, which is what the policy grants or refuses: as a whole, never a part of it.
 * @returns the MQTT 5 reason code of the refusal, or undefined when the filter is granted.
 */
async function judge(
  connection: MqttPeer,
  session: Session,
  filter: string,
  judged: string,
): Promise<number | undefined> {
  const { ports } = connection;
  const log = (code: string, detail: string): void =>
    logRefusal(connection, session, filter, code, detail);
  const { by = 'certificate' } = session;
  if (by !== 'certificate' && !ports.policy().takes(by, judged)) {
    log('forbidden', `no route takes ${by} for it`);
    return wireReasons.forbidden.suback5;
  }
  const known = session.subscriptions.has(filter);
  if (!known && session.subscriptions.size >= ports.limits().subscriptionsPerSession) {
    log('quota', 'limits.subscriptionsPerSession');
    return wireReasons.quota.suback5;
  }
  const decision = await ports.policy().bind('subscribe', session.subject, judged).decide();
  if (decision.allowed) {
    // The policy may have changed while the rate was asked for; from here to the subscription nothing waits.
    if (ports.policy().permits('subscribe', session.subject, judged)) return undefined;
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
