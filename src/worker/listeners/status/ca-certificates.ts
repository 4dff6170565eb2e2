/** The certificates of our own CAs, for whoever builds a chain: they are in the snapshot, as trust anchors of devices. */
import { hash } from 'node:crypto';
import { decodePem, encodePem } from '../../../common/codec/der/pem.ts';
import { parseCertificate } from '../../../common/identity/certificate.ts';
import type { TlsMaterial } from '../../../common/ipc/snapshot.ts';

export interface Published {
  readonly body: Buffer;
  readonly etag: string;
}

export class CaCertificates {
  /** Key identifier, in hex → DER. */
  #byId: ReadonlyMap<string, Published> = new Map();
  #all: Published = published(Buffer.alloc(0));

  /** PEM of all of them: roots, and CAs that issue or have issued what still lives. */
  get all(): Published {
    return this.#all;
  }

  get ids(): ReadonlySet<string> {
    return new Set(this.#byId.keys());
  }

  update({ anchors }: Pick<TlsMaterial, 'anchors'>): void {
    const byId = new Map<string, Published>();
    const pem: string[] = [];
    for (const { name, certificates } of anchors) {
      if (name !== 'internal') continue;
      for (const der of certificates.flatMap((text) => decodePem('CERTIFICATE', text))) {
        pem.push(encodePem('CERTIFICATE', der));
        const { subjectKeyId } = parseCertificate(der);
        // A root that another one has signed as well has two certificates: the one of its own is first.
        if (subjectKeyId !== undefined && !byId.has(subjectKeyId))
          byId.set(subjectKeyId, published(der));
      }
    }
    this.#byId = byId;
    this.#all = published(Buffer.from(pem.join('')));
  }

  get(id: string): Published | undefined {
    return this.#byId.get(id);
  }
}

function published(body: Buffer): Published {
  return { body, etag: `"${hash('sha256', body, 'hex').slice(0, 32)}"` };
}
