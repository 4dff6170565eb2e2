/**
 * No path issues without every mandatory check: whatever is wrong with an application, by whatever right it comes,
 * whichever evidence is gathered in which order, left out, doubled or taken from another application.
 */
import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { after, test } from 'node:test';
import { fc } from '../../common/base/property-test-support.ts';
import {
  authorityFor,
  dayMs,
  IssuanceBench,
  keyHash,
  newKey,
  StoppedClock,
  trustDomain,
} from '../../../test/harness/issuance.ts';
import { temporaryFolder } from '../../../test/harness/temporary-folder.ts';
import { errorCodeOf, SallyportError } from '../../common/base/errors.ts';
import type { ErrorCode } from '../../common/base/errors.ts';
import { principalName } from '../../common/base/principal.ts';
import { oids } from '../../common/codec/der/oids.ts';
import * as write from '../../common/codec/der/writer.ts';
import { distinguishedName } from '../ca/build-certificate.ts';
import { applicationOf } from './application.ts';
import type { Application } from './application.ts';
import { checkNames, clear, Clearance, Passed } from './clearance.ts';
import type { CheckName, Evidence } from './clearance.ts';
import type { Claim, Right } from './claim.ts';
import { writeCertificationRequest } from './write-request.ts';

const folder = temporaryFolder();
const start = process.cwd();
process.chdir(folder.path);
after(() => {
  process.chdir(start);
  folder[Symbol.dispose]();
});

const clock = new StoppedClock();
const authority = await authorityFor(clock);
const startMs = clock.wallMs;
const d1 = principalName('device', 'd1');
const other = principalName('device', 'other');
const rightsOfDevices = [
  'operator',
  'lab',
  'token',
  'approval',
  'manufacturer',
  'renewal',
] as const satisfies readonly Right[];

/** What can be wrong with a request. Each alone must be enough to refuse it. */
const requestFaults = {
  'another name': (parts) => ({ ...parts, commonName: 'd2' }),
  'a weak digest': (parts) => ({ ...parts, digest: 'sha1', algorithm: '1.2.840.10045.4.1' }),
  'a weak key': (parts) => ({ ...parts, key: weakKey }),
  'no proof of possession': (parts) => ({ ...parts, signer: strangerKey }),
  'a strange attribute': (parts) => ({
    ...parts,
    attributes: [...parts.attributes, attribute('1.2.3.4', write.utf8String('x'))],
  }),
  'asks to be a CA': (parts) => ({
    ...parts,
    attributes: [...parts.attributes, attribute(oids.extensionRequest, caExtension)],
  }),
} as const satisfies Readonly<Record<string, (parts: RequestParts) => RequestParts>>;

/** What can be wrong with the world. */
const worldFaults = {
  'the key of another device': (bench, key) => hold(bench, key),
  'not active': ({ registry }) => {
    if (registry.get(d1) === undefined) registry.enrol(d1, 'device', 'internal', dummy('d1'));
    registry.changeStanding(d1, 'suspend');
  },
  'another role': ({ registry }) => {
    if (registry.get(d1) === undefined) registry.enrol(d1, 'device', 'internal', dummy('d1'));
    registry.setRole(d1, 'backend');
  },
} as const satisfies Readonly<Record<string, (bench: IssuanceBench, key: KeyObject) => void>>;

type RequestFault = keyof typeof requestFaults;
type WorldFault = keyof typeof worldFaults;
const requestFaultNames = Object.keys(requestFaults) as RequestFault[]; // a frozen table: its keys are its names
const worldFaultNames = Object.keys(worldFaults) as WorldFault[]; // likewise

interface RequestParts {
  readonly commonName: string;
  readonly key: KeyObject;
  /** Who signs: the key's owner, or somebody else. */
  readonly signer: KeyObject | undefined;
  readonly digest: string;
  readonly algorithm: string;
  readonly attributes: readonly Buffer[];
}

const strangerKey = newKey();
const weakKey = generateKeyPairSync('ec', { namedCurve: 'P-192' }).privateKey;
const caExtension = write.sequence(
  write.sequence(
    write.oid(oids.basicConstraints),
    write.octetString(write.sequence(write.boolean(true))),
  ),
);

function attribute(type: string, value: Buffer): Buffer {
  return write.sequence(write.oid(type), write.setOf(value));
}

