/** The backends of one route, checked: what the schema cannot say, and the files and the key that they name. */
import type { BackendConfig } from './config.ts';
import { accepted } from './filled-config.ts';
import type { FilledBackend, FilledRoute } from './filled-config.ts';
import { parsePeerTls } from './parse-peer-tls.ts';
import type { PeerTlsPorts } from './parse-peer-tls.ts';
import { diskBytes, durationMs } from './units.ts';

interface BackendPorts extends PeerTlsPorts {
  /** Of the route. */
  readonly name: string;
}

const onlyName = 'backend';

/** Under which key of the bundle's secrets the key of a backend lies. */
export function backendKeyAt(route: string, index: number): string {
  return `routes.${route}.to.${index}.key`;
}

export function parseBackends(
  route: FilledRoute & { readonly match: string },
  ports: BackendPorts,
): BackendConfig[] {
  const taken = new Set<string>();
  return route.to.map((backend, index) => {
    const at = ['routes', ports.name, 'to', index];
    const name = backend.name ?? onlyName;
    if (backend.name === undefined && route.to.length > 1) {
      ports.fail(at, 'lacks the key "name": a route with several backends tells them apart by it');
    } else if (taken.has(name)) {
      ports.fail([...at, 'name'], `"${name}" is already taken`);
    }
    taken.add(name);
    const retry = retryOf(backend, (message) => ports.fail([...at, 'retry'], message));
    return {
      spool: `${ports.name}/${name}`,
      route: ports.name,
      match: route.match,
      url: new URL(backend.http).href,
      batch: backend.batch,
      batchWaitMs: accepted(durationMs(backend.batchWait)),
      timeoutMs: accepted(durationMs(backend.timeout)),
      requests: backend.requests,
      retry,
      messages: route.spool.messages,
      bytes: accepted(diskBytes(route.spool.bytes)),
      deadLetters: route.spool.deadLetters,
      ...parsePeerTls(
        backend,
        new URL(backend.http).protocol === 'http:',
        backendKeyAt(ports.name, index),
        at,
        ports,
      ),
    };
  });
}

function retryOf(backend: FilledBackend, fail: (message: string) => void): BackendConfig['retry'] {
  const minMs = accepted(durationMs(backend.retry.min));
  const maxMs = accepted(durationMs(backend.retry.max));
  if (minMs > maxMs) fail('has a "min" above its "max"');
  return { minMs, maxMs };
}
