/**
 * What a sensor in a room might measure: values that wander from where they last were, pulled back to what is usual
 * there, with a battery that runs down.
 */
import type { RandomSource } from './random.ts';

export interface Reading {
  /** Degrees Celsius. */
  readonly temperature: number;
  /** Per cent, relative. */
  readonly humidity: number;
  /** Per cent of its charge. */
  readonly battery: number;
  /** 1 for the first reading of this run; a gap is a reading that was lost. */
  readonly seq: number;
}

interface Quantity {
  readonly usual: number;
  readonly least: number;
  readonly most: number;
  /** The largest change from one reading to the next. */
  readonly step: number;
}

const temperature: Quantity = { usual: 22, least: -20, most: 60, step: 0.3 };
const humidity: Quantity = { usual: 45, least: 5, most: 95, step: 0.8 };
/** Of the distance to what is usual, per reading. */
const pull = 0.02;
const batteryPerReading = 0.002;

export class Sensor {
  readonly #random: RandomSource;
  #temperature: number;
  #humidity: number;
  #battery: number;
  #seq = 0;

  constructor(random: RandomSource) {
    this.#random = random;
    this.#temperature = temperature.usual + 8 * (random() - 0.5);
    this.#humidity = humidity.usual + 20 * (random() - 0.5);
    this.#battery = 60 + 40 * random();
  }

  next(): Reading {
    this.#temperature = this.#wander(temperature, this.#temperature);
    this.#humidity = this.#wander(humidity, this.#humidity);
    this.#battery = Math.max(0, this.#battery - batteryPerReading * this.#random());
    this.#seq += 1;
    return {
      temperature: tenths(this.#temperature),
      humidity: tenths(this.#humidity),
      battery: tenths(this.#battery),
      seq: this.#seq,
    };
  }

  #wander({ usual, least, most, step }: Quantity, value: number): number {
    const change = step * (2 * this.#random() - 1) + pull * (usual - value);
    return Math.min(most, Math.max(least, value + Math.min(step, Math.max(-step, change))));
  }
}

function tenths(value: number): number {
  return Math.round(value * 10) / 10;
}
