/**
 * Real answers against an OpenAPI 3.1 document: what it does not describe, an interface must not say.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import type { ErrorObject, ValidateFunction } from 'ajv';
import { parse } from 'yaml';
import { repositoryRoot } from './cli.ts';
import { textOf } from './https-answer.ts';
import type { HttpAnswer } from './https-answer.ts';
import { documentShape, methods } from './open-api-shape.ts';
import type { Content, Document, Header, Operation, PathItem, Response } from './open-api-shape.ts';

/** Of the connection and the message's own form: no part of what an operation answers. */
const transportHeaders: ReadonlySet<string> = new Set([
  'connection',
  'content-length',
  'content-type',
  'date',
  'keep-alive',
  'transfer-encoding',
]);

/** The document's base for references between its schemas. */
const base = 'urn:sallyport:openapi';

export interface DescribedOperation {
  readonly id: string;
  /** Upper case. */
  readonly method: string;
  readonly path: string;
  readonly statuses: readonly number[];
  /** Names of the security schemes of which one is asked for; none = anybody may. */
  readonly security: readonly string[];
  /** Where it is, when that is not everywhere. */
  readonly servers: readonly string[];
}

interface FoundOperation extends DescribedOperation {
  readonly at: string;
  readonly segments: readonly string[];
  readonly responses: ReadonlyMap<number, string>;
}

export class OpenApiDocument {
  readonly #document: Document;
  readonly #ajv: Ajv2020;
  readonly #operations: readonly FoundOperation[];
  readonly #exercised = new Set<string>();

  /** @param name of the file in docs/openapi. @throws Error that names what is wrong with the document. */
  static load(name: string): OpenApiDocument {
    const file = join(repositoryRoot, 'docs', 'openapi', name);
    return new OpenApiDocument(parse(readFileSync(file, 'utf8')) as unknown);
  }

  constructor(value: unknown) {
    const hasShape = newAjv().compile<Document>(documentShape);
    if (!hasShape(value)) throw new Error(`not OpenAPI: ${explain(hasShape.errors)}`);
    this.#document = value;
    this.#ajv = newAjv();
    // Its schemas are found by pointers into it; as a whole it is none, so its own members are words without meaning.
    this.#ajv.addVocabulary(Object.keys(value));
    this.#ajv.addSchema(value, base, false, false);
    this.#operations = this.#readOperations();
    assertReferences(value, '#', value);
    this.#assertUses();
    this.#assertSchemas();
  }

  get operations(): readonly DescribedOperation[] {
    return this.#operations;
  }

  /**
   * @param path of the request, with or without a query.
   * @throws AssertionError when the document does not describe this answer: its status, content type, body, headers.
   */
  assertAnswer(method: string, path: string, answer: HttpAnswer): void {
    const operation = this.#find(method, path);
    assert.ok(operation !== undefined, `${method} ${path} is not documented`);
    const what = `${operation.id} (${method} ${path})`;
    const pointer = operation.responses.get(answer.status);
    assert.ok(
      pointer !== undefined,
      `${what}: ${answer.status} is not documented: ${shown(answer)}`,
    );
    this.#assertResponse(pointer, answer, `${what} → ${answer.status}`);
    this.#exercised.add(exercise(operation.id, answer.status));
  }

  /** The same for an answer to what is no operation: `name` is one of the document's shared responses. */
  assertSharedResponse(name: string, answer: HttpAnswer): void {
    this.#assertResponse(`#/components/responses/${name}`, answer, name);
  }

  /** @throws AssertionError when `value` is not what the shared schema `name` describes. */
  assertMatches(name: string, value: unknown): void {
    const problem = this.#problemWith(`#/components/schemas/${name}`, value);
    assert.equal(problem, undefined, `${name}: ${problem ?? ''}: ${JSON.stringify(value)}`);
  }

