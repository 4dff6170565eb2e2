/** Server-sent events as WHATWG HTML §9.2.6 reads them, as far as the gateway uses them. */

export interface ServerSentEvent {
  /** Of this event or the last one before it that had one. */
  readonly id: string;
  readonly event: string;
  readonly data: string;
}

export type StreamPart = ServerSentEvent | { readonly comment: string };

export class EventReader {
  readonly #decoder = new TextDecoder('utf-8', { fatal: true });
  #text = '';
  #id = '';
  #event = '';
  #data: string[] = [];

  /** @returns what is complete now. @throws Error for what is no UTF-8 and for a field that nobody reads. */
  push(chunk: Buffer): StreamPart[] {
    this.#text += this.#decoder.decode(chunk, { stream: true });
    const parts: StreamPart[] = [];
    for (;;) {
      // A CR at the end may be half of a CRLF.
      const found = /\r\n|\n|\r(?!$)/.exec(this.#text);
      if (found === null) return parts;
      const part = this.#line(this.#text.slice(0, found.index));
      this.#text = this.#text.slice(found.index + found[0].length);
      if (part !== undefined) parts.push(part);
    }
  }

  #line(line: string): StreamPart | undefined {
    if (line === '') return this.#dispatch();
    if (line.startsWith(':')) return { comment: line.slice(1).trimStart() };
    const colon = line.indexOf(':');
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    switch (name) {
      case 'id':
        // A NUL would make a browser ignore it.
        if (value.includes('\0')) throw new Error('an id with a NUL');
        this.#id = value;
        return undefined;
      case 'event':
        this.#event = value;
        return undefined;
      case 'data':
        this.#data.push(value);
        return undefined;
      case 'retry':
        if (!/^\d+$/.test(value)) throw new Error(`retry: ${value}`);
        return undefined;
      default:
        throw new Error(`a line of an event stream that nobody reads: ${JSON.stringify(line)}`);
    }
  }

  #dispatch(): StreamPart | undefined {
    const event = this.#event === '' ? 'message' : this.#event;
    const data = this.#data;
    this.#event = '';
    this.#data = [];
    return data.length === 0 ? undefined : { id: this.#id, event, data: data.join('\n') };
  }
}
