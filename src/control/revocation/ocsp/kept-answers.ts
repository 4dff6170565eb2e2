/** Signed answers that are given again to whoever asks the same; the last used ones. */
import type { CertIdHash } from '../issuer.ts';

export interface KeptAnswer {
  readonly der: Buffer;
  /** Milliseconds: before, which is when the clock has been set back, nobody accepts it. */
  readonly thisUpdate: number;
  /** Milliseconds: from then on a new one is signed for whoever asks. */
  readonly renewAt: number;
  /** Milliseconds: from then on nobody accepts it. */
  readonly nextUpdate: number;
}

/** How a request names a certificate: its answer repeats that, so another name gets another answer. */
export interface AnswerKey {
  readonly hash: CertIdHash | undefined;
  /** The parameters of the hash: NULL, or left out. */
  readonly hasNull: boolean;
}

export class KeptAnswers {
  readonly #most: () => number;
  /** Certificate → how it is named → answer. Those that were used last are at the end. */
  readonly #byCertificate = new Map<string, Map<string, KeptAnswer>>();

  /** @param most certificates; each has up to four answers of some 400 bytes. */
  constructor(most: () => number) {
    this.#most = most;
  }

  get(certificate: string, key: AnswerKey): KeptAnswer | undefined {
    const answers = this.#byCertificate.get(certificate);
    const answer = answers?.get(variantOf(key));
    if (answers === undefined || answer === undefined) return undefined;
    this.#use(certificate, answers);
    return answer;
  }

  set(certificate: string, key: AnswerKey, answer: KeptAnswer): void {
    const answers = this.#byCertificate.get(certificate) ?? new Map<string, KeptAnswer>();
    answers.set(variantOf(key), answer);
    this.#use(certificate, answers);
    for (const oldest of this.#byCertificate.keys()) {
      if (this.#byCertificate.size <= this.#most()) break;
      this.#byCertificate.delete(oldest);
    }
  }

  /** Whatever was said about this certificate is no longer said. */
  drop(certificate: string): void {
    this.#byCertificate.delete(certificate);
  }

  #use(certificate: string, answers: Map<string, KeptAnswer>): void {
    this.#byCertificate.delete(certificate);
    this.#byCertificate.set(certificate, answers);
  }
}

function variantOf({ hash, hasNull }: AnswerKey): string {
  return `${hash ?? ''} ${hasNull}`;
}
