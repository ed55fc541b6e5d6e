import type { Engine } from "../../matrix/engine/engine.ts";
import type { MatrixRun } from "../../matrix/run-matrix.ts";
import type { MatrixOptions } from "../../matrix/start-matrix.ts";
import type { Store } from "../../matrix/store/store.ts";
import type { PackageFormat } from "../../package/write-package.ts";
import { ExitCode } from "../../support/errors.ts";
import type { Need } from "../../support/requirement-table.ts";
import type { CommandContext, CommandDefinition, OptionValues } from "../command.ts";
import { cveDataOption, fixSourceOf, fixSourceOptions, openRecords } from "../options/cve-options.ts";
import { archiveOf, archiveOptions } from "../options/kernel-options.ts";
import { connectTo, queueOptions } from "../options/queue-options.ts";
import { signerOf, signOptions } from "../options/sign-options.ts";
import { usageError } from "../options/usage.ts";
import { limitOptions, removableOption } from "./build.ts";
import { oneOf, usualFormat } from "./package.ts";

const formats = ["rpm", "deb", "tar"] as const;

export const matrixCommand: CommandDefinition = {
  name: "matrix",
  summary: "build the patches of a manifest for many kernels, and publish packages",
  description:
    "Builds every cell of a manifest: the patches or CVEs of each package for each of its kernels, which may be patterns. Results go to a store and are never made twice: started again, also after a crash, the command continues. A cell that is refused does not hold the others.",
  arguments: [
    {
      name: "MANIFEST",
      description:
        "manifest of packages (YAML), as for kmend package; a kernel may be `6.1.*-amd64`, `newest` or `all`",
      offers: [{ files: [".yaml", ".yml"] }],
    },
  ],
  options: [
    { flags: "-o, --output <DIR>", description: "folder for packages, modules and logs (default: kmend-matrix)" },
    {
      flags: "--store <PLACE>",
      description:
        "where results lie, which machines may share: a folder, or s3://BUCKET/FOLDER (default: store in --output)",
    },
    {
      flags: "--format <FORMAT>",
      description: "rpm, deb or tar (default: the format of this system)",
      choices: formats,
    },
    { flags: "--try", description: "try each module in a virtual machine, and package only what passes" },
    { flags: "--verify-twice", description: "build each cell twice, and require the same bytes" },
    { flags: "--repo <DIR>", description: "publish the packages in this dnf or apt repository" },
    { flags: "--gpg-key <KEY>", description: "with --repo: sign the index with this gpg key" },
    { flags: "--keep <N>", description: "with --repo: keep the newest N versions of each package", minimum: 1 },
    { flags: "--suite <NAME>", description: "with --repo: suite of an apt repository (default: stable)" },
    { flags: "--report", description: "make the review report of each cell" },
    { flags: "--page <DIR>", description: "keep HTML pages with the grid of cells in this folder" },
    {
      flags: "--serve <ADDRESS:PORT>",
      description: "serve these pages, metrics, and the retry and cancelling of cells; until it is interrupted",
    },
    { flags: "-j, --jobs <N>", description: "cells at once (default: all cores)", minimum: 1 },
    ...queueOptions,
    {
      flags: "--need <WORD>",
      description: "with --queue: only workers that can do this build the cells, such as debian-12 (repeatable)",
      repeatable: true,
    },
    ...signOptions,
    ...archiveOptions,
    { flags: "--no-replace", description: "leave earlier patch modules active instead of replacing them" },
    removableOption,
    {
      flags: "--adapt",
      description:
        "rewrite changes of data structures and trace events so that they can be live patched, where that is sound",
    },
    ...limitOptions,
    cveDataOption,
    // A manifest says itself which commits go with a fix.
    ...fixSourceOptions.filter(({ flags }) => !flags.startsWith("--with ")),
    { flags: "--no-install", description: "never install missing packages" },
  ],
  examples: [
    { command: "kmend matrix fleet.yaml", description: "build and package every cell of a manifest here" },
    {
      command: "kmend matrix --try --repo /srv/live-patches fleet.yaml",
      description: "try each module too, and publish the packages",
    },
    {
      command: "kmend matrix --queue redis://queue.example.org --store /mnt/store fleet.yaml",
      description: "have workers on other machines build",
    },
  ],
  exitCodes: {
    [ExitCode.failure]: "a cell, a package or the repository failed",
    [ExitCode.unchanged]: "no cell changes anything that its kernel builds",
    [ExitCode.refused]: "at least one cell is refused; the others are done",
    [ExitCode.environment]: "the environment is not ready",
    [ExitCode.stalled]: "a trial failed, or a second build differs",
  },
  async run(context, operands, options) {
    const [manifest = ""] = operands;
    const format = oneOf<PackageFormat>("format", options.text("format"), formats) ?? (await usualFormat());
    await prepare(context, options, format);
    const { runMatrix } = await import("../../matrix/start-matrix.ts");
    const { exitCodeOf } = await import("../../matrix/matrix-result.ts");
    const { reportMatrix } = await import("../report/matrix-report.ts");
    const result = await runMatrix({
      ...(await requestOf(context, options, manifest)),
      format,
      onStart: (run, store, engine) => watch(context, options, { run, store, engine }),
    });
    reportMatrix(context, result);
    return exitCodeOf(result);
  },
};

