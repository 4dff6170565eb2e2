/** As much of it as tests use; the package has no types of its own. */
declare module 'oidc-provider' {
  import type { RequestListener } from 'node:http';

  export class Provider {
    constructor(issuer: string, configuration: Readonly<Record<string, unknown>>);
    callback(): RequestListener;
    /** `server_error` and the like, with the context and the error. */
    on(event: string, listener: (context: unknown, error: unknown) => void): void;
  }
}
