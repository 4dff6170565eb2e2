/** The revocation lists of our own CAs: an alarm is set on the end of the newest one. */
import { Gauge } from 'prom-client';
import type { Registry } from 'prom-client';
import type { ListState } from '../revocation/crl/certificate-lists.ts';

export function registerOwnCrls(registry: Registry, states: () => readonly ListState[]): void {
  const gauge = (name: string, help: string, value: (state: ListState) => number): void => {
    void new Gauge({
      name: `sallyport_crl_${name}`,
      help,
      labelNames: ['issuer'],
      registers: [registry],
      collect() {
        this.reset();
        for (const state of states()) this.set({ issuer: state.issuer }, value(state));
      },
    });
  };
  gauge('number', 'Number of the newest revocation list of a CA.', ({ number }) => number);
  gauge(
    'next_update_seconds',
    'When it ends, in seconds since 1970.',
    ({ nextUpdate }) => nextUpdate / 1_000,
  );
}