/** Everything but what the command asks for itself. */
async function requestOf(
  context: CommandContext,
  options: OptionValues,
  manifest: string,
): Promise<Omit<MatrixOptions, "format">> {
  const { progress, signal } = context;
  const url = options.text("queue");
  const certificate = certificateOf(options);
  requireQueue(options);
  return {
    manifest,
    output: options.text("output") ?? "kmend-matrix",
    store: options.text("store"),
    archive: archiveOf(options),
    fixes: async () => ({
      data: await openRecords(context, options),
      source: await fixSourceOf(options, signal),
    }),
    words: buildWords(options),
    tries: options.flag("try"),
    verifies: options.flag("verifyTwice"),
    report: options.flag("report"),
    status: await statusFor(),
    needs: await needsOf(options),
    signer: certificate === undefined ? undefined : await signerFacts(certificate, options.text("signHash")),
    repository: repositoryOf(options),
    engine: (store) => (url === undefined ? embedded(store, options, signal) : queued(url, store, options, context)),
    progress,
    signal,
  };
}

/** A grid for whoever watches a terminal. */
async function statusFor(): Promise<MatrixOptions["status"]> {
  if (process.stderr.isTTY !== true) return undefined;
  const { liveGrid } = await import("../report/matrix-report.ts");
  const rows = process.stderr.rows ?? 24;
  return (state) => liveGrid(state, rows - 4);
}

interface Watched {
  readonly run: MatrixRun;
  readonly store: Store;
  readonly engine: Engine;
}

/** Pages and a server beside a run. @returns what is to be done when it has ended. */
async function watch(
  { progress, signal }: CommandContext,
  options: OptionValues,
  { run, store, engine }: Watched,
): Promise<() => Promise<void>> {
  const { state } = run;
  const [folder, address] = [options.text("page"), options.text("serve")];
  const { keepPages } = await import("../../matrix/page/write-page.ts");
  const endPages = folder === undefined ? undefined : await keepPages(folder, state, store);
  const { serveMatrix } = await import("../../matrix/serve/serve-matrix.ts");
  const actions = {
    depth: () => engine.depth(),
    retry: (id: string) => run.retry(id),
    cancel: (id: string) => run.cancel(id),
  };
  const served = address === undefined ? undefined : await serveMatrix(address, { state, store, ...actions });
  if (served !== undefined) progress.note(`the run is served at ${served.url}`);
  return async () => {
    if (served !== undefined) {
      progress.note("all cells have ended; the page is served until this is interrupted");
      await new Promise<void>((resolve) => {
        if (signal.aborted) resolve();
        signal.addEventListener("abort", () => resolve());
      });
      await served.close();
    }
    await endPages?.();
  };
}

/** Workers have the key, and the command needs only the certificate. @throws KmendError `USAGE` (exit 2) */
function certificateOf(options: OptionValues): string | undefined {
  if (options.text("queue") === undefined) return signerOf("kmend matrix", options)?.certificate;
  if (options.text("signKey") !== undefined)
    throw usageError(
      "kmend matrix",
      "with --queue the key stays with a worker: kmend worker --can sign --sign-key KEY",
    );
  return options.text("signCert");
}

/** @throws KmendError `USAGE` (exit 2) for what means nothing without a queue, or with one. */
function requireQueue(options: OptionValues): void {
  const isQueued = options.text("queue") !== undefined;
  const only = ["queueCa", "queuePasswordFile"].find((name) => options.text(name) !== undefined);
  if (!isQueued && (only !== undefined || options.list("need").length > 0))
    throw usageError("kmend matrix", "--queue-ca, --queue-password-file and --need go with --queue");
  if (!isQueued) return;
  if (options.text("archive") !== undefined)
    throw usageError("kmend matrix", "--archive names a file of this machine, and does not go with --queue");
  if (options.integer("jobs") !== undefined)
    throw usageError("kmend matrix", "with --queue each worker has its own --jobs");
}

