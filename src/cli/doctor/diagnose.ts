/**
 * Connects as a device would and says in words what is wrong. Each step goes on where the one before has come to, and
 * what one handshake cannot tell is told by the difference to a second one that offers something else.
 */
import { randomBytes } from 'node:crypto';
import { cipherSuites } from '../../common/base/tls-profile.ts';
import type { ErrorCode } from '../../common/base/errors.ts';
import { ask } from './answer.ts';
import type { Answer, Protocol } from './answer.ts';
import { clientFindings } from './credentials.ts';
import type { Credentials } from './credentials.ts';
import { fault, info, warning } from './finding.ts';
import type { Finding } from './finding.ts';
import { shakeHands } from './handshake.ts';
import type { Handshake, HandshakeFacts, Offer, Target } from './handshake.ts';
import { clockFinding } from './own-clock.ts';
import { serverFindings } from './server-certificate.ts';

export interface Examination {
  readonly target: Target;
  readonly credentials: Credentials;
  /** Undefined = by the port, and by what the server answers. */
  readonly protocol: Protocol | undefined;
  readonly now: number;
}

/** What a microcontroller offers: a ClientHello that fits in one packet. */
const deviceGroups = 'X25519:P-256:P-384';
/** As browsers, servers and OpenSSL 3.5 do: a ClientHello of two packets, for the post-quantum share. */
const largeGroups = 'X25519MLKEM768:X25519:P-256:P-384';
const anyGroups = 'X25519:P-256:P-384:P-521:X448:ffdhe2048:ffdhe3072';
/** Everything that this build of OpenSSL has, to see what the server would have taken. */
const anyCiphers = 'ALL:COMPLEMENTOFALL:@SECLEVEL=0';
/** IPv6's least MTU less its headers and TCP's: what no path has to split. */
const onePacket = 1_220;

const protocolOf: ReadonlyMap<number, Protocol> = new Map([
  [443, 'https'],
  [8443, 'https'],
  [8447, 'est'],
]);

export async function diagnose(examination: Examination): Promise<readonly Finding[]> {
  const { target, credentials, now } = examination;
  const clock = await clockFinding();
  const found: Finding[] = clock === undefined ? [] : [clock];
  found.push(...clientFindings(credentials, now));
  const mismatch = found.some(({ code }) => code === 'key-mismatch' || code === 'client-weak');
  // With a key that does not fit or is too weak there is no handshake; the server's side is worth a look all the same.
  const offer: Offer = {
    groups: deviceGroups,
    ciphers: cipherSuites,
    minVersion: 'TLSv1.2',
    client: mismatch ? undefined : credentials.client,
  };
  const handshake = await shakeHands(target, offer);
  if (handshake.reached !== 'tls') {
    found.push(...(await unfinished(handshake, examination, offer)));
    return found;
  }
  const { socket, facts } = handshake;
  found.push(info('tls', handshakeText(facts)));
  found.push(
    ...serverFindings({ name: target.name, chain: facts.chain, roots: credentials.roots }, now),
  );
  const protocol = examination.protocol ?? protocolOf.get(target.port) ?? 'mqtt';
  const clientId = `doctor-${randomBytes(4).toString('hex')}`;
  const answer = await ask(socket, protocol, {
    clientId,
    host: target.name,
    limitMs: target.limitMs,
  });
  found.push(...answerFindings(answer, examination, mismatch));
  found.push(...(await largeHelloFindings(target, offer)));
  return found;
}

function handshakeText({ protocol, cipher, group, bytesRead }: HandshakeFacts): string {
  const key = group === undefined ? '' : `, key exchange ${group}`;
  const packets = Math.ceil(bytesRead / onePacket);
  return `${protocol}, ${cipher}${key}; the server's flight has ${bytesRead} bytes, ${packets === 1 ? 'one packet' : `${packets} packets`} of the smallest path`;
}

