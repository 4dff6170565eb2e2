/**
 * `Signature-Input` and `Signature` of one HTTP message signature (RFC 9421 sections 4.1 and 4.2), and the text that is
 * signed (section 2.5). What the signature has to cover is judged by whoever verifies.
 */
import { innerListText, parseDictionary } from './structured-fields.ts';
import type { BareItem, FieldBounds, InnerList, Item } from './structured-fields.ts';

export interface SignatureInput {
  /** Names of derived components, with their `@`, and of fields, in lower case, each once. */
  readonly components: readonly string[];
  /** Seconds since 1970. */
  readonly created: number | undefined;
  readonly expires: number | undefined;
  readonly nonce: string | undefined;
  readonly keyId: string | undefined;
  readonly algorithm: string | undefined;
  /** What is signed with the components: `@signature-params`, as it has to be written. */
  readonly parametersText: string;
  readonly signature: Buffer;
}

const inputBounds: FieldBounds = { length: 2_048, count: 32 };
/** The longest signature here, of P-384, has 96 bytes. */
const signatureBounds: FieldBounds = { length: 512, count: 2 };

/** A field in lower case, or a derived component. Parameters of components (section 2.1) are not known here. */
const componentName = /^@?[a-z0-9!#$%&'*+.^_`|~-]{1,64}$/;

/** Section 2.3. */
const parameterTypes: Readonly<Record<string, BareItem['type']>> = Object.assign(
  Object.create(null) as Record<string, never>, // typed `any` by the library
  {
    created: 'integer',
    expires: 'integer',
    nonce: 'string',
    alg: 'string',
    keyid: 'string',
    tag: 'string',
  } as const,
);

/**
 * Both fields have one member, of one label. More than one signature, a component with parameters, and a parameter of the
 * signature that the standard does not name are refused: what is not understood is not verified.
 *
 * @returns what is wrong, for the log, when something is.
 */
export function parseSignature(input: string, signature: string): SignatureInput | string {
  const inputs = parseDictionary(input, inputBounds);
  const signatures = parseDictionary(signature, signatureBounds);
  if (inputs === undefined) return 'Signature-Input cannot be read';
  if (signatures === undefined) return 'Signature cannot be read';
  const [first] = inputs;
  if (first === undefined || inputs.size > 1 || signatures.size > 1) {
    return 'there is not exactly one signature';
  }
  const [label, list] = first;
  if (!('items' in list)) return 'Signature-Input is no list of components';
  const bytes = signatures.get(label);
  if (bytes === undefined || 'items' in bytes || bytes.bare.type !== 'bytes') {
    return 'Signature has no bytes for the label of Signature-Input';
  }
  if (bytes.parameters.size > 0) return 'Signature has parameters';
  return parsedInput(list, bytes.bare.value);
}

function parsedInput(list: InnerList, signature: Buffer): SignatureInput | string {
  const components = new Set<string>();
  for (const item of list.items) {
    const name = componentOf(item);
    if (name === undefined || components.has(name)) return 'a component that is not known here';
    components.add(name);
  }
  const { parameters } = list;
  for (const [name, { type }] of parameters) {
    if (parameterTypes[name] !== type) return 'a parameter that is not known here';
  }
  return {
    components: [...components],
    created: integerOf(parameters.get('created')),
    expires: integerOf(parameters.get('expires')),
    nonce: stringOf(parameters.get('nonce')),
    keyId: stringOf(parameters.get('keyid')),
    algorithm: stringOf(parameters.get('alg')),
    parametersText: innerListText(list),
    signature,
  };
}

function componentOf({ bare, parameters }: Item): string | undefined {
  if (bare.type !== 'string' || parameters.size > 0) return undefined;
  return componentName.test(bare.value) ? bare.value : undefined;
}

function integerOf(item: BareItem | undefined): number | undefined {
  return item?.type === 'integer' ? item.value : undefined;
}

function stringOf(item: BareItem | undefined): string | undefined {
  return item?.type === 'string' ? item.value : undefined;
}

/** What a value of a component may be made of: a line of its own in the signature base. */
const visibleValue = /^[\t\x20-\x7e]*$/;

/**
 * Section 2.5: the text that is signed.
 *
 * @param valueOf of a component (sections 2.1 and 2.2); undefined = the message has none.
 * @returns undefined when a component is missing or cannot be one line of ASCII.
 */
export function signatureBase(
  { components, parametersText }: Pick<SignatureInput, 'components' | 'parametersText'>,
  valueOf: (component: string) => string | undefined,
): string | undefined {
  let base = '';
  for (const component of components) {
    const value = valueOf(component);
    if (value === undefined || !visibleValue.test(value)) return undefined;
    base += `"${component}": ${value}\n`;
  }
  return `${base}"@signature-params": ${parametersText}`;
}
