/** The worker's place among the workers: the mesh and what speaks over it, fitted together. */
import type { Clock } from '../../common/base/clock.ts';
import type { Logger } from '../../common/base/logger.ts';
import type { Member } from '../../common/ipc/messages.ts';
import { MeshCrossing } from './crossing.ts';
import { IdentityConduct } from './identity-conduct.ts';
import type { ConductOptions } from './identity-conduct.ts';
import { IdentityDesk } from './identity-desk.ts';
import { IdentityHome } from './identity-home.ts';
import { Mesh } from './mesh.ts';
import type { Peers } from './ports.ts';

const sweepEveryMs = 1_000;

export interface PeeringOptions {
  readonly slot: number;
  readonly generation: number;
  /** 32 bytes: `WorkerKeys.peers`. */
  readonly key: Buffer;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Today's `limits.sessionsPerIdentity`. */
  readonly sessionsPerIdentity: () => number;
  readonly rules: ConductOptions['rules'];
  readonly onClone: ConductOptions['onClone'];
  /** Where the sockets are; relative to the working directory, which it is by default. */
  readonly directory?: string;
}

export class Peering {
  readonly crossing: MeshCrossing;
  readonly desk: IdentityDesk;
  readonly home: IdentityHome;
  readonly #mesh: Mesh;
  #sweeper: NodeJS.Timeout | undefined;

  constructor(options: PeeringOptions) {
    this.#mesh = new Mesh(options);
    this.crossing = new MeshCrossing(this.#mesh);
    const { clock, sessionsPerIdentity, rules, onClone } = options;
    const conduct = new IdentityConduct({ clock, rules, onClone });
    this.home = new IdentityHome({ peers: this.#mesh, clock, sessionsPerIdentity, conduct });
    this.desk = new IdentityDesk({ peers: this.#mesh, clock });
  }

  /** For what else the workers have to tell each other. */
  get peers(): Peers {
    return this.#mesh;
  }

  /** Listens for the other workers. Resolves when they can connect. @throws SallyportError `io` */
  async start(): Promise<void> {
    await this.#mesh.start();
    this.#sweeper = setInterval(() => this.home.sweep(), sweepEveryMs).unref();
  }

  /**
   * The live workers, this one among them unless it drains.
   *
   * @param change the number of this announcement, the same for every worker. Without it, workers that see a member
   * come and go at different moments may, for these moments, both think themselves home to an identity.
   */
  setMembers(members: readonly Member[], change = 0): void {
    this.#mesh.setMembers(members, change);
  }

  /** Nothing is sent or answered any more; open claims fail. */
  async close(): Promise<void> {
    clearInterval(this.#sweeper);
    this.desk.close();
    this.home.close();
    await this.#mesh.close();
  }
}
