/**
 * undici reads its HTTP parser from disk when it first has a connection. A worker has then given up its privileges, and
 * its user may not be able to enter the folder that the program lies in: a clone in /root, for example.
 */
import { Socket } from 'node:net';
import { Client } from 'undici';

/** Makes undici load it now. MUST come before `dropPrivileges`. */
export async function loadHttpParser(): Promise<void> {
  const client: Client = new Client('http://nowhere.invalid', {
    // The parser is there as soon as there is a connection, and nothing is to be sent over this one.
    connect: (_, callback) => {
      callback(null, new Socket());
      void client.destroy();
    },
  });
  await client.request({ method: 'GET', path: '/' }).catch(() => {});
}
