import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { finishedModule } from "../../package/built-module.ts";
import { architectureNamed } from "../../package/package-name.ts";
import { signModule } from "../../package/sign-module.ts";
import { writePackage } from "../../package/write-package.ts";
import { sha256 } from "../../support/cache.ts";
import { ExitCode, KmendError } from "../../support/errors.ts";
import type { TryResult } from "../../vm/try-types.ts";
import { requireFacts } from "../kernel-facts.ts";
import { planFinished } from "../plan-order.ts";
import type { KernelFacts, PackageStep, SignStep, Step, StepRecord, StepRecords, TryStep } from "../step.ts";
import { getObject, notReproducible, putObject, putRecord, readRecord } from "../store/records.ts";
import { buildCell } from "./build-step.ts";
import { childCommand, StepError } from "./child-command.ts";
import { archiveWords, factsHere, requireKernel } from "./kernel-here.ts";
import type { StepServices } from "./step-services.ts";

/**
 * Carries out a step, unless its result is in the store already, and puts the result there. Of a cell that is built twice, whichever build ends last compares.
 * @throws KmendError for everything that says nothing about what was asked, so that it may succeed later or elsewhere.
 */
export async function runStep(step: Step, services: StepServices): Promise<StepRecord> {
  const known = await readRecord(services.store, step.kind, step.key);
  const record = known ?? (await carryOut(step, services));
  if (known === undefined) await putRecord(services.store, step.kind, step.key, record as StepRecords[Step["kind"]]);
  if (step.kind === "build" || step.kind === "verify") await requireEqualBuilds(step, services);
  return record;
}

/** @throws KmendError `NOT_REPRODUCIBLE` where both builds of a cell are there and differ. */
async function requireEqualBuilds({ key }: Extract<Step, { kind: "build" | "verify" }>, { store }: StepServices) {
  const [first, second] = [await readRecord(store, "build", key), await readRecord(store, "verify", key)];
  if (first !== undefined && second !== undefined && digestOf(first) !== second.record)
    throw notReproducible(store, "build", key);
}

async function carryOut(step: Step, services: StepServices): Promise<StepRecord> {
  switch (step.kind) {
    case "kernel":
      return requireVersion(await factsHere(step.release, step.archive, services), step.packageVersion);
    case "build":
      return buildCell(step, services);
    case "verify":
      return { record: digestOf(await buildCell(step, services)) };
    case "try":
      return tried(step, services);
    case "sign":
      return signed(step, services);
    case "package":
      return packaged(step, services);
  }
}

function requireVersion(facts: KernelFacts, packageVersion: string): KernelFacts {
  requireFacts(facts, { ...facts, packageVersion });
  return facts;
}

function digestOf(record: StepRecords["build"]): string {
  return sha256(JSON.stringify(record));
}

async function tried(step: TryStep, services: StepServices): Promise<StepRecords["try"]> {
  const folder = await mkdtemp(join(tmpdir(), "kmend-trial-"));
  try {
    await requireKernel(step, services);
    const { release, file } = step.module;
    const path = join(folder, file);
    await writeFile(path, await getObject(services.store, step.module.sha256));
    const words = ["try", path, "--kernel", release, "--no-install", ...archiveWords(step.archive)];
    const { value, log } = await childCommand(services.program, words, services.signal);
    const result = value as Partial<TryResult> & { error?: { code: string; message: string; hint?: string } };
    if (result.verdict === "passed") return { verdict: "passed" };
    if (result.error !== undefined) throw new StepError(result.error, log);
    const lines = [result.failure ?? "", ...(result.kernelLog ?? [])];
    throw new StepError(
      {
        code: "TRIAL_FAILED",
        message: result.failure ?? "the trial failed",
        why: lines.slice(1, 12).join("\n"),
        hint: `kmend try shows it again: the module is in --output`,
        exitCode: ExitCode.stalled,
      },
      `${log}\n${lines.join("\n")}\n`,
    );
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function signed(step: SignStep, { store, signer, signal }: StepServices): Promise<StepRecords["sign"]> {
  const { module, certificate, hash } = step;
  if (signer === undefined)
    throw wrongSigner("this machine has no key to sign with", "give --sign-key and --sign-cert");
  if (sha256(await readFile(signer.certificate)) !== certificate) {
    throw wrongSigner(
      "the certificate here is not the one that the module has to be signed for",
      "give the same --sign-cert",
    );
  }
  const content = await signModule(await getObject(store, module.sha256), { ...signer, hash }, signal);
  return { module: { ...module, sha256: await putObject(store, content) } };
}

function wrongSigner(message: string, hint: string): KmendError {
  return new KmendError({ code: "SIGNER", message, hint, exitCode: ExitCode.policy });
}

async function packaged(step: PackageStep, { store, signal }: StepServices): Promise<StepRecords["package"]> {
  const folder = await mkdtemp(join(tmpdir(), "kmend-packages-"));
  try {
    const plan = await planOfStep(step, store);
    const written = await writePackage(plan, { format: step.format, output: folder, signal });
    const content = await readFile(written.path);
    const { name, version, bytes, sha256: digest } = written;
    await putObject(store, content);
    return { file: written.path.slice(folder.length + 1), name, version, sha256: digest, bytes };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function planOfStep(step: PackageStep, store: StepServices["store"]) {
  const modules = [];
  for (const { file, release, sha256: digest, patches } of step.modules) {
    const finished = finishedModule(file, await getObject(store, digest));
    if (finished.release !== release) throw new Error(`${file} is for ${finished.release}, not for ${release}`);
    modules.push({ finished, patches });
  }
  const contents = new Map<string, Uint8Array>();
  for (const { sha256: digest } of step.modules.flatMap(({ patches }) => patches)) {
    if (!contents.has(digest)) contents.set(digest, await getObject(store, digest));
  }
  const { choices, epoch } = step;
  return planFinished({ choices, epoch, modules, contents, architecture: architectureNamed(step.architecture) });
}
