import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { connect } from 'node:tls';
import { after, test } from 'node:test';
import { makeBackendCertificates } from '../../test/harness/backend-tls.ts';
import { temporaryFolder } from '../../test/harness/temporary-folder.ts';
import { SallyportError } from '../common/base/errors.ts';
import { clientContext, clientOptions, linkError } from './tls-client.ts';

const folder = temporaryFolder();
after(() => folder[Symbol.dispose]());

const failure = (code: string): Error => Object.assign(new TypeError('broken'), { code });

test('an alert about the certificate means that the device is not authenticated', async () => {
  const own = makeBackendCertificates(folder.at('own'));
  const stranger = makeBackendCertificates(folder.at('stranger')).gateway;
  const show = ['-cert', own.tls.certificate, '-key', own.tls.key];
  const ask = ['-CAfile', own.ca, '-Verify', '1', '-verify_return_error', '-www'];
  const server = spawn('openssl', ['s_server', '-accept', '127.0.0.1:0', ...show, ...ask], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  try {
    const port = await new Promise<number>((resolve) => {
      createInterface(server.stdout).on('line', (line) => {
        const [, found] = /^ACCEPT .*:(\d+)$/.exec(line) ?? [];
        if (found !== undefined) resolve(Number(found));
      });
    });
    const context = clientContext({
      id: 'd1',
      privateKey: readFileSync(stranger.key, 'utf8'),
      certificateChain: readFileSync(stranger.crt, 'utf8'),
      root: readFileSync(own.ca, 'utf8'),
    });
    const socket = connect(clientOptions(context, { host: 'localhost', port }));
    const error = await new Promise<unknown>((resolve) => {
      socket.resume().once('error', (thrown) => resolve(thrown));
    });
    socket.destroy();
    assert.equal(linkError(error).code, 'unauthenticated', String(error));
  } finally {
    server.kill();
  }
});

test('what broke a connection is told apart', () => {
  for (const [code, expected] of [
    ['SELF_SIGNED_CERT_IN_CHAIN', 'invalid-certificate'],
    ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'invalid-certificate'],
    ['CERT_HAS_EXPIRED', 'invalid-certificate'],
    ['ERR_TLS_CERT_ALTNAME_INVALID', 'invalid-certificate'],
    ['ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED', 'unauthenticated'],
    ['ERR_SSL_SSL/TLS_ALERT_CERTIFICATE_UNKNOWN', 'unauthenticated'],
    ['ERR_SSL_TLSV1_ALERT_UNKNOWN_CA', 'unauthenticated'],
    ['ERR_SSL_TLSV1_ALERT_INTERNAL_ERROR', 'io'],
    ['ECONNREFUSED', 'io'],
    ['ECONNRESET', 'io'],
  ] as const) {
    assert.equal(linkError(failure(code)).code, expected, code);
  }
  const known = new SallyportError('standing', 'suspended');
  assert.equal(linkError(known), known);
  assert.equal(linkError('text').code, 'io');
});

test('an address is no server name', () => {
  const context = {} as ReturnType<typeof clientContext>; // only passed on
  const { servername } = clientOptions(context, { host: 'gateway.example', port: 1 });
  assert.equal(servername, 'gateway.example');
  assert.equal('servername' in clientOptions(context, { host: '10.0.0.1', port: 1 }), false);
  assert.equal('servername' in clientOptions(context, { host: '::1', port: 1 }), false);
});
