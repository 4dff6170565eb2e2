/** The roles that exist without being configured, as the configuration would write them. */
import type { RoleDocument } from './policy-document.ts';

export const builtInRoles: Readonly<Record<string, RoleDocument>> = {
  device: {
    allow: {
      publish: [
        'devices/${id}/telemetry',
        'devices/${id}/status',
        'devices/${id}/diagnostics',
        'devices/${id}/command_responses',
      ],
      subscribe: ['devices/${id}/commands/#'],
      request: [],
    },
    deny: { publish: [], subscribe: [], request: [] },
  },
  backend: {
    allow: {
      publish: ['devices/+/commands/#'],
      subscribe: [
        'devices/+/telemetry',
        'devices/+/status',
        'devices/+/diagnostics',
        'devices/+/command_responses',
      ],
      request: [],
    },
    deny: { publish: [], subscribe: [], request: [] },
  },
};
