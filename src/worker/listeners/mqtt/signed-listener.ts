/** MQTT for devices that have no client certificate: who they are is in CONNECT. */
import type { SecureConnection } from '../../transport/secure-connection.ts';
import type { SignedPlace, SignedPlaces } from '../signed-places.ts';
import { MqttListener } from './listener.ts';
import type { ListenerPorts } from './listener.ts';

export class SignedMqttListener extends MqttListener {
  readonly #places: SignedPlaces;
  readonly #held: WeakMap<SecureConnection, SignedPlace>;
  readonly #count: (name: string) => void;

  constructor(ports: ListenerPorts, places: SignedPlaces) {
    const held = new WeakMap<SecureConnection, SignedPlace>();
    super({
      ...ports,
      identify: async (connection, shown) => {
        const found = await ports.identify(connection, shown);
        if (found.ok) held.get(connection)?.proven();
        return found;
      },
    });
    this.#places = places;
    this.#held = held;
    this.#count = ports.count;
  }

  override accept(transport: SecureConnection): void {
    const place = this.#places.take(transport.remoteAddress, () => transport.destroy());
    if (place === undefined) {
      this.#count('refused{code="busy"}');
      transport.destroy();
      return;
    }
    this.#held.set(transport, place);
    super.accept(transport);
    const { onClose } = transport;
    transport.onClose = () => {
      place.leave();
      onClose();
    };
  }
}
