/** A server certificate for a peer, made as Sallyport makes its own: P-256, a root, an issuing CA, a chain of two. */
import {
  issueLeaf,
  makeAuthority,
  makeIntermediate,
  withChain,
} from '../../test/harness/openssl.ts';

export interface ServerCertificate {
  /** Files. */
  readonly key: string;
  readonly chain: string;
  readonly root: string;
}

export function serverCertificate(folder: string): ServerCertificate {
  const root = makeAuthority(folder, 'Peer Root');
  const issuing = makeIntermediate(root, folder, 'issuing');
  const leaf = issueLeaf(issuing, folder, 'server', root.crt, {
    subject: '/CN=localhost',
    extensions: [
      'basicConstraints=critical,CA:FALSE',
      'keyUsage=critical,digitalSignature',
      'extendedKeyUsage=serverAuth',
      'subjectAltName=DNS:localhost',
    ],
  });
  return { key: leaf.key, chain: withChain(leaf, issuing.crt).crt, root: root.crt };
}
