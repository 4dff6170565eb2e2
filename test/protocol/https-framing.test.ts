/**
 * One connection, any bytes: a request that two readers might read differently is refused, the connection ends with it,
 * and what stands behind it is never served. A subscriber counts what was published.
 */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { problemCode } from '../harness/https-answer.ts';
import { HttpsDevice } from '../harness/https-device.ts';
import { RawHttps } from '../harness/https-raw.ts';
import { sharedGateway } from '../harness/shared-gateway.ts';
import { framingRows, hidden, next } from './https-requests/framing.ts';
import type { Row } from './https-requests/framing.ts';
import { headRows } from './https-requests/heads.ts';

const config = 'limits: { identityRates: { device: [] } }\nroutes: { telemetry: { rate: [] } }';
const { gateway, connect } = await sharedGateway({ config });
const port = gateway.httpsPort;
const d1 = await gateway.device('d1');
const be = await gateway.service('be', 'backend');
const subscriber = await connect(be);
assert.deepEqual(await subscriber.subscribe('devices/+/telemetry'), [1]);
const fencing = HttpsDevice.of(gateway, d1);
after(() => fencing[Symbol.dispose]());
const published: string[] = [];
let fences = 0;

/** Everything that was published since the last call, and before a reading over another connection. */
async function publishedSince(): Promise<readonly string[]> {
  fences += 1;
  const fence = `"fence ${fences}"`;
  assert.equal((await fencing.post('telemetry', fence)).status, 202);
  await subscriber.message(({ payload }) => payload === fence);
  const fresh = subscriber.messages.slice(published.length).map(({ payload }) => payload);
  published.push(...fresh);
  assert.equal(fresh.pop(), fence);
  return fresh;
}

async function assertRow({ bytes, answers, published: expected }: Row): Promise<void> {
  using raw = await RawHttps.open({ port, identity: d1 });
  raw.send(bytes);
  let closes = false;
  for (const status of answers) {
    const answer = await raw.answer();
    assert.equal(answer.status, status, answer.body.toString());
    if (status >= 400) assert.ok(problemCode(answer) !== undefined);
    closes = answer.headers.get('connection') === 'close';
  }
  assert.equal(closes, !bytes.endsWith(next));
  if (closes) assert.deepEqual(await raw.answersUntilClose(), []);
  const fresh = await publishedSince();
  assert.deepEqual(fresh, expected);
  assert.ok(!fresh.includes(hidden));
}

for (const row of [...framingRows, ...headRows]) {
  test(`${row.answers.join(', ')}: ${row.what}`, () => assertRow(row));
}
