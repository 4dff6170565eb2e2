/**
 * One end of a pipe between two processes: typed messages out, frames in. The transport is whatever duplex stream the
 * process was given; this file opens none.
 */
import type { Duplex } from 'node:stream';
import { SallyportError } from '../base/errors.ts';
import { encodeFrame, encodeHeader, frameKinds, FrameReader } from './frames.ts';
import type { Frame, FrameHeader } from './frames.ts';

/** Larger bodies, such as snapshots, are not copied behind their header. */
const copiedBytes = 64 * 1024;

export interface LinkOptions {
  /** Bytes of the largest frame that is accepted. */
  readonly maxFrameBytes: number;
  /** Bytes waiting to be written before the link is given up: a peer that does not read must not cost our memory. */
  readonly maxBufferedBytes: number;
}

export class Link {
  readonly #stream: Duplex;
  readonly #reader: FrameReader;
  readonly #maxBufferedBytes: number;
  onFrame: (frame: Frame) => void = () => {};
  /** Called once, when the other end is gone or broke the protocol. */
  onClose: (reason: string) => void = () => {};
  #closed = false;

  constructor(stream: Duplex, options: LinkOptions) {
    this.#stream = stream;
    this.#reader = new FrameReader(options.maxFrameBytes);
    this.#maxBufferedBytes = options.maxBufferedBytes;
    stream.on('data', (chunk: Buffer) => this.#receive(chunk));
    stream.on('error', (error: Error) => this.close(error.message));
    stream.on('close', () => this.close('closed'));
    stream.on('end', () => this.close('ended'));
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Sends a message that belongs to no snapshot. */
  send(channel: number, message: object): void {
    const header = { channel, kind: frameKinds.plain, epoch: 0, seq: 0 };
    this.forward(header, Buffer.from(JSON.stringify(message)));
  }

  /** Passes a body on as it is; it MUST NOT change any more. */
  forward(header: FrameHeader, body: Buffer): void {
    if (this.#closed) return;
    if (body.length <= copiedBytes) this.#stream.write(encodeFrame(header, body));
    else {
      this.#stream.cork();
      this.#stream.write(encodeHeader(header, body.length));
      this.#stream.write(body);
      this.#stream.uncork();
    }
    if (this.#stream.writableLength > this.#maxBufferedBytes)
      this.close('the other end does not read');
  }

  /** Resolves when what was sent has been handed to the kernel, or the link is closed. */
  async flushed(): Promise<void> {
    if (this.#closed || this.#stream.writableLength === 0) return;
    await new Promise<void>((resolve) => {
      this.#stream.write(Buffer.alloc(0), () => resolve());
      this.#stream.once('close', resolve);
    });
  }

  close(reason: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#stream.destroy();
    this.onClose(reason);
  }

  #receive(chunk: Buffer): void {
    let frames: Frame[];
    try {
      frames = this.#reader.push(chunk);
    } catch (error) {
      if (!(error instanceof SallyportError)) throw error;
      this.close(error.message);
      return;
    }
    // What the receiver throws is the receiver's own and says nothing of the other end.
    for (const frame of frames) {
      if (this.#closed) return;
      this.onFrame(frame);
    }
  }
}

/** The JSON object of a frame's body, or undefined when it is none. */
export function parseBody(body: Buffer): { readonly type: string } | undefined {
  try {
    const value: unknown = JSON.parse(body.toString('utf8'));
    if (typeof value !== 'object' || value === null || !('type' in value)) return undefined;
    if (typeof value.type !== 'string') return undefined;
    // The guard above has seen an object with a string `type`.
    return value as { readonly type: string };
  } catch {
    return undefined;
  }
}
