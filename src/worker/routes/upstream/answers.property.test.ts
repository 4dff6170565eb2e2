import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { Random } from '../../../../test/harness/random.ts';
import {
  listening,
  requestFor,
  route,
  settingsFor,
  Told,
  upstreamsFor,
} from '../../../../test/harness/upstream-servers.ts';
import { settled } from '../test-support.ts';

/** What a request of this number is answered with, when it is answered whole. */
function bodyOf(n: number): string {
  return `${n} `.repeat(1 + (n % 700));
}

function inChunks(body: string, random: Random): string {
  let text = '';
  for (let at = 0; at < body.length;) {
    const piece = body.slice(at, at + 1 + random.below(body.length));
    text += `${piece.length.toString(16)}\r\n${piece}\r\n`;
    at += piece.length;
  }
  return `${text}0\r\n\r\n`;
}

async function inPieces(socket: Socket, text: string, random: Random): Promise<void> {
  for (let at = 0; at < text.length && !socket.destroyed;) {
    const end = at + 1 + random.below(text.length);
    socket.write(text.slice(at, end), 'latin1');
    at = end;
    if (random.below(2) === 0) await settled();
  }
}

/** Answers well or badly. */
async function answer(socket: Socket, n: number, random: Random): Promise<void> {
  const body = bodyOf(n);
  const plain = `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  const head = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n';
  const whole = random.below(2) === 0 ? plain : head + inChunks(body, random);
  switch (random.below(10)) {
    case 0:
      socket.destroy();
      break;
    case 1:
      socket.resetAndDestroy();
      break;
    case 2:
      await inPieces(socket, whole.slice(0, random.below(whole.length)), random);
      socket.end();
      break;
    case 3:
      // At once: what comes when the next request is on its way cannot be told from its answer.
      socket.write(`${whole}HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged`);
      break;
    case 4:
      await inPieces(socket, whole, random);
      socket.end();
      break;
    default:
      await inPieces(socket, `HTTP/1.1 103 Early Hints\r\n\r\n${whole}`, random);
  }
}

test('whatever servers and devices do, an answer that looks complete is the whole answer to that request', async (t) => {
  const random = new Random(6);
  const server = createServer((socket) => {
    let text = '';
    let working = Promise.resolve();
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
      for (;;) {
        const end = text.indexOf('\r\n\r\n');
        if (end < 0) break;
        const n = Number(/\/n\/([0-9]+) /.exec(text)?.[1]);
        text = text.slice(end + 4);
        working = working.then(() => answer(socket, n, random));
      }
    });
  });
  const settings = settingsFor(await listening(t, server), {
    connections: 6,
    waiting: 100,
    breaker: { failures: 1_000_000, openMs: 1_000 },
  });
  const { upstreams, counted } = upstreamsFor(t, settings);
  let next = 0;
  let whole = 0;
  let failed = 0;
  const device = async (): Promise<void> => {
    while (next < 2_000) {
      const n = next;
      next += 1;
      const told = new Told();
      const method = n % 3 === 0 ? 'POST' : 'GET';
      told.flows = n % 7 !== 0;
      const call = upstreams.request(route, requestFor({ method, path: `/backend/n/${n}` }), told);
      if (n % 11 === 0) {
        for (let i = random.below(6); i > 0; i -= 1) await settled();
        call.abort();
        continue;
      }
      while (!told.isOver) {
        call.resume();
        await settled();
      }
      if (told.ended) {
        assert.equal(told.text, bodyOf(n));
        whole += 1;
      } else {
        assert.equal(told.failure?.begun, told.answer !== undefined);
        assert.ok(bodyOf(n).startsWith(told.text));
        failed += 1;
      }
    }
  };
  await Promise.all(Array.from({ length: 10 }, device));
  assert.ok(whole > 1_000 && failed > 100, `${whole} ${failed}`);
  const told = [...counted].filter(([name]) => name.startsWith('upstream_requests'));
  assert.equal(
    told.reduce((sum, [, times]) => sum + times, 0),
    2_000,
  );
});
