/**
 * What is allowed because it was written and is seldom meant, and what it takes away: whoever starts or checks the
 * configuration is told.
 */
import { ruledOut } from './approved-algorithms.ts';
import type { BackendConfig, Config, UpstreamConfig } from './config.ts';

/** One sentence each. */
export function configWarnings(config: Config): readonly string[] {
  const { approvedOnly } = config.tls;
  return [
    ...config.backends.flatMap(plainBackend),
    ...config.upstreams.flatMap(plainUpstream),
    ...config.tokens.issuers.flatMap(({ name, binding }) =>
      binding === 'bearer'
        ? [
            `tokens of the issuer ${name} are taken from whoever has them: one that leaks can be used by anybody until it ends; \`binding: bound\` is for issuers that can bind theirs`,
          ]
        : [],
    ),
    ...[...config.routes, ...config.proxied].flatMap(({ name, integrity }) =>
      integrity?.accept.includes('body-hmac') === true
        ? [
            `the route ${name} takes body-hmac, which proves neither when a body was sent nor where to: take hmac as soon as the devices can`,
          ]
        : [],
    ),
    ...config.proxied.flatMap(({ name, webSocket, integrity, schema }) =>
      webSocket && (integrity !== undefined || schema !== undefined)
        ? [
            `the route ${name} speaks WebSocket: signature and schema are of the request that opens it, and of nothing that is said through it`,
          ]
        : [],
    ),
    ...closedListeners(config),
    ...(approvedOnly ? ruledOut.map((what) => `tls.approvedOnly rules out ${what}`) : []),
  ];
}

function plainBackend({ spool, url }: BackendConfig): readonly string[] {
  const { protocol, host, hostname } = new URL(url);
  if (protocol === 'https:' || isThisMachine(hostname)) return [];
  return [
    `the backend ${spool} is sent to over plain http: whoever is between here and ${host} can read and change the messages; write https, or put it on this machine`,
  ];
}

function plainUpstream({ route, servers }: UpstreamConfig): readonly string[] {
  return servers.flatMap(({ origin }) => {
    const { protocol, host, hostname } = new URL(origin);
    if (protocol === 'https:' || isThisMachine(hostname)) return [];
    return [
      `the requests of the route ${route} are sent on over plain http: whoever is between here and ${host} can read and change them, and say who they are from; write https, or put it on this machine`,
    ];
  });
}

/** A way in that leads nowhere: what is open there a route has to say. */
function closedListeners({ listeners, routes, proxied }: Config): readonly string[] {
  const { httpsSigned, mqttsSigned } = listeners;
  const ofMessages = routes.flatMap(({ authenticate }) => authenticate);
  const ofRequests = proxied.flatMap(({ authenticate }) => authenticate);
  const isOpen = [...ofMessages, ...ofRequests].some((method) => method !== 'certificate');
  return [
    ...(httpsSigned === false || isOpen
      ? []
      : [
          'nothing is open on listeners.httpsSigned: no route has more than certificate in its `authenticate`',
        ]),
    ...(mqttsSigned === false || ofMessages.includes('device-jwt')
      ? []
      : [
          'nothing is open on listeners.mqttsSigned: no route with `match` has device-jwt in its `authenticate`',
        ]),
  ];
}

/** A name that only a resolver could tell counts as far away. The URL parser has written addresses in one form. */
function isThisMachine(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/u.test(hostname);
}
