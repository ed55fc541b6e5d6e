import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { BuildOptions } from "../../build/build-types.ts";
import type { PackageOrder } from "../../package/package-order.ts";
import type { PackageChoices, Severity } from "../../package/package-plan.ts";
import type { PackageFormat, WrittenPackage } from "../../package/write-package.ts";
import type { ReviewReport } from "../../report/report-types.ts";
import { ExitCode, KmendError } from "../../support/errors.ts";
import type { Need } from "../../support/requirement-table.ts";
import type { CommandContext, CommandDefinition, OptionValues } from "../command.ts";
import { buildExitCodes } from "../options/build-request.ts";
import { externalOf } from "../options/external-options.ts";
import { kernelNeeds, kernelOf } from "../options/kernel-options.ts";
import { baseNameOf, reportOption, reportSink, requireReportFolder, writeReports } from "../options/report-options.ts";
import { signerOf, signOptions } from "../options/sign-options.ts";
import { usageError } from "../options/usage.ts";
import { reportBuild } from "../report/build-report.ts";
import { buildOptions } from "./build.ts";

export const packageCommand: CommandDefinition = {
  name: "package",
  summary: "make an RPM, deb or archive of a patch module",
  description:
    "Packages finished patch modules as they are, byte for byte. Builds source patches first. A manifest (YAML) describes several packages at once. Installing such a package stages the module for its kernel, and loads it if that kernel is running.",
  arguments: [
    {
      name: "[FILE...]",
      description: "patch modules (.ko), source patches, an archive (.tar.gz), or a manifest (.yaml)",
      offers: [{ files: [".ko", ".patch", ".diff", ".tar.gz", ".yaml", ".yml"] }],
    },
  ],
  options: [
    {
      flags: "--format <FORMAT>",
      description: "rpm, srpm, spec, deb or tar (default: the format of this system)",
      choices: ["rpm", "srpm", "spec", "deb", "tar"],
    },
    {
      flags: "--profile <PROFILE>",
      description:
        "conventions of the package: kpatch-module, or kpatch-patch for one kernel of Red Hat's family (default: by kernel)",
      choices: ["kpatch-module", "kpatch-patch"],
    },
    { flags: "-o, --output <DIR>", description: "folder for the package (default: the current one)" },
    { flags: "--package-name <NAME>", description: "package name (default: by profile)" },
    { flags: "--set-version <VERSION>", description: "package version (default: 1)" },
    { flags: "--set-release <RELEASE>", description: "package release (default: 1)" },
    { flags: "--summary <TEXT>", description: "one line about the package" },
    { flags: "--description <TEXT>", description: "more lines about the package" },
    { flags: "--license <TEXT>", description: "licence of the patch (default: the licence of the kernel)" },
    { flags: "--maintainer <TEXT>", description: "person responsible for the package: NAME <ADDRESS>" },
    { flags: "--cve <ID>", description: "vulnerability that the patch fixes (repeatable)", repeatable: true },
    {
      flags: "--severity <WORD>",
      description: "Low, Moderate, Important or Critical",
      choices: ["Low", "Moderate", "Important", "Critical"],
    },
    { flags: "--no-activate", description: "only stage the module; do not load it during installation" },
    {
      flags: "--empty <RELEASE>",
      description: "make a package without a module, which subscribes to live patches of this kernel",
    },
    reportOption,
    ...signOptions,
    { flags: "--require-signature", description: "refuse unsigned modules" },
    { flags: "--gpg-sign", description: "sign RPMs with the key of your rpm settings (%_gpg_name)" },
    { flags: "--gpg-key <KEY>", description: "sign RPMs with this gpg key" },
    // A package says with --cve what it and its modules fix.
    ...buildOptions.filter(({ flags }) => !flags.startsWith("--fixes ")),
  ],
  examples: [
    { command: "kmend package --format deb livepatch-fix.ko", description: "make a deb of a finished module" },
    {
      command: "kmend package --format rpm --kernel newest --cve CVE-2024-12345 fix.patch",
      description: "build a patch and make an RPM of it",
    },
    { command: "kmend package --format rpm fleet.yaml", description: "make every package of a manifest" },
  ],
  exitCodes: {
    [ExitCode.failure]: "failure",
    [ExitCode.unchanged]: "nothing that this kernel builds is changed",
    [ExitCode.refused]: "the change cannot be live patched, or cannot be proven; or an archive is damaged",
    [ExitCode.environment]: "the environment is not ready",
  },
  async run(context, operands, options) {
    const { packageFormats } = await import("../../package/write-package.ts");
    const format = oneOf("format", options.text("format"), packageFormats) ?? (await usualFormat());
    const folder = await mkdtemp(join(tmpdir(), "kmend-package-"));
    try {
      const orders = await ordersFor(context, operands, options, folder);
      await prepare(context, options, format, orders);
      const { requireOutputFolder } = await import("../../support/output-folder.ts");
      await requireOutputFolder(options.text("output") ?? ".");
      await requireReportFolder(options.text("report"), operands);
      return await packageAll(context, options, format, orders);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
};

/** Checks a word of the command line. @throws KmendError `USAGE` (exit 2). */
export function oneOf<Word extends string>(
  option: string,
  value: string | undefined,
  words: readonly Word[],
): Word | undefined {
  const found = words.find((word) => word === value);
  if (value !== undefined && found === undefined) {
    throw usage(`--${option} "${value}" is none of ${words.join(", ")}`);
  }
  return found;
}

function usage(message: string): KmendError {
  return usageError("kmend package", message);
}

/** The format of this system's packages. */
export async function usualFormat(): Promise<PackageFormat> {
  const { findProgram } = await import("../../support/find-program.ts");
  return (await findProgram("dpkg-deb")) === undefined ? "rpm" : "deb";
}

/** What the operands ask for. */
async function ordersFor(
  context: CommandContext,
  operands: readonly string[],
  options: OptionValues,
  folder: string,
): Promise<readonly PackageOrder[]> {
  const choices = await choicesFrom(options);
  const empty = options.text("empty");
  const none = { choices, files: [], modules: [], kernels: [], architecture: undefined };
  if (empty !== undefined) {
    if (operands.length > 0) throw usage("an empty package takes no files");
    return [{ ...none, choices: { ...choices, profile: choices.profile ?? "kpatch-patch" }, kernels: [empty] }];
  }
  const [first] = operands;
  if (first === undefined) throw usage("nothing to package was given");
  const alone = operands.length === 1;
  if (/\.ya?ml$/.test(first)) {
    if (!alone) throw usage("a manifest stands alone");
    requireNone(options, ofOnePackage, "the manifest says that of each of its packages");
    const { readManifest } = await import("../../package/package-manifest.ts");
    const { version, release, profile, activate } = choices;
    return readManifest(first, { version, release, profile, activate });
  }
  const modules = operands.filter((file) => file.endsWith(".ko"));
  const filesFor = options.text("kernel");
  if (modules.length === operands.length) {
    requireNone(options, ["name"], "a finished module has its name");
    return [{ ...none, files: modules, filesFor }];
  }
  const { finishedFilesOf, holdsModules } = await import("../../update/finished-files.ts");
  if (modules.length === 0 && (await holdsModules(first))) {
    if (!alone) throw usage("an archive stands alone");
    requireNone(options, ["name"], "a finished module has its name");
    const { files, description } = await finishedFilesOf(first, folder, context.signal);
    return [{ ...none, choices: { ...choices, description: choices.description ?? description }, files, filesFor }];
  }
  if (modules.length > 0) throw usage("give either modules or patches");
  return [await patchOrder(context, operands, options, choices)];
}

/** Options that a manifest has keys for. */
const ofOnePackage = [
  "kernel",
  "name",
  "packageName",
  "summary",
  "description",
  "license",
  "maintainer",
  "cve",
  "severity",
];

/** @throws KmendError `USAGE` (exit 2) for an option that would be passed over in silence. */
function requireNone(options: OptionValues, names: readonly string[], why: string): void {
  const given = names.find((name) =>
    name === "cve" ? options.list(name).length > 0 : options.text(name) !== undefined,
  );
  if (given === undefined) return;
  throw usage(`--${given.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)} does not go with this: ${why}`);
}

async function patchOrder(
  { progress, signal }: CommandContext,
  patches: readonly string[],
  options: OptionValues,
  choices: PackageChoices,
): Promise<PackageOrder> {
  const { architectures, defaultProfile } = await import("../../package/package-name.ts");
  const { moduleName } = await import("../../patch-module/module-name.ts");
  const kernel = options.text("kernel");
  const profile = choices.profile ?? (kernel === undefined ? undefined : defaultProfile([kernel]));
  const architecture = architectures[62];
  const named = options.text("name");
  const order = { choices: { ...choices, profile }, files: [], kernels: [], architecture };
  if (named !== undefined || profile !== "kpatch-patch" || architecture === undefined) {
    return { ...order, modules: [{ kernel, name: moduleName(named, patches), patches }] };
  }
  const { findTargetKernel } = await import("../../kernel/find.ts");
  const { cumulativeModuleName } = await import("../../package/package-manifest.ts");
  const { release } = await findTargetKernel({ ...kernelOf(options), makeImage: false, progress, signal });
  const name = cumulativeModuleName(release, architecture, choices.version ?? "1", choices.release ?? "1");
  return { ...order, modules: [{ kernel: release, name, patches }] };
}

async function choicesFrom(options: OptionValues): Promise<PackageChoices> {
  const { severities } = await import("../../package/package-plan.ts");
  return {
    profile: oneOf("profile", options.text("profile"), ["kpatch-module", "kpatch-patch"]),
    name: options.text("packageName"),
    version: options.text("setVersion"),
    release: options.text("setRelease"),
    summary: options.text("summary"),
    description: options.text("description"),
    license: options.text("license"),
    maintainer: options.text("maintainer"),
    cves: options.list("cve"),
    severity: oneOf<Severity>("severity", options.text("severity"), severities),
    activate: options.flag("activate"),
  };
}

async function prepare(
  context: CommandContext,
  options: OptionValues,
  format: PackageFormat,
  orders: readonly PackageOrder[],
): Promise<void> {
  const { ensureRequirements } = await import("../../support/requirements.ts");
  const needs: Need[] = [];
  const builds = orders.some(({ modules }) => modules.length > 0);
  if (builds && !buildsNow(format)) requireElsewhere(format, options);
  const signs = options.flag("gpgSign") || options.text("gpgKey") !== undefined;
  if (signs && format !== "rpm" && format !== "srpm") {
    throw usage(`gpg signs RPMs, not a package of format ${format}; kmend repo signs the index of a repository`);
  }
  if (builds && buildsNow(format)) needs.push("build", ...kernelNeeds(options));
  if (format === "rpm" || format === "srpm") needs.push("rpm");
  if (format === "deb") needs.push("deb");
  if (signerOf("kmend package", options) !== undefined) needs.push("sign");
  const { progress, signal } = context;
  await ensureRequirements({ needs, install: options.flag("install"), progress, signal });
}

/** @throws KmendError `USAGE` (exit 2) for what only this machine has. */
function requireElsewhere(format: PackageFormat, options: OptionValues): void {
  const { rpms, image, source, archive } = kernelOf(options);
  const bound = [
    ...(rpms === undefined ? [] : ["the RPMs are"]),
    ...(archive?.sources === undefined ? [] : ["the file of the archive is"]),
    ...(image === undefined || source !== undefined ? [] : ["the image is"]),
    ...(externalOf(options).external === undefined ? [] : ["the out-of-tree module is"]),
    ...(signerOf("kmend package", options) === undefined ? [] : ["the key of the signature is"]),
  ];
  const [first] = bound;
  if (first !== undefined) throw usage(`a package of format ${format} is built elsewhere, where ${first} not`);
}

/** A spec and a source RPM carry the patches and build when they are used. */
function buildsNow(format: PackageFormat): boolean {
  return format !== "spec" && format !== "srpm";
}

async function packageAll(
  context: CommandContext,
  options: OptionValues,
  format: PackageFormat,
  orders: readonly PackageOrder[],
): Promise<ExitCode> {
  const { planOrder } = await import("../../matrix/plan-order.ts");
  const { writePackage } = await import("../../package/write-package.ts");
  const { progress, signal } = context;
  const signer = signerOf("kmend package", options);
  const page = options.text("report");
  const sink = reportSink({ kind: "patch", files: [] }, page !== undefined);
  const outcomes = [];
  for (const order of orders) {
    const shared = { program: "kmend", buildNow: buildsNow(format), progress, signal, signer };
    outcomes.push(await planOrder(order, { ...shared, build: { ...buildChoices(options), ...sink.build } }));
  }
  await writeReports(context, page, [...sink.reports, ...(await finishedReports(context, orders, page))]);
  const stopped = outcomes.flatMap((outcome) => (outcome.outcome === "stopped" ? outcome.results : []));
  const worst = stopped.find(({ outcome }) => outcome !== "built");
  if (worst !== undefined) {
    for (const result of stopped) if (result.outcome !== "built") reportBuild(context, result);
    return buildExitCodes[worst.outcome];
  }
  const plans = outcomes.flatMap((outcome) => (outcome.outcome === "planned" ? [outcome.plan] : []));
  if (options.flag("requireSignature")) requireSignatures(plans.flatMap(({ modules }) => modules));
  const written: WrittenPackage[] = [];
  for (const plan of plans) {
    const title = `Write ${plan.name} (${format})`;
    const gpgKey = options.text("gpgKey") ?? (options.flag("gpgSign") ? "" : undefined);
    const output = options.text("output") ?? ".";
    written.push(await progress.phase("package", title, () => writePackage(plan, { format, output, gpgKey, signal })));
  }
  report(context, written);
  return ExitCode.done;
}

/** Reports of the finished modules that are packaged as they are. */
async function finishedReports(
  { progress, signal }: CommandContext,
  orders: readonly PackageOrder[],
  page: string | undefined,
): Promise<ReviewReport[]> {
  if (page === undefined) return [];
  const { collectModuleReport } = await import("../../report/collect-module.ts");
  const reports: ReviewReport[] = [];
  for (const module of orders.flatMap(({ files }) => files)) {
    const subject = { kind: "module", files: [baseNameOf(module)] } as const;
    reports.push(await collectModuleReport({ module, subject, progress, signal }));
  }
  return reports;
}

function buildChoices(options: OptionValues): Partial<BuildOptions> {
  const { kernel: _each, ...parts } = kernelOf(options);
  return {
    ...parts,
    replace: options.flag("replace"),
    jobs: options.integer("jobs"),
    maxUnits: options.integer("maxUnits"),
    allowLayout: options.list("allowLayout"),
    removable: options.flag("removable"),
    adapt: options.flag("adapt"),
    skipCompilerCheck: options.flag("skipGccCheck"),
    ...externalOf(options),
  };
}

function requireSignatures(
  modules: readonly { readonly file: string; readonly finished: { readonly signed: boolean } | undefined }[],
): void {
  const unsigned = modules.filter(({ finished }) => finished?.signed !== true).map(({ file }) => file);
  if (unsigned.length === 0) return;
  throw new KmendError({
    code: "NOT_SIGNED",
    message: `not signed: ${unsigned.join(", ")}`,
    why: "--require-signature was given",
    hint: "sign with --sign-key KEY --sign-cert FILE",
    exitCode: ExitCode.policy,
  });
}

function report(context: CommandContext, packages: readonly WrittenPackage[]): void {
  if (context.json) {
    context.printJson({ schema: 1, outcome: "packaged", packages });
    return;
  }
  for (const { path, bytes, sha256, modules } of packages) {
    context.print(context.style("bold", path));
    context.print(`  ${Math.ceil(bytes / 1024)} KiB, sha256 ${sha256}`);
    for (const { path: payload, signed } of modules) context.print(`  ${payload}${signed === true ? ", signed" : ""}`);
  }
}
