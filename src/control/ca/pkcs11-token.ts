/**
 * Sessions with one token, a fixed number of them, handed out in turn. Whatever goes wrong with the token is told to
 * those who wait for it, within a bounded time; a lost token is found again by the next one who needs it.
 */
import type { Clock } from '../../common/base/clock.ts';
import { messageOf, SallyportError } from '../../common/base/errors.ts';
import { ck, isLost, returnValueOf } from './cryptoki.ts';
import type { Cryptoki, Handle } from './cryptoki.ts';

export interface Pkcs11TokenOptions {
  /** As C_InitToken has named it. */
  readonly label: string;
  readonly pin: string;
  /** Operations in the token at once. */
  readonly sessions: number;
  /** Operations that may wait for a session; beyond it they are told `busy`. */
  readonly waiting: number;
  /** For one operation, its wait for a session included. */
  readonly timeoutMs: number;
  /** How long nobody tries to reach a token that could not be reached. */
  readonly retryMs: number;
}

/** One opening of the token. Handles of keys are worth nothing after it. */
export interface Opening {
  readonly slot: Handle;
  /** Name → handle of the private key. */
  readonly keys: Map<string, Handle>;
}

interface Pool extends Opening {
  readonly idle: Handle[];
  /** Sessions that are with somebody. */
  busy: number;
  lost: boolean;
}

interface Waiting {
  /** Nobody waits for it any more. */
  readonly isLate: () => boolean;
  readonly give: (lease: readonly [Pool, Handle]) => void;
  readonly fail: (error: SallyportError) => void;
}

/** PINs are counted by the token: one that was refused is not tried again by this process. */
const pinValues: ReadonlySet<number | undefined> = new Set([
  ck.CKR_PIN_INCORRECT,
  ck.CKR_PIN_INVALID,
  ck.CKR_PIN_LEN_RANGE,
  ck.CKR_PIN_EXPIRED,
  ck.CKR_PIN_LOCKED,
  ck.CKR_USER_PIN_NOT_INITIALIZED,
]);

export class Pkcs11Token {
  readonly #library: Cryptoki;
  readonly #options: Pkcs11TokenOptions;
  readonly #clock: Pick<Clock, 'monotonic'>;
  #queue: Waiting[] = [];
  #pool: Pool | undefined;
  #pinRefused: SallyportError | undefined;
  #unreachable: { readonly until: number; readonly error: SallyportError } | undefined;

  constructor(library: Cryptoki, options: Pkcs11TokenOptions, clock: Pick<Clock, 'monotonic'>) {
    this.#library = library;
    this.#options = options;
    this.#clock = clock;
  }

  get library(): Cryptoki {
    return this.#library;
  }

