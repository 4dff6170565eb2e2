/** Requests and exchanges without a connection, and a connection's engine without a network, for tests. */
import assert from 'node:assert/strict';
import type { RequestText } from '../../../common/codec/http/request-parser.ts';
import { RequestParser } from '../../../common/codec/http/request-parser.ts';
import { HandClock } from '../../policy/test-support.ts';
import { FakeTransport } from '../mqtt/fake-transport.ts';
import { Exchange } from './exchange.ts';
import type { Afterwards, Ending, ExchangeBytes } from './exchange.ts';
import { HttpEngine } from './http-engine.ts';
import type { HttpConnection } from './http-engine.ts';
import { headers } from './wire.ts';
import type { Problem } from './wire.ts';

export function requestOf(head: string): RequestText {
  const reading = new RequestParser(16_384).read(Buffer.from(head, 'latin1'));
  assert.ok('request' in reading && reading.request !== undefined, JSON.stringify(reading));
  return reading.request;
}

/** What an exchange does with its connection is kept. */
class FakeExchangeBytes implements ExchangeBytes {
  bodyComplete = false;
  bodyBegun = false;
  readonly keepAliveLines = 'Connection: keep-alive\r\n';
  written = '';
  /** Whether the peer takes what is written. */
  flows = true;
  wanted = 0;
  resumed = 0;
  readonly ends: Afterwards[] = [];

  now(): number {
    return Date.UTC(2026, 0, 2);
  }

  readBody(): void {
    this.wanted += 1;
  }

  resumeBody(): void {
    this.resumed += 1;
  }

  write(bytes: Buffer): boolean {
    this.written += bytes.toString('latin1');
    return this.flows;
  }

  over(after: Afterwards): void {
    this.ends.push(after);
  }
}

/** An exchange of a request, with what it says of refusals and of its end. */
export function exchangeOf(head: string) {
  const bytes = new FakeExchangeBytes();
  const refused: string[] = [];
  const endings: string[] = [];
  const owner = {
    ending: false,
    refused: (_: Exchange, code: string, detail: string) => void refused.push(`${code}: ${detail}`),
    answered: (_: Exchange, how: string) => void endings.push(how),
  };
  return { exchange: new Exchange(owner, bytes, requestOf(head)), bytes, owner, refused, endings };
}

/** It says how it was ended. */
class EndedTransport extends FakeTransport {
  readonly ends: string[] = [];

  get text(): string {
    return Buffer.concat(this.written).toString('latin1');
  }

  override closeSoon(): void {
    this.#end('soon');
  }

  override end(limitMs: number): void {
    this.#end(`within ${limitMs}`);
  }

  #end(how: string): void {
    this.ends.push(how);
    this.onData = () => {};
  }
}

/** What it is told is kept, in turn. */
class FakeHttpConnection implements HttpConnection {
  ending = false;
  readonly told: string[] = [];
  readonly exchanges: Exchange[] = [];
  serve: (exchange: Exchange) => void = () => {};
  takesUpgrades = false;
  onUpgrade: () => void = () => {};

  /** The one that was received last. */
  get exchange(): Exchange {
    const last = this.exchanges.at(-1);
    assert.ok(last !== undefined, 'an exchange');
    return last;
  }

  run(step: () => void): void {
    step();
  }

  receive(exchange: Exchange): void {
    const { method, target } = exchange.request;
    this.told.push(`${method} ${target}`);
    this.exchanges.push(exchange);
    this.serve(exchange);
  }

  sentAhead({ request }: Exchange): void {
    this.told.push(`${request.target}: sent ahead`);
  }

  unreadable({ status }: Problem): void {
    this.told.push(`unreadable: ${status}`);
  }

  refused({ request }: Exchange, code: string): void {
    this.told.push(`${request.target}: ${code}`);
  }

  answered({ request }: Exchange, how: Ending): void {
    this.told.push(`${request.target} ${how}`);
  }

  mayUpgrade(): boolean {
    return this.takesUpgrades;
  }

  upgrade({ target }: RequestText): void {
    this.told.push(`${target}: upgrade`);
    this.onUpgrade();
  }
}

export const engineLimits = { headerBytes: 512, headersMs: 10, requestMs: 30, idleMs: 60 };

export function engineOf(serve: (exchange: Exchange) => void = () => {}) {
  const transport = new EndedTransport();
  const connection = new FakeHttpConnection();
  connection.serve = serve;
  const clock = new HandClock();
  const engine = new HttpEngine({ transport, connection, clock, limits: engineLimits });
  /** One record each. */
  const send = (...records: readonly string[]): void => {
    for (const record of records) transport.onData(Buffer.from(record, 'latin1'));
  };
  const tick = (time: number): void => {
    clock.time = time;
    engine.tick(time);
  };
  return { engine, transport, connection, clock, send, tick };
}

export function get(target: string): string {
  return `GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`;
}

/** @param body its begin, when `bytes` says so. */
export function post(target: string, body: string, bytes = body.length, more = ''): string {
  return `POST ${target} HTTP/1.1\r\nHost: a\r\n${more}Content-Length: ${bytes}\r\n\r\n${body}`;
}

/** Without its last chunk. */
export function postInChunks(target: string, pieces: readonly string[], more = ''): string {
  const chunks = pieces.map((piece) => `${piece.length.toString(16)}\r\n${piece}\r\n`);
  const head = `POST ${target} HTTP/1.1\r\nHost: a\r\n${more}Transfer-Encoding: chunked\r\n\r\n`;
  return head + chunks.join('');
}

/** With what was asked for. */
export function answer(exchange: Exchange): void {
  const body = Buffer.from(exchange.request.target);
  exchange.answer(200, headers('Content-Length', String(body.length)), body);
}

/** The status of each, and what it says if it is no refusal. */
export function answersIn(text: string): string[] {
  const answers: string[] = [];
  for (let at = 0; at < text.length;) {
    const end = text.indexOf('\r\n\r\n', at) + 4;
    assert.ok(end > at + 3 && text.startsWith('HTTP/1.1 ', at), text.slice(at));
    const head = text.slice(at, end);
    const status = head.slice(9, 12);
    const bytes = Number(/^content-length: (\d+)\r$/im.exec(head)?.[1] ?? 0);
    answers.push(status === '200' ? `200 ${text.slice(end, end + bytes)}` : status);
    at = end + bytes;
  }
  return answers;
}
