/** Prometheus' text exposition. */
import type { Route } from '../route.ts';

export const metricsRoutes: readonly Route[] = [
  {
    method: 'GET',
    path: '/metrics',
    access: 'metrics',
    async handle(services) {
      return {
        status: 200,
        text: await services.metrics(),
        contentType: 'text/plain; version=0.0.4; charset=utf-8',
      };
    },
  },
];
