import type { Application } from './application.ts';
import type { IssuanceWorld } from './issuance-world.ts';

/** Standing, role, anchor, and whether another identity has ever held this key. @throws as `Registry.assertEnrollable`. */
export function checkIdentity(
  { name, role, spkiSha256 }: Application,
  { registry, authority }: IssuanceWorld,
): void {
  registry.assertEnrollable(name, role, authority.anchor.name, spkiSha256);
}
