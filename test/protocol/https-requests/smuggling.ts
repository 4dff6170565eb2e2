/** Requests that two readers could take for different ones (RFC 9112 §11.2), whatever they are for. */

const host = 'Host: gateway\r\n';
const chunks = '4\r\ntrue\r\n0\r\n\r\n';

const transferCodings = [
  'xchunked',
  'gzip, chunked',
  ',chunked',
  'chunked, identity',
  'chunked, chunked',
  'chunked;q=1',
  '"chunked"',
  'chunked\x0b',
  '\r\n chunked',
  'identity',
  'gzip',
  '',
];
const lengths = [
  '+4',
  '-4',
  '4,4',
  '0x4',
  '4 4',
  '4\r\n 4',
  '',
  '99999999999999999999999',
  '4.0',
  '4e0',
];

const chunkings = [
  '0x4\r\ntrue\r\n0\r\n\r\n',
  '+4\r\ntrue\r\n0\r\n\r\n',
  ' 4\r\ntrue\r\n0\r\n\r\n',
  '4 \r\ntrue\r\n0\r\n\r\n',
  '4\ntrue\r\n0\r\n\r\n',
  '4\r\ntrue\n0\r\n\r\n',
  '4\r\ntrue\r\n0\n\r\n',
  '4\r\ntrue\r\n0\r\n\n',
  '4;a\ntrue\r\n0\r\n\r\n',
  '4;a\rb\r\ntrue\r\n0\r\n\r\n',
  '3\r\ntrue\r\n0\r\n\r\n',
  '\r\ntrue\r\n0\r\n\r\n',
  '10000000000000004\r\ntrue\r\n0\r\n\r\n',
  '4\r\ntrue\r\n0\r\nA: b\nC: d\r\n\r\n',
  '4\r\ntrue\r\n0\r\nA : b\r\n\r\n',
];

/** By what is wrong with them. @param path that takes POST. @param readPath that takes GET. */
export function ambiguousRequests(
  path: string,
  readPath: string,
): Readonly<Record<string, string>> {
  const line = `POST ${path} HTTP/1.1\r\n${host}`;
  const bothLengths = {
    'CL.TE': `${line}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    'TE.CL': `${line}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n`,
    'TE.CL with an obfuscated TE': `${line}Content-Length: 4\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`,
    'a length in a trailer': `${line}Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 60\r\n\r\n`,
    'a transfer coding in a trailer': `${line}Transfer-Encoding: chunked\r\n\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n`,
  };

  const heads = {
    'bare LF everywhere': `POST ${path} HTTP/1.1\nHost: gateway\nContent-Length: 4\n\ntrue`,
    'bare LF after the request line': `POST ${path} HTTP/1.1\n${host}Content-Length: 4\r\n\r\ntrue`,
    'bare LF after a header': `${line}A: b\nContent-Length: 4\r\n\r\ntrue`,
    'bare LF at the end of the head': `${line}Content-Length: 4\r\n\ntrue`,
    'bare CR after the request line': `POST ${path} HTTP/1.1\r${host}Content-Length: 4\r\n\r\ntrue`,
    'CR in a value': `${line}A: b\rContent-Length: 9\r\nContent-Length: 4\r\n\r\ntrue`,
    'two CR before LF': `${line}A: b\r\r\nContent-Length: 4\r\n\r\ntrue`,
    'CR before the end of the head': `${line}\rContent-Length: 4\r\n\r\ntrue`,
    'a folded header': `${line}A: b\r\n c\r\nContent-Length: 4\r\n\r\ntrue`,
    'a header folded with a tab': `${line}A: b\r\n\tc\r\nContent-Length: 4\r\n\r\ntrue`,
    'a folded first header': `POST ${path} HTTP/1.1\r\n ${host}Content-Length: 4\r\n\r\ntrue`,
    'space before a colon': `${line}Content-Length : 4\r\n\r\ntrue`,
    'space before the colon of TE': `${line}Transfer-Encoding : chunked\r\n\r\n${chunks}`,
    'space in a name': `${line}Content Length: 4\r\n\r\ntrue`,
    'no name': `${line}: 4\r\nContent-Length: 4\r\n\r\ntrue`,
    'no colon': `${line}Content-Length\r\n\r\ntrue`,
    'NUL in a value': `${line}A: b\0c\r\nContent-Length: 4\r\n\r\ntrue`,
    'NUL in a name': `${line}A\0: c\r\nContent-Length: 4\r\n\r\ntrue`,
    'a control character in a value': `${line}A: b\x01c\r\nContent-Length: 4\r\n\r\ntrue`,
    'NUL in the target': `POST ${path}\0 HTTP/1.1\r\n${host}Content-Length: 4\r\n\r\ntrue`,
    'two lengths that agree': `${line}Content-Length: 4\r\nContent-Length: 4\r\n\r\ntrue`,
    'two lengths': `${line}Content-Length: 4\r\nContent-Length: 9\r\n\r\ntrue`,
    'two transfer codings': `${line}Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}`,
    'two hosts': `${line}${host}Content-Length: 4\r\n\r\ntrue`,
    'no host': `POST ${path} HTTP/1.1\r\nContent-Length: 4\r\n\r\ntrue`,
    'an empty host': `POST ${path} HTTP/1.1\r\nHost:\r\nContent-Length: 4\r\n\r\ntrue`,
    'a host that is none': `POST ${path} HTTP/1.1\r\nHost: a b\r\nContent-Length: 4\r\n\r\ntrue`,
    'two content types': `${line}Content-Type: text/plain\r\nContent-Type: a/b\r\nContent-Length: 4\r\n\r\ntrue`,
    'two authorizations': `${line}Authorization: a\r\nauthorization: b\r\nContent-Length: 4\r\n\r\ntrue`,
    'absolute-form': `POST https://gateway${path} HTTP/1.1\r\n${host}Content-Length: 4\r\n\r\ntrue`,
    'asterisk-form': `OPTIONS * HTTP/1.1\r\n${host}\r\n`,
    'authority-form': `CONNECT gateway:443 HTTP/1.1\r\n${host}\r\n`,
    'a body of GET': `GET ${readPath} HTTP/1.1\r\n${host}Content-Length: 4\r\n\r\ntrue`,
    'a chunked body of GET': `GET ${readPath} HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\n\r\n${chunks}`,
    'a method in lower case': `post ${path} HTTP/1.1\r\n${host}Content-Length: 4\r\n\r\ntrue`,
    'a method that nobody knows': `FOO ${path} HTTP/1.1\r\n${host}\r\n`,
    'the HTTP/2 preface': 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    'a version beyond 1.1': `POST ${path} HTTP/1.2\r\n${host}Content-Length: 4\r\n\r\ntrue`,
  };

  return {
    ...bothLengths,
    ...heads,
    ...Object.fromEntries(
      transferCodings.map((coding) => [
        `Transfer-Encoding ${JSON.stringify(coding)}`,
        `${line}Transfer-Encoding: ${coding}\r\n\r\n${chunks}`,
      ]),
    ),
    ...Object.fromEntries(
      lengths.map((length) => [
        `Content-Length ${JSON.stringify(length)}`,
        `${line}Content-Length: ${length}\r\n\r\ntrue`,
      ]),
    ),
    ...Object.fromEntries(
      chunkings.map((body) => [
        `chunks ${JSON.stringify(body)}`,
        `${line}Transfer-Encoding: chunked\r\n\r\n${body}`,
      ]),
    ),
  };
}
