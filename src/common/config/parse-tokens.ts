/** Access tokens as configured, checked: what the schema cannot say, and the files and the secrets that are named. */
import { accepted } from './filled-config.ts';
import type { FilledJwks, FilledTokens } from './filled-config.ts';
import { configSchema } from './config-schema.ts';
import { fillDefaults } from './fill-defaults.ts';
import { pemProblem } from './pem-problem.ts';
import type { PeerTlsPorts } from './parse-peer-tls.ts';
import type {
  IntrospectionConfig,
  JwksConfig,
  TokenIssuerConfig,
  TokensConfig,
} from './tokens-config.ts';
import { durationMs, sizeBytes } from './units.ts';
import type { Path } from './yaml-source.ts';

const longestLifeMs = 3_600_000;
/** Shorter, and keys would come and go faster than those who verify fetch them. */
const leastRotationMs = 3_600_000;

type FilledIssuer = FilledTokens['issuers'][number];

interface TokenPorts extends PeerTlsPorts {
  readonly roles: Readonly<Record<string, unknown>>;
  /** What the gateway's own tokens call it unless `tokens.endpoint` says otherwise; undefined while nobody knows. */
  readonly ownUrl: string | undefined;
}

/** Under which key of the bundle's secrets the password lies with which an issuer is asked. */
export function clientSecretAt(index: number): string {
  return `tokens.issuers.${index}.introspection.clientSecret`;
}

export function parseTokens(written: FilledTokens, ports: TokenPorts): TokensConfig {
  const { endpoint } = written;
  const keyRotationMs = accepted(durationMs(written.keyRotation));
  if (keyRotationMs < leastRotationMs) ports.fail(['tokens', 'keyRotation'], 'is less than 1h');
  const lifeMs = endpoint === false ? 0 : accepted(durationMs(endpoint.life));
  if (lifeMs > longestLifeMs)
    ports.fail(
      ['tokens', 'endpoint', 'life'],
      'is more than 1h: what was given out cannot be taken back',
    );
  return {
    issuers: parseIssuers(written, ports),
    endpoint:
      endpoint === false
        ? false
        : {
            issuer: endpoint.issuer,
            audience: endpoint.audience,
            lifeMs,
            perMinute: endpoint.perMinute,
          },
    keyRotationMs,
  };
}

function parseIssuers(
  { issuers, endpoint }: FilledTokens,
  ports: TokenPorts,
): readonly TokenIssuerConfig[] {
  const names = new Set(['own']);
  const own = endpoint === false ? undefined : (endpoint.issuer ?? ports.ownUrl);
  const urls = new Set<string>(own === undefined ? [] : [own]);
  return issuers.map((issuer, i) => {
    const at = ['tokens', 'issuers', i];
    if (names.has(issuer.name)) ports.fail([...at, 'name'], `"${issuer.name}" is already taken`);
    if (urls.has(issuer.issuer)) ports.fail([...at, 'issuer'], 'is another one already');
    names.add(issuer.name);
    urls.add(issuer.issuer);
    const { role, ...principal } = issuer.principal;
    if (principal.register === 'any' && role === undefined)
      ports.fail([...at, 'principal'], 'lacks the key "role", which "register: any" needs');
    if (role !== undefined && !Object.hasOwn(ports.roles, role))
      ports.fail([...at, 'principal', 'role'], 'is not a role: add it under roles');
    if (issuer.jwks === undefined && issuer.introspection === undefined)
      ports.fail(at, 'lacks the key "jwks" or "introspection": nothing could be verified');
    return {
      name: issuer.name,
      issuer: issuer.issuer,
      audiences: [issuer.audience].flat(),
      algorithms: issuer.algorithms,
      binding: issuer.binding,
      strictType: issuer.type === 'strict',
      jwks: jwksOf([...at, 'jwks'], issuer.jwks, ports),
      introspection: introspectionOf([...at, 'introspection'], issuer.introspection, i, ports),
      principal: { ...principal, role: role ?? '' },
    };
  });
}

function jwksOf(
  at: Path,
  written: FilledIssuer['jwks'],
  ports: TokenPorts,
): JwksConfig | undefined {
  if (written === undefined) return undefined;
  const { url, ca, every, maxAge, timeout, maxBytes } =
    typeof written === 'string' ? withDefaults(written) : written;
  const everyMs = accepted(durationMs(every));
  const maxAgeMs = accepted(durationMs(maxAge));
  if (maxAgeMs <= everyMs)
    ports.fail(
      [...at, 'maxAge'],
      'is not more than "every": the keys would run out between two looks',
    );
  return {
    url: new URL(url).href,
    ca: authorities([...at, 'ca'], ca, ports),
    everyMs,
    maxAgeMs,
    timeoutMs: accepted(durationMs(timeout)),
    maxBytes: accepted(sizeBytes(maxBytes)),
  };
}

function withDefaults(url: string): FilledJwks {
  const node =
    configSchema.properties?.['tokens']?.properties?.['issuers']?.items?.properties?.['jwks'];
  // The schema of this very place fills in the rest.
  return fillDefaults(accepted(node), { url }) as FilledJwks;
}

function introspectionOf(
  at: Path,
  written: FilledIssuer['introspection'],
  index: number,
  ports: TokenPorts,
): IntrospectionConfig | undefined {
  if (written === undefined) return undefined;
  return {
    url: new URL(written.url).href,
    clientId: written.clientId,
    clientSecret: clientSecretOf([...at, 'clientSecret'], index, ports),
    ca: authorities([...at, 'ca'], written.ca, ports),
    cacheMs: accepted(durationMs(written.cache)),
    timeoutMs: accepted(durationMs(written.timeout)),
  };
}

function clientSecretOf(
  at: Path,
  index: number,
  { secrets, fail }: TokenPorts,
): string | undefined {
  if (secrets === undefined) return undefined;
  const name = clientSecretAt(index);
  // The line end that editors put behind it is none of the secret.
  const text = (Object.hasOwn(secrets, name) ? secrets[name] : undefined)?.replace(/\r?\n$/u, '');
  if (text === undefined || !/^[\x20-\x7e]{1,1024}$/u.test(text)) {
    fail(at, 'names what is no line of 1 to 1024 printable ASCII characters');
    return undefined;
  }
  return text;
}

function authorities(at: Path, file: string | undefined, ports: TokenPorts): string | undefined {
  if (file === undefined) return undefined;
  const pem = ports.file(at, file);
  const problem = pem === undefined ? undefined : pemProblem(pem);
  if (problem !== undefined) ports.fail(at, problem);
  return pem;
}
