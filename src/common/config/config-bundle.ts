/**
 * The operator's configuration as it was read: the text and every file it refers to. The supervisor (or the CLI) reads
 * it, control parses it; so control needs no access to the operator's folders.
 */
export interface ConfigBundle {
  /** Absolute path, or undefined for the embedded defaults. */
  readonly configPath: string | undefined;
  /** Empty with the embedded defaults. */
  readonly configText: string;
  /** Path as written in the configuration → contents. */
  readonly files: Readonly<Record<string, string>>;
  /**
   * Where the configuration names a secret that workers need (`routes.telemetry.to.0.key`) → the secret. In memory
   * only. Not there when the configuration is read only to be checked.
   */
  readonly secrets?: Readonly<Record<string, string>>;
}
