/**
 * From the user name and password of an MQTT CONNECT to the identity that the registry knows, where nobody shows a
 * certificate. What has been proven is held with the connection, and asked again as often as somebody wants to know.
 */
import type { Clock } from '../common/base/clock.ts';
import type { Connect } from '../common/codec/mqtt/packets.ts';
import type { Tokens } from './credentials/tokens/tokens.ts';
import type { TokenAccepted } from './credentials/tokens/verdict.ts';
import type { Identified } from './listeners/identified.ts';
import type { SnapshotView } from './snapshot/snapshot-view.ts';
import type { SecureConnection } from './transport/secure-connection.ts';

export interface TokenIdentifierParts {
  readonly tokens: Pick<Tokens, 'authenticateMqtt'>;
  readonly view: Pick<SnapshotView, 'identity'>;
  readonly clock: Clock;
}

const nobody = { certificate: undefined, principal: undefined };
const subject = '';

export class TokenIdentifier {
  readonly #parts: TokenIdentifierParts;
  readonly #proven = new WeakMap<SecureConnection, TokenAccepted>();

  constructor(parts: TokenIdentifierParts) {
    this.#parts = parts;
  }

  async identify(
    connection: SecureConnection,
    { userName, password }: Pick<Connect, 'userName' | 'password'>,
  ): Promise<Identified> {
    const verdict = await this.#parts.tokens.authenticateMqtt(userName, password, nobody);
    if (!verdict.ok) return { ok: false, detail: verdict.detail, subject };
    this.#proven.set(connection, verdict);
    return this.identifyNow(connection);
  }

  /** From what this worker knows, without asking anybody. */
  identifyNow(connection: SecureConnection): Identified {
    const proven = this.#proven.get(connection);
    if (proven === undefined) return { ok: false, detail: 'nothing was proven', subject };
    const { principal: name, by, expiresAt: notAfterMs, stands } = proven;
    const identity = this.#parts.view.identity(name);
    if (identity === undefined)
      return { ok: false, detail: 'the identity is not registered', subject };
    if (!stands() || this.#parts.clock.now() >= notAfterMs) {
      return { ok: false, detail: 'the token, or its key, is over', subject };
    }
    return {
      ok: true,
      name,
      identity,
      by,
      certificate: `${identity.anchor}:`,
      certificateRevoked: false,
      notAfterMs,
      subject,
    };
  }
}
