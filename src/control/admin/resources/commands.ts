/** Commands to devices. */
import { SallyportError } from '../../../common/base/errors.ts';
import { principalName } from '../../../common/base/principal.ts';
import type { CommandToSend } from '../ports.ts';
import type { Route } from '../route.ts';
import { bodyFields, optionalText, requiredText } from '../request-fields.ts';
import type { Fields } from '../request-fields.ts';

/** Of the name; what a topic may have is a limit of the configuration, below this. */
const maxNameCharacters = 65_535;
/** The body of the request bounds it first. */
const maxBase64Characters = 1024 * 1024;
const maxContentTypeCharacters = 128;
/** RFC 9110 §8.3.1: it becomes a header of what goes to backends and devices. */
const mediaType =
  /^[\w!#$&^.+-]+\/[\w!#$&^.+-]+(?: *; *[\w!#$&^.+-]+=(?:[\w!#$&^.+-]+|"[ !#-[\]-~]*"))*$/;

export const commandRoutes: readonly Route[] = [
  {
    method: 'POST',
    path: '/v1/devices/{id}/commands',
    access: 'operator',
    async handle(services, request) {
      const device = principalName('device', request.params.get('id') ?? '');
      const known = ['name', 'payload', 'payload_base64', 'content_type'];
      const command = commandOf(bodyFields(request.body, known));
      return {
        status: 201,
        json: await services.sendCommand(request.caller.actor, device, command),
      };
    },
  },
];

function commandOf(fields: Fields): CommandToSend {
  const name = requiredText(fields, 'name', maxNameCharacters);
  const contentType = optionalText(fields, 'content_type', maxContentTypeCharacters);
  if (contentType !== undefined && !mediaType.test(contentType)) {
    throw new SallyportError('usage', '"content_type" must be a media type', {
      hint: 'such as application/json',
    });
  }
  if (!fields.has('payload')) return { name, payload: binaryPayload(fields), contentType };
  if (fields.has('payload_base64')) {
    throw new SallyportError('usage', '"payload" and "payload_base64" exclude each other');
  }
  const payload = Buffer.from(JSON.stringify(fields.get('payload')));
  return { name, payload, contentType: contentType ?? 'application/json' };
}

/** Base64 as RFC 4648 §4 writes it, nothing else: what one reader skips another refuses. */
function binaryPayload(fields: Fields): Buffer {
  const text = fields.has('payload_base64') ? fields.get('payload_base64') : '';
  if (typeof text === 'string' && text.length <= maxBase64Characters) {
    const payload = Buffer.from(text, 'base64');
    if (payload.toString('base64') === text) return payload;
  }
  throw new SallyportError('usage', '"payload_base64" must be base64 with its padding');
}
