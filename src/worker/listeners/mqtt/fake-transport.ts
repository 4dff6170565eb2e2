/** A secure connection without a network, for tests: what is written is kept, what the kernel would take is up to the test. */
import type { SecureConnection } from '../../transport/secure-connection.ts';

export class FakeTransport implements SecureConnection {
  readonly remoteAddress = '192.0.2.1';
  readonly remotePort = 50_000;
  readonly peerCertificate = undefined;
  readonly verifyError = undefined;
  readonly resumed = false;
  readonly protocol = 'TLSv1.3';
  readonly cipher = 'TLS_AES_128_GCM_SHA256';
  readonly group = 'X25519MLKEM768';
  onData: (chunk: Buffer) => void = () => {};
  onDrain: () => void = () => {};
  onEnd: () => void = () => {};
  onClose: () => void = () => {};
  readonly written: Buffer[] = [];
  /** False: nothing written is taken until `drain`. */
  takes = true;
  pendingBytes = 0;
  #writtenBytes = 0;
  paused = false;
  ended = false;
  hasAuthenticated = false;
  /** Set to make the next write fail. */
  fault: Error | undefined;

  authenticated(): void {
    this.hasAuthenticated = true;
  }

  get takenBytes(): number {
    return this.#writtenBytes - this.pendingBytes;
  }

  write(bytes: Buffer): boolean {
    if (this.fault !== undefined) throw this.fault;
    this.written.push(bytes);
    this.#writtenBytes += bytes.length;
    if (!this.takes) this.pendingBytes += bytes.length;
    return this.takes;
  }

  /** The peer takes all that waits. */
  drain(): void {
    this.takes = true;
    this.pendingBytes = 0;
    this.onDrain();
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }

  closeSoon(): void {
    this.end(0);
  }

  end(_limitMs: number): void {
    this.ended = true;
  }

  destroy(): void {
    this.ended = true;
  }
}
