/**
 * A CA whose keys belong in hardware. New keys are made there and nowhere else; a key that lies sealed on disk from an
 * earlier time still signs until a rotation has replaced it.
 */
import type { KeyStore } from './key-store.ts';
import type { Signer } from './signer.ts';

export class HardwareKeys implements KeyStore {
  readonly #token: KeyStore;
  readonly #sealed: KeyStore;

  constructor(token: KeyStore, sealed: KeyStore) {
    this.#token = token;
    this.#sealed = sealed;
  }

  async has(name: string): Promise<boolean> {
    return (await this.#token.has(name)) || this.#sealed.has(name);
  }

  async find(name: string): Promise<Signer | undefined> {
    return (await this.#token.find(name)) ?? this.#sealed.find(name);
  }

  make(name: string): Promise<Signer> {
    return this.#token.make(name);
  }

  async remove(name: string): Promise<void> {
    await this.#token.remove(name);
    await this.#sealed.remove(name);
  }

  async exportKey(name: string): Promise<string> {
    return (await this.#token.has(name))
      ? this.#token.exportKey(name)
      : this.#sealed.exportKey(name);
  }
}
