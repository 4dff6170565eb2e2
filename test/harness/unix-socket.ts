/** Sockets with a path, of programs that do not say when they listen. */
import { connect } from 'node:net';

/** Whether somebody takes connections there: the path is there from `bind` on, before `listen`. */
export function listensAt(path: string): Promise<boolean> {
  const socket = connect(path);
  return new Promise<boolean>((resolve) => {
    socket.once('connect', () => resolve(true));
    socket.once('error', () => resolve(false));
  }).finally(() => socket.destroy());
}
