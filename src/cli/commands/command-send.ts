import type { Command } from 'commander';
import { SallyportError } from '../../common/base/errors.ts';
import { principalName } from '../../common/base/principal.ts';
import { parseStrictJson } from '../../common/base/strict-json.ts';
import type { Run } from '../action.ts';
import type { CommandContext } from '../context.ts';
import { readSmallBytes } from '../files.ts';
import { Gateway } from '../gateway.ts';
import { print } from '../print.ts';

/** What fits into a request of the admin API in base64; the gateway's own limit is usually lower. */
const maxPayloadBytes = 700 * 1024;

interface SendOptions {
  readonly text?: string;
  readonly file?: string;
  readonly contentType?: string;
}

interface Payload {
  readonly bytes: Buffer;
  readonly contentType: string | undefined;
}

export function addCommandSend(group: Command, run: Run): void {
  group
    .command('send')
    .description('store a command for a device, which gets it when it asks or is connected')
    .argument('<id>', 'the device')
    .argument('<name>', 'topic levels below devices/<id>/commands/, such as "reboot"')
    .argument('[json]', 'payload; - reads it from standard input, without it there is none')
    .option('--text <text>', 'payload that is no JSON')
    .option('--file <file>', 'payload as the bytes of a file')
    .option('--content-type <type>', 'media type of the payload')
    .action((id: string, name: string, json: string | undefined, options: SendOptions) =>
      run((context) => send(context, id, name, json, options)),
    );
}

async function send(
  context: CommandContext,
  id: string,
  name: string,
  json: string | undefined,
  options: SendOptions,
): Promise<0> {
  const device = principalName('device', id);
  const { bytes, contentType } = await payloadOf(json, options);
  if (bytes.length > maxPayloadBytes) {
    throw new SallyportError('too-large', `the payload has more than ${maxPayloadBytes} bytes`);
  }
  const type = options.contentType ?? contentType;
  const sent = await new Gateway(context).sendCommand(id, {
    name,
    payload_base64: bytes.toString('base64'),
    ...(type === undefined ? {} : { content_type: type }),
  });
  print(
    context,
    sent,
    () => `Command ${sent.id} waits for ${device} until it has acknowledged it.\n`,
  );
  return 0;
}

async function payloadOf(json: string | undefined, { text, file }: SendOptions): Promise<Payload> {
  const given = [json, text, file].filter((each) => each !== undefined);
  if (given.length > 1) {
    throw new SallyportError('usage', 'a command has one payload', {
      hint: 'give either JSON, --text or --file',
    });
  }
  if (text !== undefined) {
    return { bytes: Buffer.from(text), contentType: 'text/plain; charset=utf-8' };
  }
  if (file !== undefined) {
    return { bytes: readSmallBytes(file, maxPayloadBytes), contentType: undefined };
  }
  if (json === undefined) return { bytes: Buffer.alloc(0), contentType: undefined };
  const bytes = json === '-' ? await standardInput() : Buffer.from(json);
  const parsed = parseStrictJson(bytes);
  if (parsed.ok) return { bytes, contentType: 'application/json' };
  throw new SallyportError(
    'usage',
    `the payload is no JSON that every reader takes alike: it ${parsed.problem}`,
    {
      hint: 'quote it for the shell, as in \'{"on":true}\', or use --text',
    },
  );
}

async function standardInput(): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of process.stdin) {
    // Without an encoding the stream yields Buffers only.
    const piece = chunk as Buffer;
    bytes += piece.length;
    // The caller refuses it; what is more is not read.
    if (bytes > maxPayloadBytes) break;
    chunks.push(piece);
  }
  if (bytes > maxPayloadBytes) {
    throw new SallyportError('too-large', `the payload has more than ${maxPayloadBytes} bytes`);
  }
  return Buffer.concat(chunks);
}