type Unfinished = Exclude<Handshake, { reached: 'tls' }>;

async function unfinished(
  handshake: Unfinished,
  { target, credentials }: Examination,
  offer: Offer,
): Promise<readonly Finding[]> {
  if (handshake.reached === 'nothing')
    return [connectFinding(target, handshake.code, handshake.message)];
  const { code, message, bytesRead } = handshake;
  if (isNoTls(code)) {
    return [
      fault(
        'not-tls',
        `${target.host}:${target.port} does not speak TLS`,
        'use the port of a TLS listener (mqtts 8883, https 8443, est 8447); nothing is ever sent in the clear',
      ),
    ];
  }
  const refused = refusalFinding(code, credentials.client !== undefined);
  if (refused !== undefined) return [refused];
  if (isNoCommonGround(code)) return [await commonGroundFinding(target, offer, code)];
  if (bytesRead > 0 && (code === 'TIMEOUT' || code === 'ECONNRESET' || code === 'CLOSED')) {
    return [
      fault(
        'flight-lost',
        `the server's flight breaks off after ${bytesRead} bytes`,
        `something on the way loses packets that are larger than the path takes (path MTU): let ICMP "fragmentation needed" and "packet too big" through, or clamp the MSS (iptables -j TCPMSS --clamp-mss-to-pmtu); see with: ping -M do -s 1400 ${target.host}`,
      ),
    ];
  }
  if (code === 'TIMEOUT') {
    return [
      fault(
        'tls-silent',
        `${target.host}:${target.port} takes the connection and does not answer`,
        'see whether a firewall or a load balancer that expects a PROXY header is between, and whether the gateway is overloaded: sallyport status',
      ),
    ];
  }
  if (code === 'ECONNRESET' || code === 'CLOSED' || code === 'EPIPE') {
    return [
      fault(
        'tls-closed',
        `${target.host}:${target.port} ends the connection before TLS begins`,
        'a firewall, limits.sourceConnectionsPerSecond or limits.sourceFailures may be in the way, or a PROXY header is expected: see the log of the gateway',
      ),
    ];
  }
  return [
    fault(
      'tls-failed',
      `the handshake fails: ${message}`,
      'see the log of the server for its side',
    ),
  ];
}

function connectFinding({ host, port }: Target, code: string, message: string): Finding {
  switch (code) {
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return fault(
        'name-unknown',
        `the name ${host} is not known here`,
        'check the name and the DNS server that the device uses',
      );
    case 'ECONNREFUSED':
      return fault(
        'nothing-listens',
        `nothing listens on ${host}:${port}`,
        'start the gateway, or see where it listens: sallyport status',
      );
    case 'TIMEOUT':
    case 'ETIMEDOUT':
      return fault(
        'no-connection',
        `${host}:${port} does not answer`,
        'a firewall drops the packets, or the host is down: see its rules for this port',
      );
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
      return fault(
        'no-route',
        `there is no route to ${host}`,
        'check network, VPN and routes of the device',
      );
    default:
      return fault(
        'no-connection',
        `${host}:${port} cannot be reached: ${message}`,
        'check the network',
      );
  }
}

function isNoTls(code: string): boolean {
  return /WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG|HTTP_REQUEST|BAD_RECORD_TYPE|RECORD_TOO_SMALL|UNEXPECTED_MESSAGE/.test(
    code,
  );
}

function isNoCommonGround(code: string): boolean {
  return /HANDSHAKE_FAILURE|PROTOCOL_VERSION|UNSUPPORTED_PROTOCOL|INSUFFICIENT_SECURITY|NO_SHARED|NO_SUITABLE|UNSUPPORTED_ELLIPTIC|WRONG_CURVE|ILLEGAL_PARAMETER|NO_CIPHERS/.test(
    code,
  );
}

