/**
 * What a listener sees of a connection whose handshake is done: bytes in, bytes out, and the facts of the handshake.
 * An interface, so that another TLS engine can take the place of node:tls.
 */

export interface SecureConnection {
  readonly remoteAddress: string;
  readonly remotePort: number;
  /** DER of the certificate whose key the peer proved to hold; undefined when it sent none. */
  readonly peerCertificate: Buffer | undefined;
  /** Why the TLS library does not accept that certificate; undefined when it does. */
  readonly verifyError: string | undefined;
  readonly resumed: boolean;
  readonly protocol: string;
  readonly cipher: string;
  /** By which the keys were agreed, in the configuration's spelling; `none` when a TLS 1.2 session was resumed. */
  readonly group: string;
  /** The peer has authenticated: it no longer counts as half-open. */
  authenticated(): void;
  /** Set by the listener before it returns from `onSecure`. Chunks are owned by the receiver. */
  onData: (chunk: Buffer) => void;
  /** Everything written has been handed to the kernel. */
  onDrain: () => void;
  /**
   * The peer sends no more, also called while reading is paused. Who sets this has to call `end`, when what came before is
   * done; where it is not set the connection is ended at once.
   */
  onEnd: () => void;
  /** Called once, when the connection is gone for whatever reason. */
  onClose: () => void;
  /**
   * In the order of the calls. `bytes` MUST NOT change from then on.
   *
   * @param when `soon`: the end of this turn of the event loop will do, if it is little; cheaper for what may well be followed
   *   by more, or is one of many answers.
   * @returns false when what is written waits for a slow peer.
   */
  write(bytes: Buffer, when?: 'soon'): boolean;
  /** Bytes written that wait for the peer. */
  readonly pendingBytes: number;
  /** Bytes written that do not wait any more. Who takes none while some are pending does not read. */
  readonly takenBytes: number;
  pause(): void;
  resume(): void;
  /** Sends what is written, closes, and destroys after `limitMs` if the peer does not close too. */
  end(limitMs: number): void;
  /** Sends what is written, however long its peer takes for that, and closes then, whether or not the peer does. */
  closeSoon(): void;
  destroy(): void;
}
