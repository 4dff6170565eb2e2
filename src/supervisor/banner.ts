/**
 * What `up` prints when the gateway is ready: what listens, and the next commands, which can be pasted as they are.
 */
import { resolve } from 'node:path';

export interface BannerInfo {
  /** As given on the command line. */
  readonly dataDir: string;
  readonly listeners: Readonly<Record<string, { readonly host: string; readonly port: number }>>;
  /** The token of the one-time operator enrolment, on the first start only. */
  readonly operatorToken: string | undefined;
  readonly configPath: string | undefined;
}

export function readyBanner(info: BannerInfo): string {
  return [
    'Sallyport is ready.',
    '',
    ...listening(info),
    `  ${'data'.padEnd(8)} ${resolve(info.dataDir)}`,
    `  ${'config'.padEnd(8)} ${info.configPath ?? 'embedded defaults (./bin/sallyport init writes a file to edit)'}`,
    ...operatorEnrolment(info),
    '',
    'Next, in another terminal in this directory, one after the other:',
    '',
    ...nextCommands(info),
    '',
    '',
  ].join('\n');
}

function listening({ listeners }: BannerInfo): string[] {
  return Object.entries(listeners).map(
    ([name, { host, port }]) =>
      `  ${name.padEnd(8)} ${host.includes(':') ? `[${host}]` : host}:${port}`,
  );
}

function operatorEnrolment({ operatorToken }: BannerInfo): string[] {
  if (operatorToken === undefined) return [];
  return ['', `One-time operator enrolment (see docs/cli.md): ${operatorToken}`];
}

function nextCommands({ dataDir, listeners }: BannerInfo): string[] {
  const data = resolve(dataDir) === resolve('data') ? '' : ` --data ${shellWord(dataDir)}`;
  const device = `./bin/sallyport device create d1 --out lab${data}`;
  const service = `./bin/sallyport service create be --role backend --out lab${data}`;
  const { mqtts, https } = listeners;
  const post =
    https === undefined
      ? []
      : [
          `  curl --cacert lab/ca.crt --cert lab/d1.crt --key lab/d1.key -d '{"temperature":22.7}' https://${clientHost(https.host)}:${https.port}/api/v1/telemetry`,
        ];
  if (mqtts === undefined) return [`  ${device} && ${service}`, ...post];
  const connect = (id: string) =>
    `-h ${clientHost(mqtts.host)} -p ${mqtts.port} --cafile lab/ca.crt --cert lab/${id}.crt --key lab/${id}.key`;
  return [
    `  ${device} && ${service}`,
    `  mosquitto_sub ${connect('be')} -t 'devices/+/telemetry' -v &`,
    `  mosquitto_pub ${connect('d1')} -t devices/d1/telemetry -q 1 -m '{"temperature":22.5}'`,
    ...post,
  ];
}

/** Where a client on this machine reaches a listener; the default certificate names localhost. */
function clientHost(host: string): string {
  const anyAddress = ['0.0.0.0', '::', '127.0.0.1', '::1'];
  return anyAddress.includes(host) ? 'localhost' : shellWord(host);
}

function shellWord(text: string): string {
  return /^[A-Za-z0-9_./:@%+=-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