/** What the server would have taken from a client that offers everything. */
async function commonGroundFinding(target: Target, offer: Offer, code: string): Promise<Finding> {
  const wide = { ...offer, minVersion: 'TLSv1', groups: anyGroups, ciphers: anyCiphers } as const;
  const handshake = await shakeHands(target, wide);
  if (handshake.reached !== 'tls') {
    // In TLS 1.2 a server that misses the client's certificate uses the same alert.
    return offer.client === undefined
      ? fault(
          'certificate-required',
          'the server ends the handshake: it wants a client certificate, or client and server have nothing in common',
          'give the certificate of the device with --cert and --key',
        )
      : fault(
          'no-common-cipher',
          `client and server have no TLS version, cipher and group in common (${code})`,
          'see what the server offers: openssl s_client -connect HOST:PORT; devices need TLS 1.2 or 1.3 with ECDHE and AEAD',
        );
  }
  handshake.socket.destroy();
  const { protocol, cipher, group } = handshake.facts;
  if (protocol !== 'TLSv1.2' && protocol !== 'TLSv1.3') {
    return fault(
      'no-common-version',
      `the server speaks ${protocol} at best, which is broken`,
      'let it speak TLS 1.2 or 1.3',
    );
  }
  if (!cipherSuites.split(':').some((suite) => isSuite(suite, cipher))) {
    return fault(
      'no-common-cipher',
      `no common cipher: the server offers ${cipher} and devices offer ECDHE with AES-GCM or ChaCha20 only`,
      'switch ECDHE with AEAD on in the server (ECDHE-ECDSA-AES128-GCM-SHA256 is what every device has)',
    );
  }
  return fault(
    'no-common-group',
    `no common key exchange group: the server wants ${group ?? 'another one'} and devices offer ${deviceGroups.replaceAll(':', ', ')}`,
    'switch X25519 or P-256 on in the server (tls.groups)',
  );
}

/** `TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256` is OpenSSL's `ECDHE-ECDSA-AES128-GCM-SHA256`. */
function isSuite(openssl: string, standard: string): boolean {
  const plain = (name: string): string =>
    name.replaceAll(/^TLS_|WITH_|_SHA256$|-SHA256$|[-_]/g, '').toUpperCase();
  return plain(openssl) === plain(standard);
}

/** Alerts with which a server that checks certificates in the handshake refuses one (RFC 8446 section 6.2). */
function refusalFinding(code: string, hasCertificate: boolean): Finding | undefined {
  if (/CERTIFICATE_REQUIRED/.test(code) || (!hasCertificate && /BAD_CERTIFICATE/.test(code))) {
    return fault(
      'certificate-required',
      'the server wants a client certificate',
      'give it with --cert and --key',
    );
  }
  if (/CERTIFICATE_REVOKED/.test(code)) return revoked;
  if (/CERTIFICATE_EXPIRED/.test(code)) {
    return fault(
      'client-expired',
      'the server says that the client certificate has expired',
      'compare the clocks here and there, then renew the certificate',
    );
  }
  if (/UNKNOWN_CA/.test(code)) return wrongIssuer;
  if (/UNSUPPORTED_CERTIFICATE/.test(code)) {
    return fault(
      'client-wrong-eku',
      'the server says that the client certificate is not for this purpose',
      'request one with extendedKeyUsage clientAuth',
    );
  }
  if (/ALERT_(?:BAD_CERTIFICATE|CERTIFICATE_UNKNOWN|ACCESS_DENIED|DECRYPT_ERROR)/.test(code)) {
    return fault(
      'client-refused',
      'the server refuses the client certificate',
      'see the log of the server for the reason',
    );
  }
  return undefined;
}

const revoked = fault(
  'revoked',
  'the client certificate has been revoked',
  'see why on the gateway: sallyport device show ID; after device reinstate it can enrol again',
);
const wrongIssuer = fault(
  'client-wrong-issuer',
  'the server does not know the CA that issued the client certificate',
  'use a certificate of this installation, append its issuing CA to the file, or add the CA to ca.trustAnchors',
);

