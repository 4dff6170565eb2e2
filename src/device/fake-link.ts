/** A gateway for tests of what stands above the protocols: it does what the test says, when the test says so. */
import { SallyportError } from '../common/base/errors.ts';
import type { ErrorCode } from '../common/base/errors.ts';
import type { Channel, DeviceLink, LinkEvents } from './link.ts';

export interface FakePublish {
  readonly channel: Channel;
  readonly body: unknown;
  readonly accept: () => void;
  readonly refuse: (error: SallyportError) => void;
}

export class FakeLink implements DeviceLink {
  readonly events: LinkEvents;
  readonly ended: Promise<SallyportError>;
  readonly published: FakePublish[] = [];
  /** Whether messages are taken over as they come. */
  accepts = true;
  closed = false;
  readonly #ended = Promise.withResolvers<SallyportError>();
  readonly #refusal: ErrorCode | undefined;

  constructor(events: LinkEvents, refusal?: ErrorCode) {
    this.events = events;
    this.ended = this.#ended.promise;
    this.#refusal = refusal;
  }

  async open(): Promise<void> {
    if (this.#refusal === undefined) return;
    const error = new SallyportError(this.#refusal, 'refused');
    this.end(error);
    throw error;
  }

  publish(channel: Channel, payload: Buffer): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const body: unknown = JSON.parse(payload.toString());
    this.published.push({ channel, body, accept: resolve, refuse: reject });
    if (this.accepts) resolve();
    return promise;
  }

  close(): void {
    this.closed = true;
    this.end(new SallyportError('io', 'the device said goodbye'));
  }

  end(reason: SallyportError): void {
    for (const message of this.published) message.refuse(reason);
    this.#ended.resolve(reason);
  }

  bodies(channel: Channel): unknown[] {
    return this.published.filter((each) => each.channel === channel).map(({ body }) => body);
  }
}
