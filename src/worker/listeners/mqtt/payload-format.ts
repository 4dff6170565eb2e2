/** MQTT 5 §3.3.2.3.2: whether a payload is what its Payload Format Indicator says. */
import { isUtf8 } from 'node:buffer';
import type { Message } from '../../broker/message.ts';
import { deny } from '../../policy/decision.ts';
import type { Deny } from '../../policy/decision.ts';

/** @returns the refusal of a payload that says of itself that it is UTF-8 and is not; backends would choke on it. */
export function formatProblem(message: Pick<Message, 'payload' | 'properties'>): Deny | undefined {
  if (message.properties.payloadFormatIndicator !== 1 || isUtf8(message.payload)) return undefined;
  return deny('schema', 'payload format', 'the payload is not the UTF-8 that it says it is');
}
