/**
 * PKCS #11 v2.40 ("Cryptoki") as far as the CA uses it, and the vendor's module that speaks it, loaded through the
 * optional package `pkcs11js`.
 *
 * A module is native code of somebody else in control's own process: it is loaded only when the configuration names it.
 */
import type * as pkcs11js from 'pkcs11js';
import { messageOf, SallyportError } from '../../common/base/errors.ts';

/** A session, a slot or an object: the bytes of a CK_ULONG. Told apart by content, valid as long as the library says. */
export type Handle = Buffer;

export interface Attribute {
  readonly type: number;
  readonly value?: Buffer | string | number | boolean;
}

export interface Mechanism {
  readonly mechanism: number;
}

/**
 * The functions of section 5, by their names there. Those with `Async` run on a thread of libuv's pool; the buffers that
 * they are given MUST be kept alive by the caller until they settle, since the addon holds bare pointers.
 */
export interface Cryptoki {
  C_Initialize(options: { readonly flags: number }): void;
  C_Finalize(): void;
  C_GetSlotList(tokenPresent: boolean): Handle[];
  C_GetTokenInfo(slot: Handle): { readonly label: string; readonly flags: number };
  C_OpenSession(slot: Handle, flags: number): Handle;
  C_CloseSession(session: Handle): void;
  C_CloseAllSessions(slot: Handle): void;
  C_Login(session: Handle, userType: number, pin: string): void;
  C_FindObjectsInit(session: Handle, template: Attribute[]): void;
  C_FindObjects(session: Handle, atMost: number): Handle[];
  C_FindObjectsFinal(session: Handle): void;
  C_GetAttributeValue(
    session: Handle,
    object: Handle,
    template: Attribute[],
  ): { readonly value: Buffer }[];
  C_GenerateKeyPairAsync(
    session: Handle,
    mechanism: Mechanism,
    publicKey: Attribute[],
    privateKey: Attribute[],
  ): Promise<unknown>;
  C_DestroyObject(session: Handle, object: Handle): void;
  C_SignInit(session: Handle, mechanism: Mechanism, key: Handle): void;
  /** @returns the part of `signature` that was filled. */
  C_SignAsync(session: Handle, data: Buffer, signature: Buffer): Promise<Buffer>;
}

/** pkcs11t.h of version 2.40, the part of it that is used here. */
export const ck = Object.freeze({
  CKF_RW_SESSION: 0x2,
  CKF_SERIAL_SESSION: 0x4,
  /** Of C_Initialize: the module may lock with the operating system's means, as several threads call it. */
  CKF_OS_LOCKING_OK: 0x2,
  /** Of a token: one more wrong PIN and it locks itself. */
  CKF_USER_PIN_FINAL_TRY: 0x20_000,
  CKU_USER: 1,
  CKO_PUBLIC_KEY: 2,
  CKO_PRIVATE_KEY: 3,
  CKK_EC: 3,
  CKA_CLASS: 0x0,
  CKA_TOKEN: 0x1,
  CKA_PRIVATE: 0x2,
  CKA_LABEL: 0x3,
  CKA_KEY_TYPE: 0x100,
  CKA_ID: 0x102,
  CKA_SENSITIVE: 0x103,
  CKA_SIGN: 0x108,
  CKA_VERIFY: 0x10a,
  CKA_EXTRACTABLE: 0x162,
  CKA_EC_PARAMS: 0x180,
  CKA_EC_POINT: 0x181,
  CKM_EC_KEY_PAIR_GEN: 0x1040,
  CKM_ECDSA: 0x1041,
  CKR_PIN_INCORRECT: 0xa0,
  CKR_PIN_INVALID: 0xa1,
  CKR_PIN_LEN_RANGE: 0xa2,
  CKR_PIN_EXPIRED: 0xa3,
  CKR_PIN_LOCKED: 0xa4,
  CKR_USER_ALREADY_LOGGED_IN: 0x100,
  CKR_USER_PIN_NOT_INITIALIZED: 0x102,
  CKR_CRYPTOKI_ALREADY_INITIALIZED: 0x191,
});

/** The token, the way to it or what we knew of it is gone: what a new session may mend. */
const lostValues: ReadonlySet<number | undefined> = new Set([
  0x30, // CKR_DEVICE_ERROR
  0x32, // CKR_DEVICE_REMOVED
  0x60, // CKR_KEY_HANDLE_INVALID
  0x82, // CKR_OBJECT_HANDLE_INVALID
  0x90, // CKR_OPERATION_ACTIVE: a session that somebody left in the middle of something
  0xb0, // CKR_SESSION_CLOSED
  0xb3, // CKR_SESSION_HANDLE_INVALID
  0xe0, // CKR_TOKEN_NOT_PRESENT
  0x101, // CKR_USER_NOT_LOGGED_IN
]);

export function isLost(thrown: unknown): boolean {
  return lostValues.has(returnValueOf(thrown));
}

/** The CKR value that a function returned; undefined when something else was thrown. */
export function returnValueOf(thrown: unknown): number | undefined {
  if (!(thrown instanceof Error)) return undefined;
  if ('code' in thrown && typeof thrown.code === 'number') return thrown.code;
  const [, value] = /\bCKR_\w+:(\d+)/.exec(thrown.message) ?? [];
  return value === undefined ? undefined : Number(value);
}

/**
 * Loads the module at `path` and initialises it for several threads.
 *
 * @throws SallyportError `no-key` when `pkcs11js` or the module cannot be loaded.
 */
export async function loadCryptoki(path: string): Promise<Cryptoki> {
  const { PKCS11 } = await pkcs11Package();
  const library = new PKCS11();
  try {
    library.load(path);
    library.C_Initialize({ flags: ck.CKF_OS_LOCKING_OK });
  } catch (thrown) {
    if (returnValueOf(thrown) !== ck.CKR_CRYPTOKI_ALREADY_INITIALIZED) {
      throw new SallyportError('no-key', `the PKCS#11 module ${path}: ${messageOf(thrown)}`, {
        hint: 'check ca.pkcs11.module, that its user may read it, and ca.pkcs11.environment',
        cause: thrown,
      });
    }
  }
  return library;
}

/**
 * The package `pkcs11js`, imported only when it is needed: it loads its native half at once, which is not there on every
 * machine. Once before the process drops its privileges: its folder may be one that the user which remains cannot enter.
 *
 * @throws SallyportError `no-key` when it cannot be loaded.
 */
export async function pkcs11Package(): Promise<typeof pkcs11js> {
  try {
    // An ambient declaration has no default export; a CommonJS module has one, which is all of it.
    const { default: whole } = (await import('pkcs11js')) as unknown as {
      readonly default: typeof pkcs11js;
    };
    return whole;
  } catch (thrown) {
    throw new SallyportError('no-key', 'the package pkcs11js cannot be loaded', {
      hint: 'it is built where there is a C++ compiler: install g++, make and python3, then run "node scripts/build-pkcs11.mjs" (a checkout) or "npm rebuild pkcs11js" (a package)',
      cause: thrown,
    });
  }
}