  /**
   * Runs `operation` with a session that is logged in and that nobody else uses until it has settled. When the token
   * was lost it runs once more, in a new opening: it MUST look its handles up each time.
   *
   * @throws SallyportError `unavailable` when the token is not there or does not answer in time, `busy` when too many
   *   wait, `no-key` when it refuses the PIN or the operation; what `operation` throws of its own.
   */
  async use<T>(operation: (session: Handle, opening: Opening) => T | Promise<T>): Promise<T> {
    const { timeoutMs, label } = this.#options;
    let late = false;
    let timer: NodeJS.Timeout | undefined;
    const limit = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        late = true;
        reject(
          new SallyportError(
            'unavailable',
            `the token "${label}" did not answer in ${timeoutMs} ms`,
          ),
        );
      }, timeoutMs);
    });
    const isLate = (): boolean => late;
    const attempt = async (): Promise<T> => {
      try {
        return await this.#once(operation, isLate);
      } catch (thrown) {
        if (!isLost(thrown) || isLate()) throw thrown;
        return this.#once(operation, isLate);
      }
    };
    const result = attempt();
    // Somebody may have gone by the time it fails.
    result.catch(() => {});
    try {
      return await Promise.race([result, limit]);
    } catch (thrown) {
      throw this.#translated(thrown);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Ends every session; operations under way fail. */
  close(): void {
    const pool = this.#pool;
    this.#pool = undefined;
    if (pool !== undefined) this.#closeSessions(pool.slot);
  }

  async #once<T>(
    operation: (session: Handle, opening: Opening) => T | Promise<T>,
    isLate: () => boolean,
  ): Promise<T> {
    const [pool, session] = await this.#session(isLate);
    try {
      return await operation(session, pool);
    } catch (thrown) {
      if (isLost(thrown)) pool.lost = true;
      throw thrown;
    } finally {
      pool.busy -= 1;
      pool.idle.push(session);
      this.#serve();
    }
  }

  #session(isLate: () => boolean): Promise<readonly [Pool, Handle]> {
    const { waiting, label } = this.#options;
    // Whoever has gone keeps no place, not even while the token is silent.
    if (this.#queue.length >= waiting) this.#queue = this.#queue.filter((place) => !place.isLate());
    if (this.#queue.length >= waiting) {
      const error = new SallyportError('busy', `too much waits for the token "${label}"`);
      return Promise.reject(error);
    }
    return new Promise((give, fail) => {
      this.#queue.push({ isLate, give, fail });
      this.#serve();
    });
  }

  /** Hands out what is free, and opens the token when it has to. */
  #serve(): void {
    while (this.#queue.length > 0) {
      let pool = this.#pool;
      if (pool?.lost === true) {
        // Its sessions are closed under nobody's hands.
        if (pool.busy > 0) return;
        this.#closeSessions(pool.slot);
        this.#pool = pool = undefined;
      }
      try {
        pool ??= this.#open();
      } catch (error) {
        const failure = this.#translated(error);
        for (const place of this.#queue.splice(0)) place.fail(failure);
        return;
      }
      this.#pool = pool;
      // A signature that nobody waits for is not made.
      while (this.#queue[0]?.isLate() === true) this.#queue.shift();
      const session = this.#queue.length === 0 ? undefined : pool.idle.pop();
      if (session === undefined) return;
      pool.busy += 1;
      this.#queue.shift()?.give([pool, session]);
    }
  }

  #open(): Pool {
    if (this.#pinRefused !== undefined) throw this.#pinRefused;
    const now = this.#clock.monotonic();
    if (this.#unreachable !== undefined && now < this.#unreachable.until) {
      throw this.#unreachable.error;
    }
    try {
      const pool = this.#openSessions();
      this.#unreachable = undefined;
      return pool;
    } catch (thrown) {
      const error = this.#translated(thrown);
      this.#unreachable = { until: now + this.#options.retryMs, error };
      throw error;
    }
  }

  #openSessions(): Pool {
    const { pin, sessions, label } = this.#options;
    const slot = this.#slot();
    const flags = this.#library.C_GetTokenInfo(slot).flags;
    if ((flags & ck.CKF_USER_PIN_FINAL_TRY) !== 0) {
      throw new SallyportError('no-key', `the token "${label}" locks at the next wrong PIN`, {
        hint: 'log in to it once by hand, with the PIN that ca.pkcs11.pin names, and start again',
      });
    }
    const idle: Handle[] = [];
    try {
      while (idle.length < sessions) {
        idle.push(this.#library.C_OpenSession(slot, ck.CKF_SERIAL_SESSION));
      }
      const [first] = idle;
      // The others are logged in with it: section 5.6, "C_Login".
      if (first !== undefined) this.#logIn(first, pin);
    } catch (thrown) {
      this.#closeSessions(slot);
      throw thrown;
    }
    return { slot, idle, busy: 0, lost: false, keys: new Map() };
  }

  /** A token is known by its label: slots change their numbers when a reader is plugged in elsewhere. */
  #slot(): Handle {
    const { label } = this.#options;
    const slots = this.#library
      .C_GetSlotList(true)
      .filter((slot) => this.#library.C_GetTokenInfo(slot).label.trimEnd() === label);
    const [slot, another] = slots;
    if (another !== undefined) {
      throw new SallyportError('tampered', `there are ${slots.length} tokens named "${label}"`, {
        hint: 'leave only the one that holds the CA keys',
      });
    }
    if (slot === undefined) {
      throw new SallyportError('unavailable', `there is no token named "${label}"`, {
        hint: 'check ca.pkcs11.token; the vendor\'s tool, or "pkcs11-tool --list-slots", shows the labels',
      });
    }
    return slot;
  }

  #logIn(session: Handle, pin: string): void {
    try {
      this.#library.C_Login(session, ck.CKU_USER, pin);
    } catch (thrown) {
      const value = returnValueOf(thrown);
      if (value === ck.CKR_USER_ALREADY_LOGGED_IN) return;
      if (!pinValues.has(value)) throw thrown;
      const why = messageOf(thrown);
      this.#pinRefused = new SallyportError(
        'no-key',
        `the token "${this.#options.label}" refuses the PIN: ${why}`,
        { hint: 'correct what ca.pkcs11.pin names and start again; it is not tried twice' },
      );
      throw this.#pinRefused;
    }
  }

  #closeSessions(slot: Handle): void {
    try {
      this.#library.C_CloseAllSessions(slot);
    } catch {
      // With the token its sessions are gone.
    }
  }

  /** What others learn of what the library threw. */
  #translated(thrown: unknown): SallyportError {
    if (thrown instanceof SallyportError) return thrown;
    const said = `the token "${this.#options.label}": ${messageOf(thrown)}`;
    const refused = returnValueOf(thrown) === undefined ? 'internal' : 'no-key';
    return new SallyportError(isLost(thrown) ? 'unavailable' : refused, said, { cause: thrown });
  }
}
