/**
 * A will is judged when it is set and again when it is published: one that has become forbidden meanwhile, or whose
 * owner has lost its standing, is never published.
 */
import { messageOf } from '../../../common/base/errors.ts';
import type { Will } from '../../../common/codec/mqtt/packets.ts';
import type { Message } from '../../broker/message.ts';
import type { SessionWill } from '../../broker/sessions.ts';
import type { MessageFacts } from '../../policy/entry.ts';
import type { Subject } from '../../policy/ports.ts';
import type { MqttPorts } from './ports.ts';

interface WillOwner {
  readonly principal: Subject['name'];
  readonly key: string;
}

function messageOfWill(will: Will, owner: WillOwner): Message {
  const { willDelayInterval: _, ...properties } = will.properties;
  return {
    topic: will.topic,
    payload: Buffer.from(will.payload),
    qos: will.qos,
    retain: will.retain,
    properties: ownedProperties(properties),
    publisher: owner.principal,
    publisherSession: owner.key,
    delivery: undefined,
    // Set when it is published: MQTT 5 §3.1.3.2.4 counts the expiry from then.
    expiresAt: undefined,
  };
}

/** MQTT 5 §3.1.3.2.2. */
export function sessionWillOf(will: Will, owner: WillOwner): SessionWill {
  return {
    message: messageOfWill(will, owner),
    delaySeconds: will.properties.willDelayInterval ?? 0,
  };
}

export function factsOf(
  message: Pick<Message, 'payload' | 'qos' | 'retain' | 'properties'>,
): MessageFacts {
  return {
    payload: message.payload,
    qos: message.qos,
    retain: message.retain,
    userProperties: message.properties.userProperties?.length ?? 0,
    contentType: message.properties.contentType,
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

type WillPorts = Pick<MqttPorts, 'clock' | 'logger' | 'policy' | 'intake' | 'count'>;

/** Resolves when it has been published, or is known not to be; never rejects. */
export async function publishWill(
  ports: WillPorts,
  subject: Subject,
  will: Message,
): Promise<void> {
  try {
    await judgeAndPublish(ports, subject, will);
  } catch (error) {
    ports.logger.warn({ principal: subject.name, err: messageOf(error) }, 'will not published');
  }
}

async function judgeAndPublish(ports: WillPorts, subject: Subject, will: Message): Promise<void> {
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
  const stored = ports.intake.store(message, undefined);
  await stored?.done;
  ports.intake.publish(stored?.message ?? message);
  ports.count('mqtt_wills');
}
