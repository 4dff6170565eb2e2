/**
 * A connection whose bytes travel in WebSocket frames: what MQTT sees of MQTT over WebSocket (MQTT 5 §6). Frames need not
 * align with packets (MQTT-6.0.0-2), so it is bytes in and bytes out like any other connection.
 */
import type { Clock } from '../../../common/base/clock.ts';
import type { DenyCode } from '../../../common/base/errors.ts';
import type { SecureConnection } from '../../transport/secure-connection.ts';
import {
  closeCodes,
  closeFrame,
  frameHeader,
  frameOf,
  FrameReader,
  noCode,
  opcodes,
  readClose,
} from './websocket-frames.ts';
import type { FrameSink, FrameViolation, Onward } from './websocket-frames.ts';

/** A peer that does not close after the closing handshake is cut off. */
const closeLimitMs = 500;
const secondMs = 1_000;
/**
 * From here on the header is written by itself, which costs a TLS record of its own; below, payload is copied behind it.
 * A copy of 16 KiB costs what a record costs.
 */
const minAloneBytes = 16 * 1_024;

export interface WebSocketPorts {
  readonly clock: Clock;
  /** Frames without payload for MQTT, and control frames, that one connection may send per second. */
  readonly framesPerSecond: () => number;
  /** The connection ends because its peer broke the rules. Called once at most. */
  readonly refused: (code: DenyCode, detail: string) => void;
  /** It has authenticated over MQTT, or is gone. Called once. */
  readonly onSettled: () => void;
}

const tooMany: FrameViolation = Object.freeze({
  closeCode: closeCodes.policyViolation,
  code: 'rate',
  detail: 'too many frames that carry nothing',
});

function ignore(): void {}

export class WebSocketConnection implements SecureConnection, FrameSink {
  readonly #transport: SecureConnection;
  readonly #ports: WebSocketPorts;
  readonly #reader = new FrameReader();
  #isClosing = false;
  /** The code of the peer's Close, which is answered when what came before it is done. */
  #closeCode: number | undefined;
  #isSettled = false;
  /** Frames of this second that carried nothing for MQTT. */
  #frames = 0;
  #secondFrom = Number.NEGATIVE_INFINITY;
  /** A ping to be answered when the peer reads again; of several only the last is (RFC 6455 §5.5.3). */
  #pong: Buffer | undefined;
  onData: (chunk: Buffer) => void = ignore;
  onDrain: () => void = ignore;
  onEnd: () => void = () => this.end(closeLimitMs);
  onClose: () => void = ignore;

  /** @param transport after its opening handshake; nothing else writes on it. */
  constructor(transport: SecureConnection, ports: WebSocketPorts) {
    this.#transport = transport;
    this.#ports = ports;
    transport.onData = (chunk) => this.receive(chunk);
    transport.onDrain = () => this.#drained();
    transport.onEnd = () => {
      if (!this.#isClosing) this.onEnd();
    };
    transport.onClose = () => this.#closed();
  }

  get remoteAddress(): string {
    return this.#transport.remoteAddress;
  }

  get remotePort(): number {
    return this.#transport.remotePort;
  }

  get peerCertificate(): Buffer | undefined {
    return this.#transport.peerCertificate;
  }

  get verifyError(): string | undefined {
    return this.#transport.verifyError;
  }

  get resumed(): boolean {
    return this.#transport.resumed;
  }

  get protocol(): string {
    return this.#transport.protocol;
  }

  get cipher(): string {
    return this.#transport.cipher;
  }

  get group(): string {
    return this.#transport.group;
  }

  authenticated(): void {
    this.#transport.authenticated();
    this.#settle();
  }

  /** Bytes of the peer: what came with its opening handshake, and all that follows. */
  receive(chunk: Buffer): void {
    if (this.#hasHeardAll()) return;
    const violation = this.#reader.push(chunk, this);
    if (violation !== undefined) this.#refuse(violation);
  }

  payload(bytes: Buffer): void {
    this.onData(bytes);
  }

  control(opcode: number, payload: Buffer): Onward {
    if (this.#hasHeardAll()) return 'enough';
    if (opcode === opcodes.close) return this.#hearClose(payload);
    if (opcode === opcodes.ping) this.#answerPing(payload);
    return this.#counted();
  }

  empty(): Onward {
    return this.#hasHeardAll() ? 'enough' : this.#counted();
  }

  /** Includes the frames' headers. */
  get pendingBytes(): number {
    return this.#transport.pendingBytes;
  }

  get takenBytes(): number {
    return this.#transport.takenBytes;
  }

  write(bytes: Buffer): boolean {
    if (this.#isClosing) return false;
    if (bytes.length < minAloneBytes) return this.#transport.write(frameOf(opcodes.binary, bytes));
    this.#transport.write(frameHeader(opcodes.binary, bytes.length));
    return this.#transport.write(bytes);
  }

  pause(): void {
    if (!this.#isClosing) this.#transport.pause();
  }

  resume(): void {
    if (!this.#isClosing) this.#transport.resume();
  }

  end(limitMs: number): void {
    if (!this.#isClosing) this.#sendClose(this.#closeCode ?? closeCodes.normal);
    this.#transport.end(limitMs);
  }

  closeSoon(): void {
    if (!this.#isClosing) this.#sendClose(this.#closeCode ?? closeCodes.normal);
    this.#transport.closeSoon();
  }

  destroy(): void {
    this.#isClosing = true;
    this.#transport.destroy();
  }

  #hasHeardAll(): boolean {
    return this.#isClosing || this.#closeCode !== undefined;
  }

  #answerPing(payload: Buffer): void {
    // A pong that waits behind what is not read would be one of many.
    if (this.#transport.pendingBytes > 0) this.#pong = Buffer.from(payload);
    else this.#transport.write(frameOf(opcodes.pong, payload));
  }

  #hearClose(payload: Buffer): Onward {
    const code = readClose(payload);
    if (typeof code !== 'number') return code;
    this.#closeCode = code;
    this.onEnd();
    return 'enough';
  }

  #refuse({ closeCode, code, detail }: FrameViolation): void {
    // MQTT may have ended it with what it was given before.
    if (this.#isClosing) return;
    this.#ports.refused(code, detail);
    this.#sendClose(closeCode);
    this.#transport.end(closeLimitMs);
    this.onEnd();
  }

  #sendClose(code: number): void {
    this.#isClosing = true;
    this.#pong = undefined;
    this.#transport.write(
      code === noCode ? frameOf(opcodes.close, Buffer.alloc(0)) : closeFrame(code),
    );
  }

  /** Every one costs what a packet costs, and nobody is charged for it. */
  #counted(): Onward {
    const now = this.#ports.clock.monotonic();
    if (now - this.#secondFrom >= secondMs) {
      this.#secondFrom = now;
      this.#frames = 0;
    }
    this.#frames += 1;
    return this.#frames > this.#ports.framesPerSecond() ? tooMany : 'on';
  }

  #drained(): void {
    const pong = this.#pong;
    this.#pong = undefined;
    if (pong !== undefined) this.#transport.write(frameOf(opcodes.pong, pong));
    if (!this.#isClosing) this.onDrain();
  }

  #closed(): void {
    this.#isClosing = true;
    this.#settle();
    this.onClose();
  }

  #settle(): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    this.#ports.onSettled();
  }
}
