import { copyFile, mkdtemp, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import type { BuildResult } from "../../build/build-types.ts";
import type { Architecture } from "../../package/package-name.ts";
import type { PackageOrder } from "../../package/package-order.ts";
import type { PackagePlan } from "../../package/package-plan.ts";
import { hintIn, optionOfBuild } from "../../refusals/refusals.ts";
import { rethrowDiskErrors, temporaryBeside, writeFileAtomically } from "../../support/cache.ts";
import { ExitCode, type KmendError } from "../../support/errors.ts";
import type { Need } from "../../support/requirement-table.ts";
import { version } from "../../support/version.ts";
import type { ArgumentDefinition, OptionDefinition } from "../command.ts";
import { buildExitCodes } from "../options/build-request.ts";
import { usageError } from "../options/usage.ts";
import { formatProblem } from "../report/problem.ts";
import type { CommandIo } from "../run-command-line.ts";
import { Reporter } from "../terminal/reporter.ts";
import { styleFor } from "../terminal/style.ts";
import { failureOf, parseOlder, tellFailure } from "./older-program.ts";

const name = "kpatch-package-builder";

/** Options of kpatch-package-builder. */
export const packageBuilderOptions: readonly OptionDefinition[] = [
  { flags: "-p, --patch <FILE>", description: "patch file to make a package of" },
  { flags: "--manifest <FILE>", description: "YAML file that describes several packages" },
  { flags: "-o, --output <FILE>", description: "write the spec to FILE; - is standard output (default: NAME.spec)" },
  { flags: "-b, --build-rpm", description: "build the RPM instead of writing the spec" },
  {
    flags: "-k, --kernel <VERSION>",
    description: "kernel to patch, without its architecture (default: the running one)",
  },
  { flags: "-a, --arch <ARCH>", description: "architecture (default: x86_64)" },
  { flags: "--set-version <VERSION>", description: "package version (default: 1)" },
  { flags: "--set-release <RELEASE>", description: "package release (default: 1)" },
  { flags: "-d, --debug", description: "show the output of rpmbuild" },
];

/** What kpatch-package-builder is given besides. */
export const packageBuilderArgument: ArgumentDefinition = {
  name: "[PATCH]",
  description: "patch file, as with -p; or a finished patch module (.ko) or archive of one (.tar.gz)",
  offers: [{ files: [".patch", ".diff", ".ko", ".tar.gz"] }],
};

interface Choices {
  readonly patch?: string;
  readonly manifest?: string;
  readonly output?: string;
  readonly buildRpm?: true;
  readonly kernel?: string;
  readonly arch?: string;
  readonly setVersion?: string;
  readonly setRelease?: string;
  readonly debug?: true;
}

/**
 * The interface of kpatch-package-builder 0.1.0: a spec for each package, or with `-b` the RPM. The patch may be given with `-p` or as the last argument.
 * @returns 0, 1 for a failure, 2 for wrong usage, as the original; a refused change ends with kmend's own 4.
 */
export async function runPackageBuilder(args: readonly string[], io: CommandIo): Promise<ExitCode> {
  const { stdout, stderr } = io;
  const reporter = new Reporter(stderr, 0);
  try {
    const request = parse(args);
    if (request.kind === "text") {
      stdout.write(request.text);
      return ExitCode.done;
    }
    return await new Session(request.choices, io, reporter).run();
  } catch (thrown) {
    const error = failureOf(thrown, io);
    tellFailure(error, io);
    return error.exitCode;
  } finally {
    reporter.stop();
  }
}

type Request = { readonly kind: "run"; readonly choices: Choices } | { readonly kind: "text"; readonly text: string };

function parse(args: readonly string[]): Request {
  const parsed = parseOlder(
    {
      name,
      description: "Makes RPM packages, or specs of them, that hold kernel live patches.",
      version: `${name} ${version()} (kmend)`,
      versionFlags: "-v, --version",
      helpFlags: "-h, --help",
      argument: packageBuilderArgument,
      options: packageBuilderOptions,
    },
    args,
  );
  if (parsed.kind === "text") {
    if (parsed.problem.exitCode === 0) return { kind: "text", text: parsed.text };
    throw usage(parsed.problem.message.replace(/^error: /, ""));
  }
  const { command } = parsed;
  const choices = command.opts<Choices>();
  const [operand] = command.args;
  if (operand !== undefined && choices.patch !== undefined) throw usage("the patch was given twice");
  const patch = choices.patch ?? operand;
  if (patch === undefined && choices.manifest === undefined) throw usage("a patch or a manifest is needed");
  if (patch !== undefined && choices.manifest !== undefined) throw usage("a patch and a manifest exclude each other");
  if (choices.kernel !== undefined && choices.manifest !== undefined)
    throw usage("the manifest names the kernels: --kernel has no place beside it");
  if (choices.buildRpm && choices.output !== undefined) throw usage("--output and --build-rpm exclude each other");
  return { kind: "run", choices: patch === undefined ? choices : { ...choices, patch } };
}

function usage(message: string): KmendError {
  return usageError(name, message);
}

/** One run of the program. */
class Session {
  readonly #choices: Choices;
  readonly #io: CommandIo;
  readonly #reporter: Reporter;

  constructor(choices: Choices, io: CommandIo, reporter: Reporter) {
    this.#choices = choices;
    this.#io = io;
    this.#reporter = reporter;
  }

  async run(): Promise<ExitCode> {
    const opened = await mkdtemp(join(tmpdir(), "kmend-opened-"));
    try {
      return await this.#planOrder(await this.#orders(opened));
    } finally {
      await rm(opened, { recursive: true, force: true });
    }
  }

  async #planOrder(orders: readonly PackageOrder[]): Promise<ExitCode> {
    const { buildRpm, output } = this.#choices;
    if (output !== undefined && output !== "-" && orders.length > 1) {
      throw usage(`--output ${output} would hold the last of ${orders.length} specs only; leave it out`);
    }
    if (output !== "-") {
      const { requireOutputFolder } = await import("../../support/output-folder.ts");
      await requireOutputFolder(output === undefined ? "." : dirname(resolve(output)));
    }
    if (buildRpm) await this.#requirePrograms(orders.some(({ modules }) => modules.length > 0));
    this.#say("generating spec file...");
    const { planOrder } = await import("../../matrix/plan-order.ts");
    const plans: PackagePlan[] = [];
    for (const order of orders) {
      const { signal } = this.#io;
      const shared = {
        program: name,
        kernelsOnOffer: true,
        buildNow: buildRpm === true,
        progress: this.#reporter,
        signal,
      };
      const outcome = await planOrder(order, shared);
      if (outcome.outcome === "planned") plans.push(outcome.plan);
      else return this.#stopped(outcome.results);
    }
    for (const plan of plans) await (buildRpm ? this.#buildRpm(plan) : this.#writeSpec(plan));
    return ExitCode.done;
  }

  /** @param folder an empty one for the modules of an archive. */
  async #orders(folder: string): Promise<readonly PackageOrder[]> {
    const { kernel, arch = "x86_64", manifest, patch, setVersion, setRelease } = this.#choices;
    const { architectureNamed, checked, nameFrom } = await import("../../package/package-name.ts");
    const { moduleName } = await import("../../patch-module/module-name.ts");
    const architecture = architectureNamed(arch);
    if (manifest !== undefined) {
      const { readManifest } = await import("../../package/package-manifest.ts");
      return readManifest(manifest, {
        version: setVersion,
        release: setRelease,
        architecture,
        profile: "kpatch-module",
        releaseOf: kernelRelease,
      });
    }
    const { holdsModules } = await import("../../update/finished-files.ts");
    if (await holdsModules(patch as string)) return [await this.#finishedOrder(patch as string, folder)];
    const module = moduleName(undefined, [patch as string]).replace(/^livepatch-/, "kpatch-");
    const release = kernel === undefined ? undefined : checked("kernel", kernelRelease(kernel, architecture));
    const choices = {
      profile: "kpatch-module" as const,
      // The patch's own name: that of a module has no dots.
      name: `kpatch-module-${nameFrom(basename(patch as string).replace(/\.(patch|diff)$/, ""))}`,
      version: setVersion,
      release: setRelease,
    };
    const order = { kernel: release, name: module, patches: [patch as string] };
    return [{ choices, files: [], modules: [order], kernels: [], architecture }];
  }

  /** A package of modules that are there already; they say themselves which kernel they are for. */
  async #finishedOrder(path: string, folder: string): Promise<PackageOrder> {
    const { kernel, arch = "x86_64", setVersion, setRelease } = this.#choices;
    const { finishedFilesOf } = await import("../../update/finished-files.ts");
    const { architectureNamed } = await import("../../package/package-name.ts");
    const architecture = this.#choices.arch === undefined ? undefined : architectureNamed(arch);
    const { files, description } = await finishedFilesOf(path, folder, this.#io.signal);
    return {
      choices: { profile: "kpatch-module", version: setVersion, release: setRelease, description },
      files,
      filesFor: kernel === undefined ? undefined : kernelRelease(kernel, architectureNamed(arch)),
      modules: [],
      kernels: [],
      architecture,
    };
  }

  async #requirePrograms(builds: boolean): Promise<void> {
    const { ensureRequirements } = await import("../../support/requirements.ts");
    const { signal } = this.#io;
    const needs: readonly Need[] = builds ? ["build", "rpm"] : ["rpm"];
    await ensureRequirements({ needs, install: true, progress: this.#reporter, signal });
  }

  async #writeSpec(plan: PackagePlan): Promise<void> {
    const { specFile } = await import("../../package/formats/spec.ts");
    const output = this.#choices.output ?? `${plan.name.replace(/^kpatch-module-/, "")}.spec`;
    if (output === "-") {
      this.#io.stdout.write(specFile(plan));
      return;
    }
    // Patches lie where the user has them; what has no file of its name anywhere is put beside the spec.
    const { writeSources } = await import("../../package/write-package.ts");
    const { writeOutputFile } = await import("../../support/output-folder.ts");
    const own = plan.patches.filter((patch) => patch.file === patch.name).map(({ file }) => file);
    await writeSources(plan, dirname(resolve(output)), new Set(own));
    this.#say(`writing spec file to ${output}...`);
    await writeOutputFile(resolve(output), specFile(plan));
  }

  async #buildRpm(plan: PackagePlan): Promise<void> {
    this.#say("building RPM...");
    const { buildRpm, rpmFileName } = await import("../../package/formats/rpm.ts");
    const { specFile } = await import("../../package/formats/spec.ts");
    const folder = await mkdtemp(join(tmpdir(), "kpatch_"));
    try {
      const spec = `${folder}.spec`;
      this.#say(`writing spec file to ${spec}...`);
      await writeFileAtomically(spec, specFile(plan));
      const { signal, stderr } = this.#io;
      const onOutput = this.#choices.debug ? (text: string) => void stderr.write(text) : undefined;
      const made = await buildRpm(plan, { folder, kind: "binary", onOutput, signal });
      const file = rpmFileName(plan);
      this.#say(`writing ${file}...`);
      const temporary = temporaryBeside(resolve(file));
      await copyFile(made, temporary).catch(rethrowDiskErrors);
      await rename(temporary, resolve(file));
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  /** Tells why modules could not be made. */
  #stopped(results: readonly BuildResult[]): ExitCode {
    const { stderr } = this.#io;
    for (const { outcome, kernel, refusals } of results) {
      if (outcome === "unchanged") stderr.write(`${name}: no code of ${kernel.release} differs with this patch\n`);
      for (const refusal of refusals) {
        const { code, what, where, why } = refusal;
        const hint = hintIn(refusal, optionOfBuild);
        stderr.write(formatProblem({ kind: "refused", code, message: what, where, why, hint }, styleFor(stderr)));
      }
    }
    const worst = results.find(({ outcome }) => outcome !== "built");
    return worst === undefined ? ExitCode.failure : buildExitCodes[worst.outcome];
  }

  /** A spec on standard output stands there alone. */
  #say(text: string): void {
    const { stdout, stderr } = this.#io;
    (this.#choices.output === "-" ? stderr : stdout).write(`${name}: ${text}\n`);
  }
}

/**
 * The release of a kernel that is given in the way of Red Hat's packages, without its architecture: `3.10.0-229.el7` is `3.10.0-229.el7.x86_64`.
 * Releases of other distributions are whole.
 */
export function kernelRelease(kernel: string, { rpm }: Architecture): string {
  return /\.(el|fc|amzn)\d+(_\d+)*$/.test(kernel) ? `${kernel}.${rpm}` : kernel;
}
