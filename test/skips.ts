import type { Reporter, TestCase, TestModule } from "vitest/node";

/** A kind of test that a run of CI may leave out, and why. */
interface ExpectedSkip {
  /** Path of the file from the repository's root. */
  readonly file: RegExp;
  readonly name: RegExp;
  readonly reason: string;
}

const long = "takes long: KMEND_LONG_TESTS=1 runs it";

const expectedSkips: readonly ExpectedSkip[] = [
  ...[
    "fresh-machine",
    "host-boot",
    "host-kills",
    "host-reboots",
    "host-rounds",
    "ksplice-more",
    "ksplice-own-kernel",
    "node-versions",
    "other-suite",
    "own-kernel",
    "package-vm",
    "ansible",
    "cold-cache",
    "real-time",
    "repository-kill",
    "stop-kcfi",
    "stop-random",
    "stop-reboot",
    "system-map",
    "ubuntu",
  ].map((name) => ({ file: new RegExp(`^test/integration/${name}\\.test\\.ts$`), name: /./, reason: long })),
  { file: /integration\/stop\.test\.ts$/, name: /other kernels/, reason: long },
  { file: /own-packages\.test\.ts$/, name: /the same sources give the same packages|lintian/, reason: long },
  {
    file: /source-tree\.test\.ts$/,
    name: /a spec for its kernel is built where the tree is|with another configuration|as a git repository/,
    reason: long,
  },
  { file: /integration\/report\.test\.ts$/, name: /about 300 functions/, reason: long },
  { file: /bad-input\.test\.ts$/, name: /^no space left/, reason: "a sandbox may forbid to mount" },
  { file: /architectures\.test\.ts$/, name: /loongarch64|ppc64\b/, reason: "the archive has no such compiler" },
  {
    file: /architectures\.test\.ts$/,
    name: /the extract is the one that was looked at/,
    reason: "the archive has another version of the compiler than the one whose output was looked at",
  },
];

/**
 * Fails a run whose tests were left out for another reason than {@link expectedSkips}: a program that went missing, or a kernel that is no longer offered,
 * must not turn tests off without a word. `.ci/run` asks for it with KMEND_CI=1.
 */
export default class UnexpectedSkips implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const unexpected = modules.flatMap((module) => [...module.children.allTests("skipped")].filter(isUnexpected));
    if (unexpected.length === 0) return;
    console.error(`\n${unexpected.length} tests were left out that must not be (test/skips.ts lists those that may):`);
    for (const test of unexpected) console.error(`  ${test.module.relativeModuleId}: ${test.fullName}`);
    process.exitCode = 1;
  }
}

function isUnexpected(test: TestCase): boolean {
  return !expectedSkips.some(({ file, name }) => file.test(test.module.relativeModuleId) && name.test(test.fullName));
}
