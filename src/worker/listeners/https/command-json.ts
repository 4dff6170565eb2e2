/** A command as a device gets it over HTTPS: `{"id":…,"topic":…,"payload":…,"at":…}`. */
import { parseStrictJson } from '../../../common/base/strict-json.ts';
import type { Command } from '../../broker/commands.ts';

/**
 * On one line. `payload` is the payload's own text when that is JSON, so that no number loses its digits on the way;
 * otherwise there is `payload_base64` in its place, as `data_base64` in CloudEvents (JSON Event Format §3.1.1).
 */
export function commandJson({ id, at, message }: Command): string {
  const { topic, payload } = message;
  const body = parseStrictJson(payload).ok
    ? // Line ends in JSON stand between tokens only: in a string they are escaped (RFC 8259 §7).
      `"payload":${payload.toString('utf8').replaceAll(/[\r\n]/g, ' ')}`
    : `"payload_base64":"${payload.toString('base64')}"`;
  const when = new Date(at).toISOString();
  return `{"id":${JSON.stringify(id)},"topic":${JSON.stringify(topic)},${body},"at":"${when}"}`;
}
