/** POSTs with `X-IoT-Signature`, signed before the round that sends them: nonces come once, so each is another request. */
import { iotHeaders } from '../../test/harness/iot-signature.ts';
import type { HmacKey } from '../../test/harness/iot-signature.ts';
import { postBytes } from './http-connection.ts';
import type { RequestSource } from './http-connection.ts';

export class SignedPosts implements RequestSource {
  readonly #key: HmacKey;
  readonly #path: string;
  readonly #body: Buffer;
  #requests: Buffer[] = [];
  #sent = 0;

  constructor(key: HmacKey, path: string, body: Buffer) {
    this.#key = key;
    this.#path = path;
    this.#body = body;
  }

  prepare(count: number): void {
    this.#sent = 0;
    this.#requests = Array.from({ length: count }, () => this.#signed());
  }

  next(): Buffer {
    const request = this.#requests[this.#sent];
    if (request === undefined) throw new Error('more requests than were signed');
    this.#sent += 1;
    return request;
  }

  #signed(): Buffer {
    const [path, body] = [this.#path, this.#body];
    const headers = iotHeaders(this.#key, { method: 'POST', path, body });
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
    return postBytes(path, body, lines);
  }
}
