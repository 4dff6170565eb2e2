/**
 * Records at rest: AES-256-GCM (NIST SP 800-38D) under keys derived from the worker's storage key.
 *
 *   u8 version | 16 bytes salt | u48 counter | 16 bytes tag | ciphertext
 *
 * Random nonces under one key would run into the bound of §8.3 (2^32 records) within hours on a large fleet. So each
 * process draws a salt, derives a key of its own from it by HKDF-SHA-256 (RFC 5869) and counts: no pair of key and
 * nonce comes twice.
 */
import {
  createCipheriv,
  createDecipheriv,
  createSecretKey,
  hkdfSync,
  randomBytes,
} from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { SallyportError } from '../../common/base/errors.ts';

const recordVersion = 1;
const keyBytes = 32;
const saltBytes = 16;
const counterBytes = 6;
const tagBytes = 16;
const nonceBytes = 12;
const saltAt = 1;
const counterAt = saltAt + saltBytes;
const tagAt = counterAt + counterBytes;
const headerBytes = tagAt + tagBytes;

/** Records under one derived key before another salt is drawn; far below what the counter could name. */
const recordsPerKey = 2 ** 32;
/** Keys of other processes that are remembered; deriving one takes 10 µs. */
const cachedKeys = 256;

export class RecordCipher {
  readonly #key: Buffer;
  readonly #derived = new Map<string, KeyObject>();
  #salt: Buffer = Buffer.alloc(0);
  #current: KeyObject | undefined;
  /** Copied by whoever gets it. */
  readonly #nonce = Buffer.alloc(nonceBytes);
  #counter = recordsPerKey;

  /** @param key 32 bytes. */
  constructor(key: Buffer) {
    if (key.length !== keyBytes) throw new SallyportError('no-key', 'a storage key has 32 bytes');
    this.#key = Buffer.from(key);
  }

  /** @param context names what the record is about; opening it under another name fails. */
  seal(context: string, plain: Buffer): Buffer {
    if (this.#current === undefined || this.#counter >= recordsPerKey) {
      this.#current = this.#drawSalt();
    }
    const record = Buffer.allocUnsafe(headerBytes + plain.length);
    record.writeUInt8(recordVersion, 0);
    this.#salt.copy(record, saltAt);
    record.writeUIntBE(this.#counter, counterAt, counterBytes);
    this.#counter += 1;
    const cipher = createCipheriv('aes-256-gcm', this.#current, this.#nonceOf(record));
    cipher.setAAD(additionalData(record, context));
    // GCM is a stream: `update` gives as many bytes as it gets and `final` none.
    cipher.update(plain).copy(record, headerBytes);
    cipher.final();
    cipher.getAuthTag().copy(record, tagAt);
    return record;
  }

  /** @throws SallyportError `tampered` when the record is not what `seal` made under this key and context. */
  open(context: string, record: Buffer): Buffer {
    if (record.length < headerBytes || record.readUInt8(0) !== recordVersion) {
      throw new SallyportError('tampered', 'a stored record is of an unknown version or cut short');
    }
    const key = this.#keyFor(record.subarray(saltAt, counterAt));
    const decipher = createDecipheriv('aes-256-gcm', key, this.#nonceOf(record), {
      authTagLength: tagBytes,
    });
    decipher.setAAD(additionalData(record, context));
    decipher.setAuthTag(record.subarray(tagAt, headerBytes));
    const plain = decipher.update(record.subarray(headerBytes));
    try {
      decipher.final();
    } catch (error) {
      throw new SallyportError('tampered', 'a stored record does not verify', { cause: error });
    }
    return plain;
  }

  #drawSalt(): KeyObject {
    this.#salt = randomBytes(saltBytes);
    this.#counter = 0;
    return this.#derive(this.#salt);
  }

  #keyFor(salt: Buffer): KeyObject {
    if (this.#current !== undefined && salt.equals(this.#salt)) return this.#current;
    const name = salt.toString('latin1');
    let key = this.#derived.get(name);
    if (key === undefined) {
      if (this.#derived.size >= cachedKeys) this.#derived.clear();
      key = this.#derive(salt);
      this.#derived.set(name, key);
    }
    return key;
  }

  /** As a key object, which Node would make of the bytes for each record: sealing takes a fifth less. */
  #derive(salt: Buffer): KeyObject {
    const bytes = hkdfSync('sha256', this.#key, salt, 'sallyport record', keyBytes);
    return createSecretKey(Buffer.from(bytes));
  }

  #nonceOf(record: Buffer): Buffer {
    record.copy(this.#nonce, nonceBytes - counterBytes, counterAt, tagAt);
    return this.#nonce;
  }
}

/** The version and what the record is about. */
function additionalData(record: Buffer, context: string): Buffer {
  return Buffer.from(String.fromCharCode(record[0] ?? 0) + context);
}
