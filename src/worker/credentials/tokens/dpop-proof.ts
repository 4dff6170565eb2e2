/**
 * Proofs that whoever presents an access token holds the key that it is bound to (RFC 9449 section 4.3, in its order). A
 * proof is for one request: it is never taken twice.
 */
import { hash } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { canonicalPath } from '../../../common/base/canonical-path.ts';
import { isAmongHosts } from '../../../common/base/host-names.ts';
import type { PrincipalName } from '../../../common/base/principal.ts';
import type { JsonValue } from '../../../common/base/strict-json.ts';
import { timeOf } from './claims.ts';
import { decodeJws } from './compact-jws.ts';
import { LastUsed } from './last-used.ts';
import type { TokenPorts } from './ports.ts';
import { publicKeyOf, thumbprint } from './public-jwk.ts';
import { invalidProof, notNow } from './verdict.ts';
import type { TokenProblem } from './verdict.ts';
import { isSignedBy } from './verify-signature.ts';

/** What clients sign proofs with, most wanted first; told to whoever asks without one. */
export const proofAlgorithms = ['ES256', 'Ed25519', 'EdDSA', 'ES384', 'PS256', 'RS256'] as const;

/** Of `jti`: a UUID has 36. It is hashed before it is kept. */
const maxIdLength = 256;
/** Keys of clients that are kept ready: reading one costs a third of verifying by it. */
const keptKeys = 4_096;

export interface ProvenRequest {
  readonly method: string;
  /** The Host field. */
  readonly authority: string;
  /** In canonical form, without the query. */
  readonly path: string;
  /** The values of all DPoP fields. */
  readonly dpop: readonly string[];
}

/** Whom the access token is for, and which key it says is his. */
export interface BoundToken {
  readonly token: string;
  readonly principal: PrincipalName;
  /** `cnf.jkt`. */
  readonly proofKey: string;
}

type ProofPorts = Pick<TokenPorts, 'clock' | 'names' | 'bounds' | 'remember'>;

export class DpopProofs {
  readonly #ports: ProofPorts;
  /** By thumbprint; only keys that a verified token has named. */
  readonly #keys = new LastUsed<KeyObject>();

  constructor(ports: ProofPorts) {
    this.#ports = ports;
  }

  /** Undefined when the request proves possession of the token's key, for the first time. */
  async problem(request: ProvenRequest, bound: BoundToken): Promise<TokenProblem | undefined> {
    const [proof, another] = request.dpop;
    if (proof === undefined) return invalidProof('there is no DPoP proof');
    if (another !== undefined) return invalidProof('there is more than one DPoP proof');
    const decoded = decodeJws(proof, this.#ports.bounds().tokenBytes, true);
    if (!decoded.ok) return invalidProof(`the DPoP proof: ${decoded.problem}`);
    const { typ, alg, jwk = {}, claims } = decoded;
    const { jti, htm, htu, iat, ath } = claims;
    if (!isId(jti)) return invalidProof('the DPoP proof has no "jti", or one that is too long');
    if (typ !== 'dpop+jwt') return invalidProof('the DPoP proof is of another type');
    if (!isProofAlgorithm(alg)) return invalidProof('the algorithm of the DPoP proof is not taken');
    // Cheap, and before anything is computed with a key that a stranger has chosen.
    if (thumbprint(jwk) !== bound.proofKey) {
      return invalidProof('the DPoP proof is by another key than the token is bound to');
    }
    const key = this.#keyOf(jwk, bound.proofKey);
    if (key === undefined || !isSignedBy(decoded, key)) {
      return invalidProof('the signature of the DPoP proof does not verify');
    }
    if (htm !== request.method) return invalidProof('the DPoP proof is for another method');
    if (!this.#isTarget(htu, request)) return invalidProof('the DPoP proof is for another URI');
    const at = timeOf(iat);
    const { tokenClockMs } = this.#ports.bounds();
    const now = this.#ports.clock.now();
    if (at === undefined || Math.abs(now - at) > tokenClockMs) {
      return invalidProof('the DPoP proof is too old, or not valid yet');
    }
    if (ath !== hash('sha256', bound.token, 'base64url')) {
      return invalidProof('the DPoP proof is for another token');
    }
    return this.#firstUse(bound, jti, at + tokenClockMs - now);
  }

  /** RFC 9449 section 11.1. What came before is known by the hash: `jti` may hold anything. */
  async #firstUse(
    { principal, proofKey }: BoundToken,
    jti: string,
    leftMs: number,
  ): Promise<TokenProblem | undefined> {
    const id = `dpop ${proofKey} ${hash('sha256', jti, 'base64url')}`;
    // A millisecond on top, for the last moment at which the proof is taken.
    switch (await this.#ports.remember(principal, id, leftMs + 1)) {
      case 'new':
        return undefined;
      case 'seen':
        return invalidProof('the DPoP proof has come before');
      case 'full':
        return notNow('rate', 'too many DPoP proofs');
      case 'unable':
        return notNow('unavailable', 'the DPoP proof cannot be remembered');
    }
  }

  #keyOf(jwk: Readonly<Record<string, unknown>>, print: string): KeyObject | undefined {
    const kept = this.#keys.get(print);
    if (kept !== undefined) return kept;
    const key = publicKeyOf(jwk);
    if (key !== undefined) this.#keys.set(print, key, keptKeys);
    return key;
  }

  /**
   * RFC 9449 section 4.3, 9: without query and fragment, after normalization (RFC 3986 sections 6.2.2 and 6.2.3). The name
   * has to be one of ours: a token for two services must not let one of them use its proofs at the other.
   */
  #isTarget(htu: JsonValue | undefined, { authority, path }: ProvenRequest): boolean {
    const uri = typeof htu === 'string' ? httpsUri.exec(htu) : null;
    if (uri === null) return false;
    const [, named = '', pathPart = ''] = uri;
    const host = withoutDefaultPort(named);
    if (host !== withoutDefaultPort(authority)) return false;
    if (!isAmongHosts(hostOf(host), this.#ports.names().hosts)) return false;
    const canonical = canonicalPath(pathPart === '' ? '/' : pathPart);
    return canonical.ok && canonical.path === path;
  }
}

const httpsUri = /^https:\/\/([^/?#@\\\s]+)([^?#\\\s]*)(?:[?#]|$)/i;

function withoutDefaultPort(authority: string): string {
  return authority.toLowerCase().replace(/:(?:443)?$/, '');
}

/** Without port, and without the brackets of an IPv6 address. */
function hostOf(authority: string): string {
  return authority.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1');
}

function isId(jti: JsonValue | undefined): jti is string {
  return typeof jti === 'string' && jti !== '' && jti.length <= maxIdLength;
}

function isProofAlgorithm(alg: string): boolean {
  return proofAlgorithms.some((each) => each === alg);
}