  /** `operationId status` of every documented answer that `assertAnswer` has not seen. */
  unexercised(): readonly string[] {
    return this.#operations
      .flatMap(({ id, statuses }) => statuses.map((status) => exercise(id, status)))
      .filter((each) => !this.#exercised.has(each));
  }

  #assertResponse(pointer: string, answer: HttpAnswer, what: string): void {
    const response = at(this.#document, pointer) as Response; // its shape has been checked
    this.#assertHeaders(pointer, response, answer, what);
    const contentType = answer.headers.get('content-type');
    const { content } = response;
    if (content === undefined) {
      assert.equal(answer.body.length, 0, `${what}: a body: ${shown(answer)}`);
      assert.equal(contentType, undefined, `${what}: a content type without content`);
      return;
    }
    assert.ok(
      contentType !== undefined && Object.hasOwn(content, contentType),
      `${what}: content type ${contentType ?? 'missing'}`,
    );
    const text = textOf(answer);
    const body: unknown = /[/+]json$/.test(contentType) ? JSON.parse(text) : text;
    const problem = this.#problemWith(pointerTo(pointer, 'content', contentType, 'schema'), body);
    assert.equal(problem, undefined, `${what}: ${problem ?? ''}: ${shown(answer)}`);
  }

  #assertHeaders(pointer: string, response: Response, answer: HttpAnswer, what: string): void {
    const documented = new Set(transportHeaders);
    for (const name of Object.keys(response.headers ?? {})) {
      documented.add(name.toLowerCase());
      const where = this.#follow(pointerTo(pointer, 'headers', name));
      const header = at(this.#document, where) as Header; // its shape has been checked
      const value = answer.headers.get(name.toLowerCase());
      if (value === undefined) {
        assert.ok(header.required !== true, `${what}: no ${name}`);
        continue;
      }
      const parsed = /^-?\d{1,15}$/.test(value) ? Number(value) : value;
      const problem = this.#problemWith(pointerTo(where, 'schema'), parsed);
      assert.equal(problem, undefined, `${what}: ${name}: ${value}: ${problem ?? ''}`);
    }
    const stray = [...answer.headers.keys()].filter((name) => !documented.has(name));
    assert.deepEqual(stray, [], `${what}: headers that are not documented`);
  }

  #find(method: string, path: string): FoundOperation | undefined {
    const segments = (path.split('?', 1)[0] ?? '').split('/');
    const found = this.#operations.filter(
      (operation) => operation.method === method && matches(operation.segments, segments),
    );
    // OpenAPI §4.8.8.2: a path without a template goes before one that has one.
    return found.toSorted((a, b) => templates(a) - templates(b))[0];
  }

  #readOperations(): FoundOperation[] {
    return Object.entries(this.#document.paths).flatMap(([path, item]) =>
      methods.flatMap((method) => {
        const operation = item[method];
        if (operation === undefined) return [];
        const where = pointerTo('#', 'paths', path, method);
        const responses = new Map(
          Object.keys(operation.responses).map((status) => [
            Number(status),
            this.#follow(pointerTo(where, 'responses', status)),
          ]),
        );
        return [
          {
            id: operation.operationId,
            method: method.toUpperCase(),
            path,
            statuses: [...responses.keys()],
            security: (operation.security ?? this.#document.security).flatMap(Object.keys),
            servers: (operation.servers ?? []).map(({ url }) => url),
            at: where,
            segments: path.split('/'),
            responses,
          },
        ];
      }),
    );
  }

  /** Names that are unique, parameters that are declared, shared parts that somebody uses. */
  #assertUses(): void {
    const ids = this.#operations.map(({ id }) => id);
    assert.equal(new Set(ids).size, ids.length, `an operationId twice: ${ids.join(', ')}`);
    for (const { id, path, at: where } of this.#operations) {
      const named = [...path.matchAll(/\{([^}]+)\}/g)].map(([, name = '']) => name);
      const declared = this.#parametersOf(path, where)
        .filter((parameter) => parameter.in === 'path')
        .map(({ name }) => name);
      assert.deepEqual(declared.toSorted(), named.toSorted(), `${id}: parameters of the path`);
    }
  }

  #parametersOf(path: string, where: string) {
    const item = at(this.#document, pointerTo('#', 'paths', path)) as PathItem; // shape checked
    const operation = at(this.#document, where) as Operation; // shape checked
    return [...(item.parameters ?? []), ...(operation.parameters ?? [])].map((parameter) => {
      const found = '$ref' in parameter ? at(this.#document, parameter.$ref) : parameter;
      return found as { readonly name: string; readonly in: string }; // shape checked
    });
  }

  /** Every schema compiles under strict rules, and every example is one. */
  #assertSchemas(): void {
    const { schemas, responses, parameters, headers, requestBodies } = this.#document.components;
    for (const name of Object.keys(schemas)) this.#validator(`#/components/schemas/${name}`);
    const shared = { parameters, headers, responses, requestBodies };
    for (const [kind, parts] of Object.entries(shared)) {
      for (const name of Object.keys(parts ?? {})) {
        this.#assertPart(pointerTo('#', 'components', kind, name));
      }
    }
    for (const path of Object.keys(this.#document.paths)) {
      this.#assertParts(pointerTo('#', 'paths', path, 'parameters'));
    }
    for (const { at: where, responses: answers } of this.#operations) {
      this.#assertParts(pointerTo(where, 'parameters'));
      this.#assertPart(pointerTo(where, 'requestBody'));
      for (const answer of answers.values()) this.#assertPart(answer);
    }
  }

  #assertParts(pointer: string): void {
    const parts = at(this.#document, pointer);
    if (!Array.isArray(parts)) return;
    for (const index of parts.keys()) this.#assertPart(pointerTo(pointer, String(index)));
  }

  /** A parameter, header, response or request body. */
  #assertPart(pointer: string): void {
    const where = this.#follow(pointer);
    const part = at(this.#document, where);
    if (typeof part !== 'object' || part === null) return;
    if ('schema' in part) this.#assertExamples(where);
    if ('headers' in part) {
      for (const name of Object.keys(part.headers ?? {})) {
        this.#assertPart(pointerTo(where, 'headers', name));
      }
    }
    if (!('content' in part)) return;
    // Its shape has been checked.
    for (const type of Object.keys(part.content as Content)) {
      this.#assertExamples(pointerTo(where, 'content', type));
    }
  }

  #assertExamples(pointer: string): void {
    const schema = pointerTo(pointer, 'schema');
    this.#validator(schema);
    const part = at(this.#document, pointer) as Content[string]; // its shape has been checked
    const named = Object.values(part.examples ?? {}).map(({ value }) => value);
    const examples = part.example === undefined ? named : [part.example, ...named];
    for (const example of examples) {
      const problem = this.#problemWith(schema, example);
      assert.equal(problem, undefined, `the example of ${pointer}: ${problem ?? ''}`);
    }
  }

  #follow(pointer: string): string {
    const part = at(this.#document, pointer);
    const isReference = typeof part === 'object' && part !== null && '$ref' in part;
    return isReference && typeof part.$ref === 'string' ? part.$ref : pointer;
  }

  #problemWith(pointer: string, value: unknown): string | undefined {
    const validate = this.#validator(pointer);
    return validate(value) ? undefined : explain(validate.errors);
  }

  #validator(pointer: string): ValidateFunction {
    const fragment = pointer.split('/').slice(1).map(encodeURIComponent).join('/');
    const id = `${base}#/${fragment}`;
    try {
      const validate = this.#ajv.getSchema(id);
      assert.ok(validate !== undefined, 'there is none');
      return validate;
    } catch (error) {
      throw new Error(`the schema at ${pointer}: ${String(error)}`, { cause: error });
    }
  }
}

