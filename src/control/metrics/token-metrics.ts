/** Tokens: the keys of the issuers whose tokens are taken, what an alarm is set on, and the gateway's own token endpoint. */
import { Counter, Gauge } from 'prom-client';
import type { Registry } from 'prom-client';
import type { IssuerKeysState } from '../tokens/issuer-keys.ts';

export interface TokenState {
  readonly issuers: readonly IssuerKeysState[];
  /** What became of requests for tokens since control started: `granted`, or an error of OAuth. */
  readonly outcomes: ReadonlyMap<string, number>;
}

export function registerTokens(registry: Registry, state: () => TokenState): void {
  const registers = [registry];
  const labelNames = ['issuer'];
  const gauge = (
    name: string,
    help: string,
    value: (state: IssuerKeysState) => number | undefined,
  ): void => {
    void new Gauge({
      name: `sallyport_token_issuer_${name}`,
      help,
      labelNames,
      registers,
      collect() {
        this.reset();
        for (const issuer of state().issuers) {
          const reading = value(issuer);
          if (reading !== undefined) this.set({ issuer: issuer.issuer }, reading);
        }
      },
    });
  };
  const counter = (name: string, help: string, value: (state: IssuerKeysState) => number): void => {
    void new Counter({
      name: `sallyport_token_issuer_${name}_total`,
      help,
      labelNames,
      registers,
      collect() {
        this.reset();
        for (const issuer of state().issuers) this.inc({ issuer: issuer.issuer }, value(issuer));
      },
    });
  };
  gauge('keys_current', '1 when the keys of the issuer are there and not too old.', (issuer) =>
    issuer.current ? 1 : 0,
  );
  gauge(
    'keys_not_after_seconds',
    'Until when its keys are trusted if no others come, in seconds since 1970.',
    ({ notAfter }) => (notAfter === undefined ? undefined : notAfter / 1_000),
  );
  gauge('keys', 'Keys of the issuer that can verify its tokens.', ({ keys }) => keys);
  counter('keys_refused', 'Key sets that came and were not taken.', ({ refused }) => refused);
  counter('keys_failures', 'Key sets that did not come.', ({ failed }) => failed);
  void new Counter({
    name: 'sallyport_control_token_requests_total',
    help: 'Requests to the token endpoint, by what became of them.',
    labelNames: ['outcome'],
    registers,
    collect() {
      this.reset();
      for (const [outcome, count] of state().outcomes) this.inc({ outcome }, count);
    },
  });
}