function answerFindings(
  answer: Answer,
  { credentials, target }: Examination,
  mismatch: boolean,
): readonly Finding[] {
  const hasCertificate = credentials.client !== undefined && !mismatch;
  if (answer.protocol === undefined) {
    const refused = refusalFinding(answer.code, hasCertificate);
    if (refused !== undefined) return [refused];
    return [
      fault(
        answer.code === 'STRANGE' ? 'strange-answer' : 'no-answer',
        answer.code === 'STRANGE'
          ? `the server speaks neither MQTT nor HTTP: ${answer.message}`
          : `TLS stands, and the server gives no answer: ${answer.message}`,
        'check the port and --protocol; the log of the server has its side',
      ),
    ];
  }
  if (answer.accepted) {
    return [
      info(
        'accepted',
        answer.protocol === 'est'
          ? 'the EST listener answers; what it gives hangs on the token or certificate of the request'
          : `the server lets ${hasCertificate ? 'this device' : 'anybody'} in (${answer.protocol})`,
      ),
    ];
  }
  // Whoever shows nothing is refused: that is the gateway at its work, and the rest has been looked at.
  if (!hasCertificate && (answer.code === 'unauthenticated' || answer.code === undefined)) {
    return mismatch
      ? []
      : [
          warning(
            'no-client-certificate',
            `without a client certificate nobody is let in (${answer.word})`,
            'give the one of the device with --cert and --key to see what becomes of it',
          ),
        ];
  }
  return [refusedFinding(answer.code, answer.word, target)];
}

function refusedFinding(code: ErrorCode | undefined, word: string, { host }: Target): Finding {
  switch (code) {
    case 'standing':
      return fault(
        'standing',
        `the gateway knows the device and does not let it in: it is revoked, suspended or quarantined (${word})`,
        'see which, and why: sallyport device show ID; then device resume, release or reinstate',
      );
    case 'unauthenticated':
      return fault(
        'client-not-accepted',
        `the gateway does not accept the client certificate (${word}): its issuer is no trust anchor there, the id is not registered, or it is not valid by the clock of the gateway`,
        'see the exact reason in the log of the gateway ("connection refused"), the id with: sallyport device show ID, the issuers with: sallyport ca show',
      );
    case 'busy':
      return fault(
        'busy',
        `the gateway is busy (${word})`,
        'come again later, and see sallyport_admission_waiting; a device that a clone rule keeps out is told the same: sallyport device show ID',
      );
    case 'rate':
      return fault(
        'rate',
        `the device connects too often (${word})`,
        'let it keep its connection; see limits.connectsPerMinute',
      );
    case 'quota':
      return fault(
        'quota',
        `the device has too many sessions (${word})`,
        'see limits.sessionsPerIdentity, and which of them are open',
      );
    case 'forbidden':
      return fault(
        'forbidden',
        `the device may not do that (${word})`,
        'see which rule decides: sallyport policy test --as device/ID publish TOPIC',
      );
    default:
      return fault(
        'refused',
        `the server at ${host} refuses (${word})`,
        'see the log of the server',
      );
  }
}

/** Whether the path carries a ClientHello of two packets: some middleboxes do not, and servers that offer ML-KEM are blamed. */
async function largeHelloFindings(target: Target, offer: Offer): Promise<readonly Finding[]> {
  const handshake = await shakeHands(target, { ...offer, groups: largeGroups });
  if (handshake.reached === 'tls') {
    handshake.socket.destroy();
    return handshake.facts.group === 'X25519MLKEM768'
      ? [info('post-quantum', 'a client that offers X25519MLKEM768 gets it')]
      : [];
  }
  return [
    warning(
      'large-hello-lost',
      'a client that offers the post-quantum group X25519MLKEM768, whose first message has two packets, does not get through',
      'something on the way takes a ClientHello of one packet only: have it updated, or leave the group out on such clients',
    ),
  ];
}
