import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readyBanner } from './banner.ts';

const listeners = {
  mqtts: { host: '0.0.0.0', port: 8883 },
  admin: { host: '::1', port: 9443 },
};
const plain = { dataDir: './data', listeners, operatorToken: undefined, configPath: undefined };

function commands(banner: string): string[] {
  return banner.split('\n').filter((line) => /^ {2}(\.\/bin\/sallyport|mosquitto_)/.test(line));
}

test('the commands can be pasted as they are', () => {
  assert.deepEqual(commands(readyBanner(plain)), [
    '  ./bin/sallyport device create d1 --out lab && ./bin/sallyport service create be --role backend --out lab',
    "  mosquitto_sub -h localhost -p 8883 --cafile lab/ca.crt --cert lab/be.crt --key lab/be.key -t 'devices/+/telemetry' -v &",
    `  mosquitto_pub -h localhost -p 8883 --cafile lab/ca.crt --cert lab/d1.crt --key lab/d1.key -t devices/d1/telemetry -q 1 -m '{"temperature":22.5}'`,
  ]);
});

test('another data directory is named, quoted for the shell', () => {
  const [first] = commands(readyBanner({ ...plain, dataDir: "/srv/it's here" }));
  assert.ok(
    first?.startsWith(
      `  ./bin/sallyport device create d1 --out lab --data '/srv/it'\\''s here' && `,
    ),
  );
  assert.match(
    readyBanner({ ...plain, dataDir: '/srv/gateway' }),
    /--out lab --data \/srv\/gateway$/m,
  );
});

test('listeners are shown as they are bound', () => {
  const banner = readyBanner({
    ...plain,
    listeners: { ...listeners, mqtts: { host: '10.0.0.1', port: 45_123 } },
  });
  assert.match(banner, /^ {2}mqtts {4}10\.0\.0\.1:45123$/m);
  assert.match(banner, /^ {2}admin {4}\[::1\]:9443$/m);
  assert.match(banner, /-h 10\.0\.0\.1 -p 45123 /);
});

test('the operator enrolment is shown when there is one', () => {
  assert.doesNotMatch(readyBanner(plain), /operator enrolment/);
  assert.match(
    readyBanner({ ...plain, operatorToken: 'abc' }),
    /^One-time operator enrolment.*: abc$/m,
  );
});
