/** What control asks of a worker on behalf of an operator: commands to devices, and a look at the spools. */
import { errorCodeOf, messageOf, SallyportError } from '../common/base/errors.ts';
import { principalName } from '../common/base/principal.ts';
import type { WorkerAsk, WorkerToControl } from '../common/ipc/messages.ts';
import { commandTopicOf } from './broker/commands.ts';
import type { Message } from './broker/message.ts';
import type { Intake } from './routes/intake.ts';
import type { Spools } from './routes/spools.ts';

export interface AskParts {
  readonly intake: Intake;
  readonly spools: Spools;
  readonly toControl: (message: WorkerToControl) => void;
}

type SendCommand = Extract<WorkerAsk, { what: 'send-command' }>;

export class Asks {
  readonly #parts: AskParts;

  constructor(parts: AskParts) {
    this.#parts = parts;
  }

  /** Answers once, whatever happens. */
  async answer(id: number, ask: WorkerAsk): Promise<void> {
    const { toControl } = this.#parts;
    try {
      toControl({ type: 'answer', id, ok: true, value: await this.#do(ask) });
    } catch (error) {
      const message = messageOf(error);
      toControl({ type: 'answer', id, ok: false, code: errorCodeOf(error), message });
    }
  }

  async #do(ask: WorkerAsk): Promise<unknown> {
    const { spools } = this.#parts;
    switch (ask.what) {
      case 'send-command':
        return { id: await this.#sendCommand(ask) };
      case 'spools':
        return spools.states();
      case 'dead-letters':
        return spools.deadLetters(ask.spool, ask.after, ask.limit);
      case 'retry-dead-letters':
        return { messages: await spools.retry(ask.spool, ask.ids) };
      case 'discard-dead-letters':
        return { messages: await spools.discard(ask.spool, ask.ids) };
    }
  }

  async #sendCommand(ask: SendCommand): Promise<string> {
    const { intake } = this.#parts;
    const device = principalName('device', ask.device);
    const { contentType } = ask;
    const message: Message = {
      topic: commandTopicOf(ask.device, ask.name),
      payload: Buffer.from(ask.payload, 'base64'),
      qos: 1,
      retain: false,
      properties: contentType === undefined ? {} : { contentType },
      publisher: ask.from,
      publisherSession: '',
      delivery: undefined,
      expiresAt: undefined,
    };
    const id = await intake.command(device, message);
    if (id === undefined) throw new SallyportError('unknown-principal', `${device} is not known`);
    return id;
  }
}
