import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HttpAnswer } from './https-answer.ts';
import { OpenApiDocument } from './open-api.ts';

/** A small document; `change` gets a copy of it as plain data. */
function documentWith(change: (parts: Parts) => void = () => {}): OpenApiDocument {
  const parts: Parts = {
    operation: {
      operationId: 'getThing',
      summary: 'One thing.',
      responses: {
        '200': {
          description: 'The thing.',
          headers: { 'Retry-After': { required: true, schema: { type: 'integer', minimum: 1 } } },
          content: { 'application/json': { schema: { $ref: '#/components/schemas/Thing' } } },
        },
        '204': { description: 'Nothing.' },
      },
    },
    parameters: [{ name: 'id', in: 'path', required: true, description: 'Its id.', schema: true }],
    schemas: {
      Thing: {
        type: 'object',
        required: ['at'],
        additionalProperties: false,
        properties: { at: { type: 'string', format: 'date-time' } },
      },
    },
  };
  change(parts);
  return new OpenApiDocument({
    openapi: '3.1.1',
    info: { title: 'Things', version: '1', license: { name: 'Apache-2.0' } },
    security: [{ certificate: [] }],
    paths: { '/things/{id}': { parameters: parts.parameters, get: parts.operation } },
    components: {
      schemas: parts.schemas,
      securitySchemes: { certificate: { type: 'mutualTLS' } },
    },
  });
}

interface Parts {
  readonly operation: {
    operationId: string;
    responses: Record<string, Record<string, unknown>>;
    readonly [name: string]: unknown;
  };
  parameters: unknown[];
  readonly schemas: Record<string, unknown>;
}

function answer(
  status: number,
  body: unknown,
  headers: Readonly<Record<string, string>> = {},
): HttpAnswer {
  return {
    status,
    headers: new Map(Object.entries(headers)),
    body: body === undefined ? Buffer.alloc(0) : Buffer.from(JSON.stringify(body)),
  };
}

const headers = { 'content-type': 'application/json', 'retry-after': '5', date: 'today' };
const good = { at: '2026-11-21T07:00:00.000Z' };

test('an answer that is as documented passes and is remembered', () => {
  const document = documentWith();
  assert.deepEqual(document.unexercised(), ['getThing 200', 'getThing 204']);
  document.assertAnswer('GET', '/things/a?x=1', answer(200, good, headers));
  assert.deepEqual(document.unexercised(), ['getThing 204']);
  document.assertAnswer('GET', '/things/a', answer(204, undefined));
  assert.deepEqual(document.unexercised(), []);
});

test('what is not documented is found', () => {
  const document = documentWith();
  const found: [RegExp, string, string, HttpAnswer][] = [
    [/not documented/, 'GET', '/things', answer(200, good, headers)],
    [/not documented/, 'GET', '/things/a/b', answer(200, good, headers)],
    [/not documented/, 'POST', '/things/a', answer(200, good, headers)],
    [/500 is not documented/, 'GET', '/things/a', answer(500, good, headers)],
    [/at/, 'GET', '/things/a', answer(200, {}, headers)],
    [/date-time/, 'GET', '/things/a', answer(200, { at: 'now' }, headers)],
    [/more/, 'GET', '/things/a', answer(200, { ...good, more: 1 }, headers)],
    [/content type/, 'GET', '/things/a', answer(200, good, { 'retry-after': '5' })],
    [
      /no Retry-After/,
      'GET',
      '/things/a',
      answer(200, good, { 'content-type': 'application/json' }),
    ],
    [/Retry-After: 0/, 'GET', '/things/a', answer(200, good, { ...headers, 'retry-after': '0' })],
    [
      /Retry-After: soon/,
      'GET',
      '/things/a',
      answer(200, good, { ...headers, 'retry-after': 'soon' }),
    ],
    [/server/, 'GET', '/things/a', answer(200, good, { ...headers, server: 'node' })],
    [/a body/, 'GET', '/things/a', answer(204, good)],
    [/content type/, 'GET', '/things/a', answer(204, undefined, { 'content-type': 'text/plain' })],
  ];
  for (const [what, method, path, said] of found) {
    assert.throws(() => document.assertAnswer(method, path, said), what);
  }
  assert.deepEqual(document.unexercised(), ['getThing 200', 'getThing 204']);
});

test('a document with a mistake is refused', () => {
  const mistakes: [RegExp, (parts: Parts) => void][] = [
    [
      /Thong is not there/,
      ({ operation }) => {
        operation.responses['200'] = {
          description: 'x',
          content: { 'application/json': { schema: { $ref: '#/components/schemas/Thong' } } },
        };
      },
    ],
    [
      /parameters of the path/,
      (parts) => {
        parts.parameters = [];
      },
    ],
    [
      /required/,
      (parts) => {
        parts.parameters = [{ name: 'id', in: 'path', description: 'x', schema: true }];
      },
    ],
    [
      /additionalProperty":"contents/,
      ({ operation }) => {
        operation.responses['200'] = { description: 'x', contents: {} };
      },
    ],
    [
      /pattern/,
      ({ operation }) => {
        operation.responses['2xx'] = { description: 'x' };
      },
    ],
    [
      /operationId/,
      ({ operation }) => {
        operation.operationId = '';
      },
    ],
    [
      /unknown keyword: "maxLenght"/,
      ({ schemas }) => {
        schemas['Thing'] = { type: 'string', maxLenght: 3 };
      },
    ],
    [
      /the example of/,
      ({ operation }) => {
        operation.responses['200'] = {
          description: 'x',
          content: { 'application/json': { schema: { type: 'string' }, example: 1 } },
        };
      },
    ],
  ];
  for (const [what, mistake] of mistakes) assert.throws(() => documentWith(mistake), what);
});
