/**
 * A will is judged when it is set and again when it is published: one that has become forbidden meanwhile, or whose
 * owner has lost its standing, is never published.
 */
import { messageOf } from '../../../common/base/errors.ts';
import type { Will } from '../../../common/codec/mqtt/packets.ts';
import type { Message } from '../../broker/message.ts';
import type { MessageFacts } from '../../policy/entry.ts';
import type { Subject } from '../../policy/ports.ts';
import type { MqttPorts } from './ports.ts';

interface WillOwner {
  readonly principal: Subject['name'];
  readonly key: string;
}

export function messageOfWill(will: Will, owner: WillOwner): Message {
  const { willDelayInterval: _, ...properties } = will.properties;
  return {
    topic: will.topic,
    payload: Buffer.from(will.payload),
    qos: will.qos,
    retain: will.retain,
    properties: ownedProperties(properties),
    publisher: owner.principal,
    publisherSession: owner.key,
    // Set when it is published: MQTT 5 §3.1.3.2.4 counts the expiry from then.
    expiresAt: undefined,
  };
}

export function factsOf(message: Message): MessageFacts {
  return {
    payload: message.payload,
    qos: message.qos,
    retain: message.retain,
    userProperties: message.properties.userProperties?.length ?? 0,
  };
}

/** Copies what is a slice of the read buffer. */
export function ownedProperties<P extends Message['properties']>(properties: P): P {
  const { correlationData } = properties;
  if (correlationData === undefined) return properties;
  return { ...properties, correlationData: Buffer.from(correlationData) };
}

/** Milliseconds since the epoch at which a message published now expires. */
export function expiryOf(properties: Message['properties'], nowMs: number): number | undefined {
  const seconds = properties.messageExpiryInterval;
  return seconds === undefined ? undefined : nowMs + seconds * 1_000;
}

/** Resolves when it has been published, or is known not to be; never rejects. */
export async function publishWill(
  ports: MqttPorts,
  subject: Subject,
  will: Message,
): Promise<void> {
  try {
    await judgeAndPublish(ports, subject, will);
  } catch (error) {
    ports.logger.warn({ principal: subject.name, err: messageOf(error) }, 'will not published');
  }
}

async function judgeAndPublish(ports: MqttPorts, subject: Subject, will: Message): Promise<void> {
  const bound = ports.policy().bind('will-publish', subject, will.topic);
  const decision = await bound.decide(factsOf(will));
  if (!decision.allowed) {
    const { code, detail } = decision;
    ports.count(`refused{code="${code}"}`);
    const fields = { code, principal: subject.name, action: 'will', resource: will.topic, detail };
    ports.logger.info(fields, 'refused');
    return;
  }
  const message = { ...will, expiresAt: expiryOf(will.properties, ports.clock.now()) };
  if (message.retain) await ports.retained.put(message);
  ports.broker.publish(message);
  ports.count('mqtt_wills');
}
