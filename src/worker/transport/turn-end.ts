/**
 * What is to be written at the end of this turn of the event loop, of all connections in one go: their peers are woken
 * together instead of one by one, and what one connection has said meanwhile is one write. Measured in turn with the same
 * without it, a proxied request takes 11 to 24 % less CPU, and one that is accepted up to 25 % (https-proxied, https-accept).
 */

export interface Departing {
  /** MUST NOT throw: others wait behind it. */
  depart(): void;
}

let waiting: Departing[] = [];

/** Has `depart` called once, when everything that has arrived by now has been looked at. */
export function departAtTurnEnd(departing: Departing): void {
  if (waiting.push(departing) === 1) setImmediate(departAll);
}

function departAll(): void {
  const departing = waiting;
  waiting = [];
  for (const each of departing) each.depart();
}
