import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { benchPackages, provideSystemPackages } from '../../scripts/system-packages.ts';

/** A machine with everything but `missing`; `apt-get install` brings what `arrives`. */
function machine(options: {
  readonly missing: readonly string[];
  readonly isRoot: boolean;
  readonly arrives?: readonly string[];
  readonly aptFails?: boolean;
}) {
  const missing = new Set(options.missing);
  const commands: string[] = [];
  return {
    commands,
    isRoot: options.isRoot,
    isInstalled: (program: string) => !missing.has(program),
    run(program: string, args: readonly string[]): string | undefined {
      commands.push([program, ...args].join(' '));
      if (options.aptFails === true) return '';
      if (args.includes('install')) for (const each of options.arrives ?? []) missing.delete(each);
      return undefined;
    },
  };
}

describe('system packages', () => {
  test('nothing is run when every program is there', () => {
    const host = machine({ missing: [], isRoot: true });
    assert.equal(provideSystemPackages(host), undefined);
    assert.deepEqual(host.commands, []);
  });

  test('root installs exactly what is missing and leaves no broker running', () => {
    const programs = ['mosquitto', 'mosquitto_pub'];
    const host = machine({ missing: programs, arrives: programs, isRoot: true });
    assert.equal(provideSystemPackages(host), undefined);
    assert.deepEqual(host.commands, [
      'apt-get -q update',
      'apt-get -q install -y --no-install-recommends mosquitto mosquitto-clients',
      'systemctl disable --now mosquitto.service',
    ]);
  });

  test('the benchmarks have a list of their own, and leave no server running either', () => {
    const cjson = benchPackages.find(({ name }) => name === 'lua-cjson')?.program ?? '';
    const host = machine({ missing: ['nginx', cjson], arrives: ['nginx', cjson], isRoot: true });
    assert.equal(provideSystemPackages(host, benchPackages), undefined);
    assert.deepEqual(host.commands, [
      'apt-get -q update',
      'apt-get -q install -y --no-install-recommends nginx-light lua-cjson',
      'systemctl disable --now nginx.service',
    ]);
  });

  test('a broker that was there before stays as it is', () => {
    const host = machine({ missing: ['ps'], arrives: ['ps'], isRoot: true });
    assert.equal(provideSystemPackages(host), undefined);
    assert.ok(!host.commands.some((command) => command.startsWith('systemctl')));
  });

  test('another user is told what to install', () => {
    const host = machine({ missing: ['faketime', 'ip'], isRoot: false });
    assert.match(
      provideSystemPackages(host) ?? '',
      /missing: .*apt-get install .*faketime iproute2"$/,
    );
    assert.deepEqual(host.commands, []);
  });

  test('so is root where there is no apt', () => {
    const host = machine({ missing: ['curl', 'apt-get'], isRoot: true });
    assert.match(provideSystemPackages(host) ?? '', /missing: .*curl"$/);
  });

  test('an installation that fails, or that does not bring the program, is a failure', () => {
    const failing = machine({ missing: ['curl'], isRoot: true, aptFails: true });
    assert.match(provideSystemPackages(failing) ?? '', /"apt-get update" failed/);
    const useless = machine({ missing: ['curl'], isRoot: true });
    assert.match(provideSystemPackages(useless) ?? '', /still not found: curl$/);
  });
});
