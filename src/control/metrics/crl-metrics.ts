/** The revocation lists of other authorities, by trust anchor: what an alarm is set on. */
import { Counter, Gauge } from 'prom-client';
import type { Registry } from 'prom-client';
import type { AnchorListState } from '../revocation/external/external-crls.ts';

export function registerCrls(registry: Registry, states: () => readonly AnchorListState[]): void {
  const registers = [registry];
  const labelNames = ['anchor'];
  const gauge = (
    name: string,
    help: string,
    value: (state: AnchorListState) => number | undefined,
  ): void => {
    void new Gauge({
      name: `sallyport_trust_anchor_crl_${name}`,
      help,
      labelNames,
      registers,
      collect() {
        this.reset();
        for (const state of states()) {
          const reading = value(state);
          if (reading !== undefined) this.set({ anchor: state.anchor }, reading);
        }
      },
    });
  };
  const counter = (name: string, help: string, value: (state: AnchorListState) => number): void => {
    void new Counter({
      name: `sallyport_trust_anchor_crl_${name}_total`,
      help,
      labelNames,
      registers,
      collect() {
        this.reset();
        for (const state of states()) this.inc({ anchor: state.anchor }, value(state));
      },
    });
  };
  gauge(
    'current',
    '1 when every revocation list of the trust anchor is there and in date.',
    (state) => (state.current ? 1 : 0),
  );
  gauge(
    'next_update_seconds',
    'When the first of its lists ends, in seconds since 1970.',
    (state) => (state.nextUpdate === undefined ? undefined : state.nextUpdate / 1_000),
  );
  gauge('revoked', 'Certificates that its lists revoke.', ({ revoked }) => revoked);
  counter('refused', 'Lists that came and were not taken.', ({ refused }) => refused);
  counter('failures', 'Lists that did not come.', ({ failed }) => failed);
}
