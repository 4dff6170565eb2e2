/** Whether a certificate is that of an operator who may act now. Asked for every request. */
import type { Clock } from '../common/base/clock.ts';
import { SallyportError } from '../common/base/errors.ts';
import { principalParts } from '../common/base/principal.ts';
import type { PrincipalName } from '../common/base/principal.ts';
import { principalOfCertificate } from '../common/identity/principal-of-certificate.ts';
import type { CertificateAuthority } from './ca/authority.ts';
import { verifyChain } from './ca/verify-chain.ts';
import type { Registry } from './registry/registry.ts';

export interface OperatorGateParts {
  readonly clock: Clock;
  readonly registry: Registry;
  readonly authority: CertificateAuthority;
  readonly trustDomain: string;
}

export class OperatorGate {
  readonly #parts: OperatorGateParts;

  constructor(parts: OperatorGateParts) {
    this.#parts = parts;
  }

  authenticate(der: Buffer): PrincipalName | undefined {
    const { clock, registry, authority, trustDomain } = this.#parts;
    try {
      const now = clock.now();
      const { anchor, facts } = verifyChain(der, [authority.anchor], now);
      const mapped = principalOfCertificate(facts, anchor, trustDomain, now);
      if (!mapped.ok || principalParts(mapped.principal).kind !== 'operator') return undefined;
      const identity = registry.get(mapped.principal);
      if (identity?.standing !== 'active' || identity.anchor !== anchor.name) return undefined;
      const certificate = registry
        .certificatesOf(mapped.principal)
        .find((known) => known.serial === facts.serialHex);
      return certificate === undefined || certificate.revokedAt !== undefined
        ? undefined
        : mapped.principal;
    } catch (error) {
      if (error instanceof SallyportError) return undefined;
      throw error;
    }
  }
}
