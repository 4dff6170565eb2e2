/** What workers tell strangers of the gateway: kept current, and sent to them when it has changed. */
import { messageOf } from '../common/base/errors.ts';
import type { Logger } from '../common/base/logger.ts';
import type { SnapshotChange, Staple, StatusMaterial } from '../common/ipc/snapshot.ts';
import type { TimeKey } from './ca/time-key.ts';

export interface StatusMaterialsParts {
  readonly time: Pick<TimeKey, 'credentials' | 'renew'>;
  readonly publish: (changes: readonly SnapshotChange[]) => Promise<unknown>;
  readonly logger: Pick<Logger, 'error'>;
}

export class StatusMaterials {
  readonly #parts: StatusMaterialsParts;
  #staples: readonly Staple[] = [];

  constructor(parts: StatusMaterialsParts) {
    this.#parts = parts;
  }

  get current(): StatusMaterial {
    return { time: this.#parts.time.credentials, staples: this.#staples };
  }

  /** Before the first snapshot. Never rejects: without a key no time is signed, and it is tried again. */
  async prepare(): Promise<void> {
    await this.#renewed();
  }

  /** To be called again and again, and when another CA issues. Never rejects. */
  async check(): Promise<void> {
    if (await this.#renewed()) this.#publish();
  }

  /** All that there are, instead of those before. */
  setStaples(staples: readonly Staple[]): void {
    this.#staples = staples;
    this.#publish();
  }

  async #renewed(): Promise<boolean> {
    try {
      return await this.#parts.time.renew();
    } catch (error) {
      const fields = { err: messageOf(error) };
      this.#parts.logger.error(fields, 'the key that signs the time is not renewed');
      return false;
    }
  }

  #publish(): void {
    const { publish, logger } = this.#parts;
    publish([{ type: 'status', status: this.current }]).catch((error: unknown) =>
      logger.error({ err: messageOf(error) }, 'workers not told of new staples or time keys'),
    );
  }
}
