/**
 * OpenAPI 3.1.1 as far as the project's documents use it: its objects as types, and as a JSON Schema that lets nothing
 * through that is not part of it, because a keyword that is misspelled says nothing and nobody notices.
 */

export interface Reference {
  readonly $ref: string;
}

export interface Document {
  readonly security: readonly object[];
  readonly paths: Readonly<Record<string, PathItem>>;
  readonly components: {
    readonly schemas: Readonly<Record<string, unknown>>;
    readonly responses?: Readonly<Record<string, Response>>;
    readonly parameters?: Readonly<Record<string, Parameter>>;
    readonly headers?: Readonly<Record<string, Header>>;
    readonly requestBodies?: Readonly<Record<string, RequestBody>>;
    readonly securitySchemes: Readonly<Record<string, unknown>>;
  };
}

export const methods = ['get', 'put', 'post', 'delete', 'patch'] as const;

export type PathItem = Readonly<Partial<Record<(typeof methods)[number], Operation>>> & {
  readonly parameters?: readonly (Parameter | Reference)[];
};

export interface Operation {
  readonly operationId: string;
  readonly security?: readonly object[];
  readonly servers?: readonly { readonly url: string }[];
  readonly parameters?: readonly (Parameter | Reference)[];
  readonly requestBody?: RequestBody | Reference;
  readonly responses: Readonly<Record<string, Response | Reference>>;
}

export interface Parameter {
  readonly name: string;
  readonly in: 'path' | 'query' | 'header';
  readonly required?: boolean;
  readonly schema: unknown;
  readonly example?: unknown;
}

export interface RequestBody {
  readonly content: Content;
}

export interface Response {
  readonly description: string;
  readonly content?: Content;
  readonly headers?: Readonly<Record<string, Header | Reference>>;
}

export type Content = Readonly<Record<string, MediaType>>;

export interface MediaType {
  readonly schema: unknown;
  readonly example?: unknown;
  readonly examples?: Readonly<Record<string, { readonly value: unknown }>>;
}

export interface Header {
  readonly required?: boolean;
  readonly schema: unknown;
  readonly example?: unknown;
}

const text = { type: 'string', minLength: 1 };
const any = { type: ['object', 'boolean'] };

function closed(properties: Readonly<Record<string, unknown>>, required: readonly string[] = []) {
  return { type: 'object', properties, required, additionalProperties: false };
}

function mapOf(name: string, pattern = '^.+$') {
  return {
    type: 'object',
    propertyNames: { pattern },
    additionalProperties: { $ref: `#/$defs/${name}` },
  };
}

function orReference(name: string) {
  const reference = closed({ $ref: { type: 'string', pattern: '^#/' } }, ['$ref']);
  return { anyOf: [reference, { $ref: `#/$defs/${name}` }] };
}

const component = '^[A-Za-z0-9._-]+$';
const parameters = { type: 'array', items: { $ref: '#/$defs/parameterOrReference' } };

const servers = {
  type: 'array',
  items: closed({ url: text, description: text, variables: { type: 'object' } }, ['url']),
};

export const documentShape = {
  ...closed(
    {
      openapi: { type: 'string', pattern: '^3\\.1\\.\\d+$' },
      info: closed(
        {
          title: text,
          summary: text,
          description: text,
          version: text,
          license: closed({ name: text, identifier: text }, ['name']),
        },
        ['title', 'version', 'license'],
      ),
      servers,
      security: { type: 'array', items: { type: 'object' }, minItems: 1 },
      tags: { type: 'array', items: closed({ name: text, description: text }, ['name']) },
      paths: mapOf('pathItem', '^/'),
      components: closed(
        {
          schemas: mapOf('schema', component),
          responses: mapOf('response', component),
          parameters: mapOf('parameter', component),
          headers: mapOf('header', component),
          requestBodies: mapOf('requestBody', component),
          securitySchemes: mapOf('securityScheme', component),
        },
        ['schemas', 'securitySchemes'],
      ),
    },
    ['openapi', 'info', 'security', 'paths', 'components'],
  ),
  $defs: {
    schema: any,
    pathItem: closed({
      summary: text,
      description: text,
      parameters,
      ...Object.fromEntries(methods.map((method) => [method, { $ref: '#/$defs/operation' }])),
    }),
    operation: closed(
      {
        operationId: { type: 'string', pattern: '^[a-z][A-Za-z0-9]+$' },
        summary: text,
        description: text,
        tags: { type: 'array', items: text },
        security: { type: 'array', items: { type: 'object' } },
        servers,
        parameters,
        requestBody: orReference('requestBody'),
        responses: {
          ...mapOf('responseOrReference', '^[1-5]\\d\\d$'),
          minProperties: 1,
        },
      },
      ['operationId', 'summary', 'responses'],
    ),
    parameterOrReference: orReference('parameter'),
    parameter: {
      ...closed(
        {
          name: text,
          in: { enum: ['path', 'query', 'header'] },
          required: { type: 'boolean' },
          description: text,
          schema: any,
          example: true,
        },
        ['name', 'in', 'description', 'schema'],
      ),
      // §4.8.12.2: a parameter in the path is always required.
      anyOf: [
        { type: 'object', properties: { in: { enum: ['query', 'header'] } } },
        { type: 'object', properties: { required: { const: true } }, required: ['required'] },
      ],
    },
    requestBody: closed(
      { description: text, required: { type: 'boolean' }, content: mapOf('mediaType') },
      ['content'],
    ),
    responseOrReference: orReference('response'),
    response: closed(
      {
        description: text,
        headers: mapOf('headerOrReference'),
        content: mapOf('mediaType'),
      },
      ['description'],
    ),
    headerOrReference: orReference('header'),
    header: closed(
      { description: text, required: { type: 'boolean' }, schema: any, example: true },
      ['schema'],
    ),
    mediaType: closed(
      {
        schema: any,
        example: true,
        examples: {
          type: 'object',
          additionalProperties: closed({ summary: text, value: true }, ['value']),
        },
      },
      ['schema'],
    ),
    securityScheme: closed(
      {
        type: { enum: ['mutualTLS', 'http'] },
        scheme: text,
        bearerFormat: text,
        description: text,
      },
      ['type'],
    ),
  },
};
