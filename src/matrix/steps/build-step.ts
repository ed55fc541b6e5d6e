import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import type { BuildResult } from "../../build/build-types.ts";
import { silentFixes } from "../../cve/silent-fixes.ts";
import type { Refusal } from "../../refusals/refusals.ts";
import type { BuildRecord, BuildStep } from "../step.ts";
import { getObject, putObject } from "../store/records.ts";
import { childCommand, StepError } from "./child-command.ts";
import { archiveWords, requireKernel } from "./kernel-here.ts";
import type { StepServices } from "./step-services.ts";

const failure = z.object({
  outcome: z.literal("failed"),
  error: z.object({
    code: z.string(),
    message: z.string(),
    why: z.string().nullable(),
    hint: z.string().nullable(),
  }),
});

type Failure = z.infer<typeof failure>["error"];

/** Failures that say something about the patch for this kernel, and not about the machine: they are results, and are the same wherever it is built. */
const aboutThePatch = new Set([
  ...["PATCH_DOES_NOT_APPLY", "PATCH_REVERSED", "PATCH_PATH", "PATCH_BINARY", "PATCH_MALFORMED", "PATCH_EMPTY"],
  ...["PATCH_SPECIAL_FILE", "COMPILE_FAILED", "NO_MACHINE_CODE"],
]);

/** What a compiler says that was ended by the machine. */
const ofTheMachine =
  /No space left|Cannot allocate memory|out of memory|Killed|internal compiler error|Input\/output error|Segmentation fault/i;

/** Builds a cell. @throws StepError for everything that says nothing about the patch. */
export async function buildCell(step: BuildStep, services: StepServices): Promise<BuildRecord> {
  const { store, program, jobs, signal } = services;
  const folder = await mkdtemp(join(tmpdir(), "kmend-cell-"));
  try {
    await requireKernel(step, services);
    const patches: string[] = [];
    for (const [index, { name, sha256 }] of step.patches.entries()) {
      const place = join(folder, String(index));
      await mkdir(place);
      await writeFile(join(place, name), await getObject(store, sha256));
      patches.push(join(place, name));
    }
    const output = join(folder, "output");
    await mkdir(output);
    const page = join(folder, "report.html");
    const words = [
      ...["build", "--kernel", step.kernel.release, "--name", step.module, "--output", output, "--no-install"],
      ...["--jobs", String(jobs), ...archiveWords(step.archive), ...step.words],
    ];
    const pages = step.report ? ["--report", page] : [];
    const { value, log } = await childCommand(program, [...words, ...pages, "--", ...patches], signal);
    const failed = failure.safeParse(value);
    if (failed.success) return failedRecord(failed.data.error, folder, log);
    const result = value as BuildResult;
    if (result.kernel.buildId !== step.kernel.buildId) throw otherKernel(step, result.kernel.buildId, log);
    if (result.outcome === "failed") throw failedBuild(result, log);
    const silent =
      result.outcome === "built" ? await emptyFixes(step, result, patches, { words, program, signal }) : [];
    if (silent.length > 0) return { ...recordOf(result, "refused"), refusals: silent, module: null, report: null };
    const report = step.report ? await readFile(page).catch(() => undefined) : undefined;
    return {
      ...recordOf(result, result.outcome),
      module: await storedModule(result, step, services),
      report: report === undefined ? null : await putObject(store, report),
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/**
 * A module names no vulnerability of which nothing is in it: a fix whose files have no function in the module of several is built alone, since by a header it may be
 * in it all the same.
 */
async function emptyFixes(
  step: BuildStep,
  { functions }: BuildResult,
  paths: readonly string[],
  { words, program, signal }: { readonly words: readonly string[] } & Pick<StepServices, "program" | "signal">,
): Promise<Refusal[]> {
  if (step.patches.length < 2) return [];
  const fixes = await Promise.all(
    step.patches.map(async ({ name, cves = [] }, index) => {
      const path = paths[index] as string;
      return { name, path, cves, files: filesOf(await readFile(path, "latin1")) };
    }),
  );
  const empty: Refusal[] = [];
  for (const { name, path, cves } of silentFixes(fixes, functions)) {
    const { value } = await childCommand(program, [...words, "--", path], signal);
    if ((value as BuildResult).outcome === "built") continue;
    empty.push({
      code: "CVE_CHANGES_NOTHING" as Refusal["code"],
      what: cves.join(", "),
      where: name,
      why: "no code of this kernel changes with its fix, and the module would claim a fix that it does not contain",
      hint: "leave it out for this kernel",
    });
  }
  return empty;
}

/** Files that a patch names, as they are called after it or before. */
function filesOf(patch: string): string[] {
  return [...patch.matchAll(/^(?:\+\+\+ b|--- a)\/(.*?)\t?$/gm)].map(([, file = ""]) => file);
}

/** The parts of a result that are the same wherever it is made. */
function recordOf(
  { functions, refusals, warnings, notes, units, symbols }: BuildResult,
  outcome: BuildRecord["outcome"],
): Omit<BuildRecord, "module" | "report"> {
  return { outcome, functions, refusals, warnings, notes, units, symbols };
}

async function storedModule(
  { module }: BuildResult,
  { kernel }: BuildStep,
  { store }: StepServices,
): Promise<BuildRecord["module"]> {
  if (module === null) return null;
  const sha256 = await putObject(store, await readFile(module.path));
  const { name, bytes, staysInMemory } = module;
  return { file: `${name}.ko`, release: kernel.release, sha256, bytes, staysInMemory };
}

function failedRecord(error: Failure, folder: string, log: string): BuildRecord {
  const { code, message, why, hint } = error;
  const text = `${message}\n${why ?? ""}`;
  if (!aboutThePatch.has(code) || ofTheMachine.test(text)) {
    throw new StepError({ code, message, why: why ?? undefined, hint: hint ?? undefined }, log);
  }
  const plain = (part: string | null): string => (part ?? "").replaceAll(new RegExp(`${folder}/\\d+/`, "g"), "");
  // The code is none of those that a refusal of the build has; what reads the record shows it as it is.
  const refusal = {
    code: code as Refusal["code"],
    what: plain(message),
    where: "",
    why: plain(why),
    hint: plain(hint),
  };
  const nothing = { functions: [], warnings: [], notes: [], units: [], symbols: [] };
  return { outcome: "refused", ...nothing, refusals: [refusal], module: null, report: null };
}

function failedBuild({ refusals }: BuildResult, log: string): StepError {
  const details = {
    code: "BUILD_FAILED",
    message: "the build failed",
    why: refusals.map(({ code, what }) => `${code}: ${what}`).join("\n"),
    hint: "build the patch for this kernel with kmend build -vv",
  };
  return new StepError(details, log);
}

function otherKernel({ kernel }: BuildStep, found: string, log: string): StepError {
  const details = {
    code: "KERNEL_DIFFERS",
    message: `kernel ${kernel.release} has another build id than before`,
    why: `${found} now, ${kernel.buildId} before`,
    hint: "run apt-get update here, and start again",
  };
  return new StepError(details, log);
}
