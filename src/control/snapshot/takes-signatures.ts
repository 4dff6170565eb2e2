/** Whether anything is configured that takes a signature by a public key: otherwise workers need no keys of certificates. */
import type { Config } from '../../common/config/config.ts';
import type { RouteDocument } from '../../common/config/policy-document.ts';

export function takesSignatures({ listeners, routes, proxied }: Config): boolean {
  const { httpsSigned, mqttsSigned } = listeners;
  if (httpsSigned !== false || mqttsSigned !== false) return true;
  return routes.some(takesThem) || proxied.some(takesThem);
}

function takesThem({
  authenticate,
  integrity,
}: Pick<RouteDocument, 'authenticate' | 'integrity'>): boolean {
  // The other forms of a signature are HMAC.
  return (
    authenticate.includes('device-jwt') || integrity?.accept.includes('http-signature') === true
  );
}