function requestWith(faults: readonly RequestFault[], key: KeyObject): Buffer {
  let parts: RequestParts = {
    commonName: 'd1',
    key,
    signer: undefined,
    digest: 'sha256',
    algorithm: oids.ecdsaWithSha256,
    attributes: [],
  };
  for (const fault of faults) parts = requestFaults[fault](parts);
  const info = write.sequence(
    write.unsignedInteger(0),
    distinguishedName([[oids.commonName, parts.commonName]]),
    createPublicKey(parts.key).export({ type: 'spki', format: 'der' }),
    write.element(0xa0, ...parts.attributes),
  );
  const signature = sign(parts.digest, info, parts.signer ?? parts.key);
  return write.sequence(
    info,
    write.sequence(write.oid(parts.algorithm)),
    write.bitString(signature),
  );
}

function dummy(serial: string, spkiSha256 = serial) {
  const der = Buffer.alloc(1);
  return { serial, spkiSha256, notBefore: 0, notAfter: startMs + dayMs, der };
}

function hold({ registry }: IssuanceBench, key: KeyObject): void {
  registry.enrol(other, 'device', 'internal', dummy('other', keyHash(key)));
}

/** A world in which this right is good for `device/d1`, and the claim. */
async function worldFor(
  right: Right,
): Promise<{ bench: IssuanceBench; claim: Claim; key: KeyObject }> {
  clock.wallMs = startMs;
  const bench = new IssuanceBench(authority, clock);
  const key = newKey();
  let certificate = Buffer.alloc(0);
  if (right === 'renewal') {
    const first = await bench.issue({ right: 'operator', name: d1, role: 'device' }, newKey());
    certificate = Buffer.from(first.certificate.der);
    clock.wallMs = startMs + 350 * dayMs;
  }
  return { bench, claim: bench.claims(key, certificate)[right], key };
}

test('what is issued had nothing wrong with it, and what is refused had', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...rightsOfDevices),
      fc.subarray(requestFaultNames, { maxLength: 2 }),
      fc.subarray(worldFaultNames, { maxLength: 1 }),
      fc.boolean(),
      async (right, inRequest, inWorld, isMeanwhile) => {
        const { bench, claim, key } = await worldFor(right);
        // A renewal keeps the role that the identity has, whichever that is.
        const faults = inWorld.filter(
          (fault) => !(right === 'renewal' && fault === 'another role'),
        );
        const change = (): void => faults.forEach((fault) => worldFaults[fault](bench, key));
        if (isMeanwhile) bench.whileSigning = change;
        else change();
        const before = bench.registry.certificatesOf(d1).length;
        const csr = requestWith(inRequest, key);
        const isSound = inRequest.length === 0 && faults.length === 0;
        const outcome = await bench.issue(claim, key, csr).then(
          () => 'issued',
          (thrown: unknown) => errorCodeOf(thrown),
        );
        assert.equal(
          outcome === 'issued',
          isSound,
          `${outcome}: ${[...inRequest, ...faults].join()}`,
        );
        assert.notEqual(outcome, 'internal');
        if (isSound) return;
        const registered = bench.registry
          .certificatesOf(d1)
          .slice(0, bench.registry.certificatesOf(d1).length - before);
        assert.ok(registered.every(({ serial }) => serial === 'd1'));
        assert.equal(bench.grant.used, 0);
        assert.equal(bench.recorded, right === 'renewal' ? 1 : 0);
        if (inRequest.length > 0) assert.equal(bench.signed, right === 'renewal' ? 1 : 0);
      },
    ),
    { numRuns: 200 },
  );
});

test('whatever happens in whichever order, each certificate was due when it was registered', async () => {
  const ids = ['a', 'b'].map((id) => principalName('device', id));
  const keys = [newKey(), newKey(), newKey()];
  const step = fc.record({
    what: fc.constantFrom('operator', 'token', 'suspend', 'resume', 'revoke', 'reinstate'),
    id: fc.nat(ids.length - 1),
    key: fc.nat(keys.length - 1),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.scheduler(),
      fc.array(step, { minLength: 1, maxLength: 12 }),
      fc.nat(3),
      async (scheduler, steps, uses) => {
        clock.wallMs = startMs;
        const bench = new IssuanceBench(authority, clock);
        const { grant, registry, database } = bench;
        grant.left = uses;
        bench.whileSigning = () => scheduler.schedule(Promise.resolve());
        let issued = 0;
        let byToken = 0;
        const run = async ({ what, id, key }: (typeof steps)[number]): Promise<void> => {
          await scheduler.schedule(Promise.resolve());
          const name = ids[id] ?? d1;
          if (what !== 'operator' && what !== 'token') {
            registry.changeStanding(name, what);
            return;
          }
          const claim: Claim =
            what === 'operator'
              ? { right: 'operator', name, role: 'device' }
              : { right: 'token', name, role: 'device', named: true, grant };
          const csr = writeCertificationRequest(name, keys[key] ?? strangerKey);
          await bench.issuance.issue(claim, csr, () => {
            const standing = registry.get(name)?.standing;
            assert.equal(standing ?? 'active', 'active');
          });
          issued += 1;
          if (what === 'token') byToken += 1;
        };
        const outcomes = Promise.all(steps.map((each) => run(each).then(() => 'done', codeOf)));
        await scheduler.waitFor(outcomes);
        assert.ok((await outcomes).every((code) => code !== 'internal'));
        assert.equal(grant.used, byToken);
        assert.ok(byToken <= uses);
        assert.equal(ids.flatMap((name) => registry.certificatesOf(name)).length, issued);
        const shared = database
          .prepare(
            `SELECT spki_sha256 FROM certificates
              GROUP BY spki_sha256 HAVING count(DISTINCT principal) > 1`,
          )
          .all();
        assert.deepEqual(shared, []);
      },
    ),
    { numRuns: 200 },
  );
});