function newAjv(): Ajv2020 {
  const ajv = new Ajv2020({ strict: true, strictRequired: false, allowUnionTypes: true });
  // RFC 3339 §5.6, as far as the interfaces write it: UTC.
  ajv.addFormat('date-time', /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z$/);
  return ajv;
}

function assertReferences(value: unknown, where: string, document: unknown): void {
  if (typeof value !== 'object' || value === null) return;
  if ('$ref' in value && typeof value.$ref === 'string') {
    assert.match(value.$ref, /^#\//, `${where}: a reference to elsewhere`);
    assert.ok(at(document, value.$ref) !== undefined, `${where}: ${value.$ref} is not there`);
  }
  for (const [key, member] of Object.entries(value)) {
    assertReferences(member, pointerTo(where, key), document);
  }
}

/** RFC 6901. */
function at(document: unknown, pointer: string): unknown {
  let value = document;
  for (const token of pointer.split('/').slice(1)) {
    const key = token.replaceAll('~1', '/').replaceAll('~0', '~');
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined;
    value = new Map<string, unknown>(Object.entries(value)).get(key);
  }
  return value;
}

function pointerTo(pointer: string, ...keys: readonly string[]): string {
  const tokens = keys.map((key) => key.replaceAll('~', '~0').replaceAll('/', '~1'));
  return [pointer, ...tokens].join('/');
}

function matches(template: readonly string[], segments: readonly string[]): boolean {
  return (
    template.length === segments.length &&
    template.every((want, index) => want.startsWith('{') || want === segments[index])
  );
}

function templates({ segments }: FoundOperation): number {
  return segments.filter((segment) => segment.startsWith('{')).length;
}

function exercise(id: string, status: number): string {
  return `${id} ${status}`;
}

function explain(errors: readonly ErrorObject[] | null | undefined): string {
  return (errors ?? [])
    .map(({ instancePath, message, params }) => {
      const detail = JSON.stringify(params);
      return `${instancePath} ${message ?? ''} ${detail}`;
    })
    .join('; ');
}

function shown(answer: HttpAnswer): string {
  return JSON.stringify(answer.body.toString('utf8', 0, 400));
}
