/** nginx as a careful operator would run it before a backend, and the backend itself. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { onLoadCores, onServerCore } from './machine.ts';
import { freePort, listening } from './network.ts';
import type { NginxRoute } from './nginx-routes.ts';
import { serverCertificate } from './peer-certificates.ts';
import { treeOf } from './process-tree.ts';
import { Daemon, scratchFolder } from './scratch.ts';

const modulesFolder = '/usr/lib/nginx/modules';
const luaModules = ['ndk_http_module.so', 'ngx_http_lua_module.so'] as const;

class NginxProcess implements AsyncDisposable {
  readonly port: number;
  readonly #daemon: Daemon;

  /** @param http lines of the http block; `{port}` stands for the port that is to be listened on. */
  static async start(
    folder: string,
    under: readonly [string, ...string[]],
    modules: readonly string[],
    http: readonly string[],
  ): Promise<NginxProcess> {
    const port = await freePort();
    const config = join(folder, 'nginx.conf');
    const log = join(folder, 'log');
    mkdirSync(join(folder, 'temp'));
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
    writeFileSync(
      config,
      [
        'daemon off;',
        'worker_processes 1;',
        'worker_rlimit_nofile 10000;',
        `pid ${join(folder, 'pid')};`,
        'error_log stderr warn;',
        ...modules.map((module) => `load_module ${join(modulesFolder, module)};`),
        'events { worker_connections 4096; }',
        'http {',
        '  server_tokens off;',
        // Sallyport writes no line per request either.
        '  access_log off;',
        '  keepalive_requests 100000000;',
        '  keepalive_timeout 600s;',
        ...temporary.map((name) => `  ${name}_temp_path ${join(folder, 'temp', name)};`),
        ...http.map((line) => `  ${line.replaceAll('{port}', String(port))}`),
        '}',
        '',
      ].join('\n'),
    );
    const daemon = new Daemon([...under, 'nginx', '-c', config, '-p', folder], log);
    await listening(
      port,
      () => daemon.ended,
      () => `nginx ended: ${readFileSync(log, 'utf8')}`,
    );
    return new NginxProcess(daemon, port);
  }

  private constructor(daemon: Daemon, port: number) {
    this.#daemon = daemon;
    this.port = port;
  }

  get pid(): number {
    return this.#daemon.pid;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#daemon[Symbol.asyncDispose]();
  }
}

/** The service behind: it answers 202 at once, on the load's cores, and its cost is nobody's. */
export class Backend implements AsyncDisposable {
  readonly #process: NginxProcess;

  static async start(): Promise<Backend> {
    const folder = scratchFolder('backend');
    const server = 'server { listen 127.0.0.1:{port}; location / { return 202; } }';
    return new Backend(await NginxProcess.start(folder, onLoadCores, [], [server]));
  }

  private constructor(process: NginxProcess) {
    this.#process = process;
  }

  get port(): number {
    return this.#process.port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process[Symbol.asyncDispose]();
  }
}

export interface NginxOptions {
  /** File with the root of the devices' certificates. */
  readonly deviceRoot: string;
  readonly backend: Backend;
  /** The one thing that can be asked for. */
  readonly route: NginxRoute;
}

/** Mutual TLS, a rate per certificate, a limit of the body, and the backend by keep-alive connections. */
export class Nginx implements AsyncDisposable {
  readonly name: string;
  /** PEM of the root of its certificate. */
  readonly ca: string;
  readonly #process: NginxProcess;

  static async start(options: NginxOptions): Promise<Nginx> {
    const folder = scratchFolder('nginx');
    const certificate = serverCertificate(folder);
    const { deviceRoot, backend, route } = options;
    const http = [
      ...(route.http ?? []),
      // Keyed on what the certificate says; a rate that is never reached is counted all the same.
      'limit_req_zone $ssl_client_s_dn zone=devices:10m rate=1000000r/s;',
      `upstream backend { server 127.0.0.1:${backend.port}; keepalive 64; keepalive_requests 100000000; }`,
      'server {',
      '  listen 127.0.0.1:{port} ssl backlog=4096;',
      '  server_name localhost;',
      `  ssl_certificate ${certificate.chain};`,
      `  ssl_certificate_key ${certificate.key};`,
      `  ssl_client_certificate ${deviceRoot};`,
      '  ssl_verify_client on;',
      '  ssl_verify_depth 2;',
      '  ssl_protocols TLSv1.2 TLSv1.3;',
      '  ssl_ecdh_curve X25519:prime256v1;',
      '  client_max_body_size 256k;',
      `  location ${route.location} {`,
      '    limit_except POST { deny all; }',
      '    limit_req zone=devices burst=1000000 nodelay;',
      '    limit_req_status 429;',
      '    proxy_pass http://backend;',
      '    proxy_http_version 1.1;',
      '    proxy_set_header Connection "";',
      ...route.lines.map((line) => `    ${line}`),
      '  }',
      '  location / { return 404; }',
      '}',
    ];
    const modules = route.needsLua === true ? luaModules : [];
    const process = await NginxProcess.start(folder, onServerCore, modules, http);
    return new Nginx(route.name, process, readFileSync(certificate.root, 'utf8'));
  }

  private constructor(name: string, process: NginxProcess, ca: string) {
    this.name = name;
    this.#process = process;
    this.ca = ca;
  }

  get httpsPort(): number {
    return this.#process.port;
  }

  get pid(): number {
    return this.#process.pid;
  }

  get processes(): readonly number[] {
    return treeOf(this.pid);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process[Symbol.asyncDispose]();
  }
}