/** An assertion that fails is no refusal. */
function codeOf(thrown: unknown): ErrorCode {
  if (thrown instanceof assert.AssertionError) throw thrown;
  return errorCodeOf(thrown);
}

test('a clearance takes the evidence of every check, for this application and no other', async () => {
  const { bench, claim, key } = await worldFor('token');
  const world = worldOf(bench);
  const mine = applicationOf(claim, requestWith([], key), bench.registry);
  const theirs = applicationOf(claim, requestWith([], key), bench.registry);
  const passed = (check: CheckName, application: Application): unknown =>
    Passed.byChecking(check, application, world);
  const forgery = fc.constantFrom('missing', 'theirs', 'of another check', 'forged', 'inherited');
  fc.assert(
    fc.property(
      fc.shuffledSubarray([...checkNames], { minLength: checkNames.length }),
      fc.dictionary(fc.constantFrom(...checkNames), forgery),
      (order, forgeries) => {
        const evidence: Record<string, unknown> = {};
        for (const check of order) {
          const kind = Object.hasOwn(forgeries, check) ? forgeries[check] : undefined;
          const next = checkNames[(checkNames.indexOf(check) + 1) % checkNames.length] ?? check;
          if (kind === 'theirs') evidence[check] = passed(check, theirs);
          else if (kind === 'of another check') evidence[check] = passed(next, mine);
          else if (kind === 'forged') evidence[check] = Object.create(Passed.prototype);
          else if (kind === 'inherited')
            Object.setPrototypeOf(evidence, { [check]: passed(check, mine) });
          else if (kind === undefined) evidence[check] = passed(check, mine);
        }
        // What the types forbid: nobody can write it without a cast.
        const make = (): Clearance => Clearance.of(mine, evidence as unknown as Evidence);
        if (Object.keys(forgeries).length === 0) assert.equal(make().application, mine);
        else assert.throws(make, { code: 'internal' });
      },
    ),
    { numRuns: 300 },
  );
});

test('leaving a check out is an error of types', () => {
  const evidence = clear as unknown as Evidence;
  const { right, ...rest } = evidence;
  assert.equal(right, undefined);
  const make = (application: Application): Clearance =>
    // @ts-expect-error: `right` is missing
    Clearance.of(application, rest);
  const swap = (application: Application): Clearance =>
    // @ts-expect-error: the evidence of one check is not that of another
    Clearance.of(application, { ...evidence, subject: evidence.identity });
  assert.throws(() => make({} as Application), SallyportError);
  assert.throws(() => swap({} as Application), SallyportError);
});

test('a check that fails gives no evidence, in whichever order they are run', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...requestFaultNames),
      fc.shuffledSubarray([...checkNames], { minLength: checkNames.length }),
      async (fault, order) => {
        const { bench, claim, key } = await worldFor('operator');
        const application = applicationOf(claim, requestWith([fault], key), bench.registry);
        const failed = order.filter((check) => {
          try {
            Passed.byChecking(check, application, worldOf(bench));
            return false;
          } catch (thrown) {
            assert.equal(errorCodeOf(thrown), 'invalid-csr');
            return true;
          }
        });
        assert.ok(failed.length > 0, fault);
      },
    ),
    { numRuns: 60 },
  );
});

function worldOf({ registry, renewal }: IssuanceBench) {
  return { authority, registry, trustDomain, clock, renewal: () => renewal };
}
