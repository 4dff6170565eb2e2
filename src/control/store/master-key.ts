/**
 * The key under which everything secret is kept. It stays in control's memory; what others need is derived from it, one
 * key per purpose, so that no two uses share one and none leads back.
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { SallyportError } from '../../common/base/errors.ts';

export const masterKeyBytes = 32;

/**
 * Envelope: magic and version (4), id of the master key (8), salt (16), nonce (12), ciphertext, tag (16). The salt
 * gives each envelope its own AES key, so that random nonces never meet under one.
 */
const magic = Buffer.from('SPK\x01', 'latin1');
const keyIdBytes = 8;
const saltBytes = 16;
const nonceBytes = 12;
const tagBytes = 16;
const headerBytes = magic.length + keyIdBytes + saltBytes + nonceBytes;

export class MasterKey {
  readonly #key: Buffer;
  readonly #keyId: Buffer;

  /** Copies `key`. @throws SallyportError `no-key` unless it has 32 bytes. */
  constructor(key: Uint8Array) {
    if (key.length !== masterKeyBytes) {
      throw new SallyportError('no-key', `a master key has ${masterKeyBytes} bytes`);
    }
    this.#key = Buffer.from(key);
    this.#keyId = this.#derive('key id', Buffer.alloc(0), keyIdBytes);
  }

  /** `bytes` of key (1 to 8,160) for one purpose (HKDF-SHA256); the same for the same purpose, always. */
  deriveKey(purpose: string, bytes: number): Buffer {
    return this.#derive(`derive:${purpose}`, Buffer.alloc(0), bytes);
  }

  /** AES-256-GCM. `context` names what is sealed and where it belongs: `open` must be given the same. */
  seal(plaintext: Uint8Array, context: string): Buffer {
    const salt = randomBytes(saltBytes);
    const nonce = randomBytes(nonceBytes);
    const header = Buffer.concat([magic, this.#keyId, salt, nonce]);
    const cipher = createCipheriv('aes-256-gcm', this.#sealingKey(salt), nonce, {
      authTagLength: tagBytes,
    });
    cipher.setAAD(associatedData(header, context));
    return Buffer.concat([header, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
  }

  /**
   * @throws SallyportError `no-key` when it was sealed under another master key, `tampered` when it was changed, cut or
   *   sealed for another context.
   */
  open(envelope: Uint8Array, context: string): Buffer {
    const sealed = Buffer.from(envelope.buffer, envelope.byteOffset, envelope.length);
    if (sealed.length < headerBytes + tagBytes || !sealed.subarray(0, magic.length).equals(magic)) {
      throw new SallyportError('tampered', `${context} is not a sealed file of this version`);
    }
    const header = sealed.subarray(0, headerBytes);
    let at = magic.length;
    const keyId = sealed.subarray(at, (at += keyIdBytes));
    const salt = sealed.subarray(at, (at += saltBytes));
    const nonce = sealed.subarray(at, (at += nonceBytes));
    if (!keyId.equals(this.#keyId)) {
      throw new SallyportError('no-key', `${context} was sealed under another master key`, {
        hint: 'start with the master key that this data directory was made with',
      });
    }
    const decipher = createDecipheriv('aes-256-gcm', this.#sealingKey(salt), nonce, {
      authTagLength: tagBytes,
    });
    decipher.setAAD(associatedData(header, context));
    decipher.setAuthTag(sealed.subarray(-tagBytes));
    try {
      return Buffer.concat([decipher.update(sealed.subarray(at, -tagBytes)), decipher.final()]);
    } catch (thrown) {
      throw new SallyportError('tampered', `${context} has been changed since it was sealed`, {
        hint: 'restore it from a backup',
        cause: thrown,
      });
    }
  }

  #sealingKey(salt: Uint8Array): Buffer {
    return this.#derive('seal', salt, 32);
  }

  #derive(info: string, salt: Uint8Array, bytes: number): Buffer {
    return Buffer.from(hkdfSync('sha256', this.#key, salt, `sallyport/1 ${info}`, bytes));
  }
}

function associatedData(header: Uint8Array, context: string): Buffer {
  return Buffer.concat([header, Buffer.from(context, 'utf8')]);
}
