/**
 * From a finished handshake to the identity that the registry knows: authentication by the certificate, then the
 * snapshot's record. An identity answers to one trust anchor only, whatever another anchor's CA signs.
 */
import { printable } from '../common/base/principal.ts';
import type { Identified } from './listeners/identified.ts';
import type { Registrar } from './registrar.ts';
import type { SnapshotView } from './snapshot/snapshot-view.ts';
import type { Authentication, Authenticator } from './transport/authenticate.ts';
import type { SecureConnection } from './transport/secure-connection.ts';

export interface IdentifierParts {
  readonly authenticator: Authenticator;
  readonly view: SnapshotView;
  readonly registrar: Registrar;
}

export class Identifier {
  readonly #parts: IdentifierParts;

  constructor(parts: IdentifierParts) {
    this.#parts = parts;
  }

  async identify(connection: SecureConnection): Promise<Identified> {
    const { authenticator, view, registrar } = this.#parts;
    const found = authenticator.authenticate(connection.peerCertificate, connection.verifyError);
    if (!found.ok) return this.#known(found);
    const { mapping } = found.anchor;
    const isNew =
      view.identity(found.principal) === undefined &&
      mapping.type === 'rule' &&
      mapping.autoRegister;
    if (!isNew || connection.peerCertificate === undefined || found.revoked)
      return this.#known(found);
    await registrar.register(found.anchor.name, connection.peerCertificate);
    // Again, because registering took time in which the certificate may have been revoked.
    return this.identifyNow(connection);
  }

  /** From what this worker knows, without asking anybody. */
  identifyNow(connection: SecureConnection): Identified {
    const { authenticator } = this.#parts;
    return this.#known(
      authenticator.authenticate(connection.peerCertificate, connection.verifyError),
    );
  }

  #known(found: Authentication): Identified {
    const subject = found.commonName === '' ? '' : `CN=${printable(found.commonName)}`;
    if (!found.ok) return { ok: false, detail: found.detail, subject };
    const identity = this.#parts.view.identity(found.principal);
    if (identity === undefined)
      return { ok: false, detail: 'the identity is not registered', subject };
    if (identity.anchor !== found.anchor.name) {
      return { ok: false, detail: 'the identity belongs to another trust anchor', subject };
    }
    return {
      ok: true,
      name: found.principal,
      identity,
      certificate: `${found.anchor.name}:${found.serialHex}`,
      certificateRevoked: found.revoked,
      notAfterMs: found.notAfterMs,
      subject,
    };
  }
}
