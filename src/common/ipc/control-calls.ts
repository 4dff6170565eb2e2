/**
 * What a worker asks of control on behalf of somebody in the network: certificates, and what is known of them. Binary is
 * base64. Control takes every field for a claim; a worker checks what it is answered before it hands it on.
 */
export type ControlCall = EstCall | OcspCall | CrlCall | TokenCall | IssuerKeysCall;

/** A request of EST (RFC 7030), answered with `EstAnswer`. The worker has terminated TLS and HTTP and decides nothing. */
export interface EstCall {
  readonly what: 'est';
  /** The last segment of the path: `simpleenroll`, … */
  readonly operation: string;
  /** The arbitrary label of RFC 7030 section 3.2.2; undefined = none. */
  readonly label: string | undefined;
  readonly method: string;
  /** Where it came from: limits and the audit log go by it. */
  readonly address: string;
  /** DER of the client's certificate, whose key the handshake has proven; whether it is good is control's to say. */
  readonly certificate: string | undefined;
  /** The header fields as they came. */
  readonly authorization: string | undefined;
  readonly contentType: string | undefined;
  readonly body: string | undefined;
}

export interface EstAnswer {
  /** HTTP status. */
  readonly status: number;
  /** Names in lower case, none of them of the connection. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** One OCSPRequest (RFC 6960), answered with `OcspAnswer`. */
export interface OcspCall {
  readonly what: 'ocsp';
  readonly request: string;
}

export interface OcspAnswer {
  /** DER OCSPResponse. */
  readonly der: string;
  /** Milliseconds: until then the same request gets the same answer; undefined = it is for this one request. */
  readonly cacheUntil: number | undefined;
  /** `<anchor>:<serial>` of what it speaks of: when one of these is revoked, it is void. */
  readonly certificates: readonly string[];
}

/** The CRL of an issuer, answered with `CrlAnswer`. */
export interface CrlCall {
  readonly what: 'crl';
  /** Key identifier of the issuing CA, hex; undefined = the one that issues now. */
  readonly issuer: string | undefined;
  readonly delta: boolean;
  /** The number that the worker has. */
  readonly have: number | undefined;
}

export interface CrlAnswer {
  /** DER CertificateList; undefined when the worker has the current one. */
  readonly der: string | undefined;
  readonly number: number;
  /** Milliseconds. */
  readonly nextUpdate: number;
}

/**
 * A request to the token endpoint (RFC 6749 section 4.4), answered with `TokenAnswer`. Those without a certificate are
 * another call, of which there may be fewer: strangers must not use up what services need.
 */
export interface TokenCall {
  readonly what: 'token' | 'stranger-token';
  /** Where it came from, for the log. */
  readonly address: string;
  /** DER of the client's certificate, whose key the handshake has proven; undefined = none. */
  readonly certificate: string | undefined;
  /** The scheme of an Authorization header field, if there was one: no client authenticates by it here. */
  readonly scheme: string | undefined;
  /** What the form says, each name once. */
  readonly parameters: Readonly<Record<string, string>>;
}

export interface TokenAnswer {
  /** HTTP status. */
  readonly status: number;
  /** Names in lower case, none of them of the connection. */
  readonly headers: Readonly<Record<string, string>>;
  /** JSON. */
  readonly body: string;
}

/**
 * A token names a key of a configured issuer that the worker does not have: the keys are fetched, unless they were a moment
 * ago. Answered with `IssuerKeysAnswer`, after the keys, if they are others, have gone to the workers.
 */
export interface IssuerKeysCall {
  readonly what: 'issuer-keys';
  /** `TokenIssuer.name`. */
  readonly issuer: string;
}

export interface IssuerKeysAnswer {
  /** Whether it is worth looking again. */
  readonly fetched: boolean;
}
