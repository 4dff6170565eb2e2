/** Both lists of one issuer, the complete one and its delta, from what the registry holds at this moment. */
import { setImmediate as turn } from 'node:timers/promises';
import type { Revocations } from '../../registry/revocations.ts';
import { issuerFacts } from '../issuer.ts';
import type { StatusIssuer } from '../issuer.ts';
import { signCertificateList } from './certificate-list.ts';
import { CrlEntries } from './crl-entries.ts';
import { clockStepMs, wholeSecond } from './crl-numbers.ts';
import type { CrlNumbers } from './crl-numbers.ts';

/** Entries between two turns of everybody else: some 5 ms. */
const pageEntries = 2_048;

export interface ListParts {
  readonly revocations: Pick<Revocations, 'revoked'>;
  readonly numbers: CrlNumbers;
  readonly validityMs: number;
  readonly deltaValidityMs: number;
  /** Where the issuer's delta is found; undefined = nowhere. */
  readonly deltaUrl: string | undefined;
}

export interface SignedList {
  readonly der: Buffer;
  readonly number: number;
  /** Milliseconds. */
  readonly thisUpdate: number;
  readonly nextUpdate: number;
}

export interface SignedLists {
  readonly complete: SignedList;
  /** Undefined as long as there is no complete list before it that somebody may still use. */
  readonly delta: SignedList | undefined;
}

/** @throws SallyportError as `Signer.sign`; the number is spent then. */
export async function issueLists(
  issuer: StatusIssuer,
  scheduled: boolean,
  nowMs: number,
  parts: ListParts,
): Promise<SignedLists> {
  const { revocations, numbers, validityMs, deltaValidityMs, deltaUrl } = parts;
  const facts = issuerFacts(issuer);
  const list = numbers.reserve(issuer.id, nowMs, validityMs);
  const { number, thisUpdate, base } = list;
  const complete = new CrlEntries();
  const delta = new CrlEntries();
  // RFC 5280 section 3.3: a revoked certificate stays on until it was on a scheduled list issued after it expired.
  // One from a clock that was ahead has taken off what has not expired at all.
  const expiringFrom = Math.min(list.lastScheduledAt ?? 0, wholeSecond(nowMs));
  // The clock may have been set back since: what a delta names once too often does no harm.
  const deltaFrom = list.since - clockStepMs;
  for (let after = ''; ;) {
    const page = revocations.revoked(issuer.id, expiringFrom, after, pageEntries);
    for (const entry of page) {
      complete.add(entry);
      if (entry.revokedAt >= deltaFrom) delta.add(entry);
    }
    after = page.at(-1)?.serial ?? after;
    if (page.length < pageEntries) break;
    await turn();
  }
  // The lists of one number say the same (section 5.2.4), and neither says more than the issuer's own certificate.
  const sign = async (entries: CrlEntries, until: number, baseNumber: number | undefined) => {
    const nextUpdate = Math.min(until, issuer.notAfter);
    const terms = { number, baseNumber, thisUpdate, nextUpdate, deltaUrl };
    const der = await signCertificateList(facts, issuer.signer, terms, entries);
    return { der, number, thisUpdate, nextUpdate };
  };
  const signed = {
    complete: await sign(complete, list.nextUpdate, undefined),
    delta:
      base === undefined
        ? undefined
        : await sign(delta, wholeSecond(thisUpdate + deltaValidityMs), base.number),
  };
  numbers.published(issuer.id, number, scheduled, nowMs);
  return signed;
}