/** Kernels are built where the machine is of their architecture. */
async function needsOf(options: OptionValues): Promise<readonly string[]> {
  const { wordPattern } = await import("../../matrix/queue/lanes.ts");
  const words = options.list("need");
  const wrong = words.find((word) => !wordPattern.test(word));
  if (wrong !== undefined)
    throw usageError("kmend matrix", `--need "${wrong}": words have small letters, digits and ._-`);
  return ["x86_64", ...words];
}

async function queued(url: string, store: Store, options: OptionValues, context: CommandContext): Promise<Engine> {
  const connection = await connectTo(url, options, context);
  const { queueEngine } = await import("../../matrix/queue/queue-engine.ts");
  const { adviceOnWorkers } = await import("../../matrix/queue/worker-advice.ts");
  const { usualRetries } = await import("../../matrix/engine/engine.ts");
  const needs = await needsOf(options);
  for (const text of await adviceOnWorkers(connection.client, store.id, needs)) context.progress.note(text);
  return queueEngine({ connection, store, retries: usualRetries });
}

async function signerFacts(certificate: string, hash = "sha256"): Promise<MatrixOptions["signer"]> {
  const { readFile } = await import("node:fs/promises");
  const { sha256 } = await import("../../support/cache.ts");
  const content = await readFile(certificate).catch((error: Error) => {
    throw usageError("kmend matrix", `the certificate cannot be read: ${error.message}`);
  });
  return { certificate: sha256(content), hash };
}

function repositoryOf(options: OptionValues): MatrixOptions["repository"] {
  const folder = options.text("repo");
  const given = ["gpgKey", "suite"].find((name) => options.text(name) !== undefined);
  if (folder === undefined && (given !== undefined || options.integer("keep") !== undefined))
    throw usageError("kmend matrix", "--gpg-key, --keep and --suite need --repo");
  if (folder === undefined) return undefined;
  return { folder, gpgKey: options.text("gpgKey"), keep: options.integer("keep"), suite: options.text("suite") };
}

/** Options of the builds. */
function buildWords(options: OptionValues): string[] {
  const maxUnits = options.integer("maxUnits");
  return [
    ...(options.flag("replace") ? [] : ["--no-replace"]),
    ...(options.flag("removable") ? ["--removable"] : []),
    ...(options.flag("adapt") ? ["--adapt"] : []),
    ...(maxUnits === undefined ? [] : ["--max-units", String(maxUnits)]),
    ...options.list("allowLayout").flatMap((type) => ["--allow-layout", type]),
  ];
}

async function embedded(store: Store, options: OptionValues, signal: AbortSignal): Promise<Engine> {
  const { availableParallelism } = await import("node:os");
  const { embeddedEngine } = await import("../../matrix/engine/embedded-engine.ts");
  const { usualRetries } = await import("../../matrix/engine/engine.ts");
  const { ownProgram } = await import("../../support/own-program.ts");
  const cores = availableParallelism();
  const lanes = options.integer("jobs") ?? cores;
  const jobs = Math.max(1, Math.ceil(cores / lanes));
  const signer = signerOf("kmend matrix", options);
  const services = { store, program: ownProgram(), jobs, facts: new Map(), signer, signal };
  return embeddedEngine({ services, lanes, retries: usualRetries });
}

async function prepare(
  { progress, signal }: CommandContext,
  options: OptionValues,
  format: PackageFormat,
): Promise<void> {
  const { ensureRequirements } = await import("../../support/requirements.ts");
  const repository = options.text("repo") === undefined ? [] : [format === "rpm" ? "rpm-repository" : "deb"];
  const signs = options.text("signKey") === undefined ? [] : ["sign"];
  const needs = [
    ...repository,
    // With a queue others do the work.
    ...(options.text("queue") === undefined
      ? ["build", format === "rpm" ? "rpm" : "deb", ...(options.flag("try") ? ["try"] : []), ...signs]
      : []),
  ] as Need[];
  if (options.text("repo") !== undefined && format === "tar")
    throw usageError("kmend matrix", "a repository holds RPMs or debs: give --format");
  await ensureRequirements({ needs, install: options.flag("install"), progress, signal });
}
