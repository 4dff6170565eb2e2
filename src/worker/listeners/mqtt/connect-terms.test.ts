import assert from 'node:assert/strict';
import { test } from 'node:test';
import { noProperties } from '../../../common/codec/mqtt/packets.ts';
import type { Connect } from '../../../common/codec/mqtt/packets.ts';
import { documentOf } from '../../policy/test-support.ts';
import { connackFor, termsFor } from './connect-terms.ts';

const { limits } = documentOf(
  'limits: { sessionExpiry: 1h, keepAlive: 600s, topicAliases: 4, receiveMaximum: 9, packetBytes: 300KiB }',
);
const given = { clientId: 'c', responseInformation: 'devices/d1/commands' };

function connect(more: Partial<Connect> = {}): Connect {
  return {
    type: 'connect',
    version: 5,
    cleanStart: true,
    keepAlive: 60,
    clientId: 'c',
    will: undefined,
    userName: undefined,
    password: undefined,
    properties: noProperties,
    ...more,
  };
}

function said(packet: Connect, random = 0.5): object {
  const terms = termsFor(packet, limits, given, () => random);
  return connackFor(packet, terms, false).properties;
}

const always = { receiveMaximum: 9, maximumPacketSize: 300 * 1_024, topicAliasMaximum: 4 };

test('what is as the client asked, or as the standard has it, is not said', () => {
  assert.deepEqual(said(connect()), always);
  assert.deepEqual(said(connect({ properties: { sessionExpiryInterval: 3_600 } })), always);
  assert.deepEqual(said(connect({ properties: { sessionExpiryInterval: 0 } })), always);
});

test('a session lives as long as it was asked for, and no longer than the limit', () => {
  for (const [asked, granted] of [
    [undefined, 0],
    [0, 0],
    [1, 1],
    [3_600, 3_600],
    [3_601, 3_600],
    [0xff_ff_ff_ff, 3_600],
  ] as const) {
    const packet = connect({
      properties: asked === undefined ? noProperties : { sessionExpiryInterval: asked },
    });
    assert.equal(termsFor(packet, limits, given).sessionExpirySeconds, granted);
    const told = (asked ?? 0) === granted ? always : { ...always, sessionExpiryInterval: granted };
    assert.deepEqual(said(packet), told);
  }
});

test('MQTT 3.1.1 has no number for it: without a clean session it is the limit', () => {
  for (const [cleanStart, granted] of [
    [true, 0],
    [false, 3_600],
  ] as const) {
    const terms = termsFor(connect({ version: 4, cleanStart }), limits, given);
    assert.equal(terms.sessionExpirySeconds, granted);
    assert.deepEqual(
      connackFor(connect({ version: 4, cleanStart }), terms, true).properties,
      noProperties,
    );
  }
});

test('a keep alive within the limit is kept; any other is set, and no two clients alike [MQTT-3.2.2-22]', () => {
  for (const keepAlive of [1, 600]) assert.deepEqual(said(connect({ keepAlive })), always);
  for (const keepAlive of [0, 601, 65_535]) {
    for (const [random, seconds] of [
      [0, 600],
      [0.5, 540],
      [1, 480],
    ] as const) {
      const serverKeepAlive = { ...always, serverKeepAlive: seconds };
      assert.deepEqual(said(connect({ keepAlive }), random), serverKeepAlive);
      assert.equal(
        termsFor(connect({ keepAlive }), limits, given, () => random).keepAliveSeconds,
        seconds,
      );
    }
  }
  const shortest = { ...limits, keepAliveSeconds: 1 };
  assert.equal(termsFor(connect({ keepAlive: 0 }), shortest, given, () => 1).keepAliveSeconds, 1);
});

test('MQTT 3.1.1 cannot be told a keep alive, and keeps its own', () => {
  for (const keepAlive of [0, 1, 65_535]) {
    const terms = termsFor(connect({ version: 4, keepAlive }), limits, given);
    assert.equal(terms.keepAliveSeconds, keepAlive);
  }
});

test('response information is for those who ask [MQTT-3.1.2-28]', () => {
  const { responseInformation } = given;
  for (const [asks, expected] of [
    [true, { ...always, responseInformation }],
    [false, always],
  ] as const) {
    assert.deepEqual(said(connect({ properties: { requestResponseInformation: asks } })), expected);
  }
});

test('a client without an id is told the one that it was given [MQTT-3.1.3-6]', () => {
  assert.deepEqual(said(connect({ clientId: '' })), { ...always, assignedClientIdentifier: 'c' });
});

test('no aliases are offered by leaving them out', () => {
  const terms = termsFor(connect(), { ...limits, topicAliases: 0 }, given);
  const { topicAliasMaximum: _, ...rest } = always;
  assert.deepEqual(connackFor(connect(), terms, false).properties, rest);
});

test('session present is as it is, in either version', () => {
  for (const present of [true, false]) {
    for (const version of [4, 5] as const) {
      const packet = connect({ version });
      const terms = termsFor(packet, limits, given);
      assert.equal(connackFor(packet, terms, present).sessionPresent, present);
    }
  }
});
