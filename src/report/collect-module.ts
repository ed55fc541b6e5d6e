import { TargetObjects } from "../build/resolve/target-objects.ts";
import { type VerifyOptions, type VerifyResult, verifyModule } from "../build/verify.ts";
import { coldParent } from "../diff/names.ts";
import { readUnitObject, type UnitObject } from "../diff/unit-object.ts";
import { ElfFormatError } from "../elf/format-error.ts";
import { findTargetKernel } from "../kernel/find.ts";
import type { KernelImage } from "../kernel/image/kernel-image.ts";
import { kernelChoice } from "../kernel/kernel-choice.ts";
import { readExternalModule } from "../kernel/modules/external-module.ts";
import { functionsInForce } from "../patch-module/functions-in-force.ts";
import type { Manifest, ManifestFunction, ManifestStop } from "../patch-module/manifest.ts";
import { type PatchModule, readPatchModule } from "../patch-module/patch-module.ts";
import { readPatchModuleFile } from "../patch-module/patch-module-file.ts";
import { KmendError } from "../support/errors.ts";
import { codeViewOfLines } from "./code-view.ts";
import { countsOf, withAttention } from "./collect-build.ts";
import { moduleCode, shippedCode } from "./linked-code.ts";
import { broughtItems, ContentReader } from "./module-contents.ts";
import { moduleMapOf } from "./module-map.ts";
import { patchHunksOf } from "./patch-text.ts";
import { quoted } from "./repetition.ts";
import type { CodeView, ReportedFunction, ReviewReport } from "./report-types.ts";

/** A finished module, and where it came from. */
export interface ModuleQuestion extends Omit<VerifyOptions, "module"> {
  /** Path of the module. */
  readonly module: string;
  readonly subject: ReviewReport["subject"];
  /** The source patch, where what was given has it. */
  readonly patch?: Buffer | undefined;
}

/**
 * Collects what a finished module, its manifest and its kernel tell. The proof is repeated where the kernel can be found.
 * @throws KmendError `NOT_A_PATCH_MODULE`, `MANIFEST_DAMAGED`, `MODULE_ALTERED`.
 */
export async function collectModuleReport(question: ModuleQuestion): Promise<ReviewReport> {
  const content = await readPatchModuleFile(question.module);
  const module = readPatchModule(question.module, content);
  const { manifest } = module;
  const { verified, problem } = await verifiedAgain(question, manifest);
  const shown = await functionsOf(module, verified === undefined ? undefined : await kernelOf(question, module));
  const functions = shown.map((one): ReportedFunction => {
    if (one.change === "new") return one;
    const item = verified?.items.find(
      ({ kind, name, object, sympos }) =>
        kind === "function" && name === one.name && object === one.object && sympos === one.sympos,
    );
    const reason = item?.problem ?? "";
    // Of a stopped function nothing was compared.
    const proven = verified === undefined || manifest?.stop !== undefined ? null : item?.problem === null;
    return { ...one, proven, reason };
  });
  const file = question.subject.files[0] ?? "";
  const symbols = (manifest?.symbols ?? []).map(({ name, object, sympos }) => {
    const item = verified?.items.find(
      (each) => each.kind === "symbol" && each.name === name && each.object === object && each.sympos === sympos,
    );
    const proof = item === undefined ? "not looked at" : (item.problem ?? "found again where it was");
    return { name, object, sympos, proof };
  });
  const report: ReviewReport = {
    schema: 1,
    subject: question.subject,
    verdict: {
      outcome: outcomeOf(verified, manifest),
      kernel: manifest?.kernel ?? { release: module.release, buildId: "" },
      module: { name: module.name, sha256: module.sha256, bytes: content.length },
      file: manifest === null ? "unsealed" : module.seal,
      cves: manifest?.stop === undefined ? (manifest?.cves ?? []) : [],
      functions: countsOf(functions),
      trial: "none",
      refusals: [],
      warnings: [],
      notes: [
        ...(manifest?.stop === undefined ? [] : [`this module ${stopNote(manifest, manifest.stop)}`]),
        ...(problem === undefined || manifest === null ? [] : [`the proof was not repeated: ${problem}`]),
        ...(manifest === null
          ? ["the module has no manifest: another tool made it, and nothing says what it was built from"]
          : []),
        ...(module.seal === "unsealed" && manifest !== null
          ? ["nothing shows whether the file is as it was built"]
          : []),
      ],
      attention: [],
      adapted: manifest?.adapted === undefined ? null : { parts: [], assumptions: manifest.adapted.assumptions },
    },
    files: question.patch === undefined ? [] : patchHunksOf(question.patch),
    functions,
    units: [],
    symbols,
    graph: graphOf(functions, symbols),
    types: [],
    module: moduleMapOf(content),
    trial: null,
    repeat: {
      commands: [`kmend verify ${quoted(file)}`, `kmend try ${quoted(file)}`, `sha256sum ${quoted(file)}`],
      versions: [
        { what: "built by", version: manifest === null ? "not known" : `kmend ${manifest.kmend}` },
        { what: "version magic", version: module.vermagic },
      ],
      digests: [
        ...(manifest?.patches ?? []).map(({ name, sha256 }) => ({ what: name, sha256 })),
        { what: file, sha256: module.sha256 },
      ],
    },
  };
  return withAttention(report, {
    allowedLayouts: manifest?.allowedLayouts ?? [],
    sameCompiler: undefined,
    unchecked: problem,
  });
}

/** A stop names functions of the kernel and has nothing of their code, so it can only turn out to be for another kernel. */
function outcomeOf(verified: VerifyResult | undefined, manifest: Manifest | null): "proven" | "failed" | "unchecked" {
  if (verified === undefined) return "unchecked";
  return manifest?.stop !== undefined && verified.outcome === "proven" ? "unchecked" : verified.outcome;
}

/** What functions a module of `kmend stop` stops, in words that follow `this module`. */
export function stopNote({ functions, cves = [] }: Manifest, { answers, reason }: ManifestStop): string {
  const stopped = functions.map(({ name }, at) => `${name} returns ${answers[at]}`);
  const why = reason === undefined ? "" : `; reason: ${reason}`;
  const against = cves.length === 0 ? "" : `; against ${cves.join(", ")}, which it does not fix`;
  return `stops functions (kmend stop): ${stopped.join(", ")}${why}${against}`;
}

/** The proof once more; without its kernel there is none, and the report says so. */
async function verifiedAgain(
  { subject: _subject, patch: _patch, ...question }: ModuleQuestion,
  manifest: Manifest | null,
): Promise<{ readonly verified?: VerifyResult; readonly problem?: string }> {
  if (manifest === null) return { problem: "the module has no manifest that it could be repeated from" };
  try {
    return { verified: await verifyModule(question) };
  } catch (error) {
    question.signal?.throwIfAborted();
    if (!(error instanceof KmendError)) throw error;
    return { problem: error.message };
  }
}

/** The kernel that a module was built for. */
interface FoundKernel {
  readonly image: KernelImage;
  readonly objects: TargetObjects;
}

async function kernelOf(
  question: ModuleQuestion,
  { manifest, release }: PatchModule,
): Promise<FoundKernel | undefined> {
  const { progress, signal, external } = question;
  const choice = kernelChoice(question);
  try {
    const kernel = await findTargetKernel({ ...choice, kernel: choice.kernel ?? release, progress, signal });
    if (kernel.buildId !== manifest?.kernel.buildId) return undefined;
    const further = external === undefined ? undefined : await readExternalModule(external, signal);
    return { image: kernel.image, objects: new TargetObjects(kernel, [], further) };
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof KmendError) return undefined;
    throw error;
  }
}

async function functionsOf(
  { elf, content, manifest }: PatchModule,
  kernel: FoundKernel | undefined,
): Promise<ReportedFunction[]> {
  const unit = await readUnitObject(content).catch((error: unknown) => {
    if (error instanceof KmendError || error instanceof ElfFormatError) return undefined;
    throw error;
  });
  await unit?.arch.loadDisassembler();
  const functions: ReportedFunction[] = [];
  const replacing = new Set<UnitObject["atoms"][number]>();
  for (const [index, { object, name, sympos, section, offset }] of functionsInForce(elf).entries()) {
    const listed = manifest?.functions.find(
      (one) => one.name === name && one.object === object && one.sympos === sympos,
    );
    const atom = unit?.atoms.find(
      (one) => one.section.index === section && offset >= one.start && offset < one.end && one.kind === "function",
    );
    if (atom !== undefined) replacing.add(atom);
    functions.push({
      id: `fn-${index + 1}`,
      name,
      object,
      unit: listed?.unit ?? "",
      sympos,
      change: "changed",
      proven: null,
      reason: "",
      bytes: { shipped: listed?.bytes ?? null, patched: atom === undefined ? null : atom.end - atom.start },
      code: unit === undefined ? null : await codeOf(unit, atom, listed, kernel),
      proof: null,
      inlined: [],
      state: null,
    });
  }
  const brought = unit === undefined || manifest === null ? [] : broughtItems(unit, new ContentReader(unit));
  for (const { name, what, atom, isOfGlue } of brought) {
    if (what !== "function" || isOfGlue || replacing.has(atom) || coldParent(name) !== undefined) continue;
    const lines = unit === undefined ? undefined : moduleCode(unit, atom);
    functions.push({
      ...{ id: `fn-${functions.length + 1}`, name, object: "this module", unit: "", sympos: 0, change: "new" },
      ...{ proven: null, reason: "", bytes: { shipped: null, patched: atom.end - atom.start } },
      code: lines === undefined ? null : codeViewOfLines([], lines),
      ...{ proof: null, inlined: [], state: null },
    });
  }
  return functions;
}

async function codeOf(
  unit: UnitObject,
  atom: UnitObject["atoms"][number] | undefined,
  listed: ManifestFunction | undefined,
  found: FoundKernel | undefined,
): Promise<CodeView | null> {
  if (atom === undefined || listed === undefined || found === undefined) return null;
  const target = await found.objects.open(listed.object);
  const named = target.symbolsNamed(listed.name);
  const address = (listed.sympos === 0 ? named[0] : named[listed.sympos - 1])?.address;
  const image = listed.object === "vmlinux" ? found.image : undefined;
  const left =
    address === undefined ? undefined : shippedCode(target, { address, bytes: listed.bytes }, unit.arch, image);
  const right = moduleCode(unit, atom);
  if (left === undefined || right === undefined) return null;
  return codeViewOfLines(left, right);
}

function graphOf(functions: readonly ReportedFunction[], symbols: ReviewReport["symbols"]): ReviewReport["graph"] {
  const changed = functions.map(
    ({ name, object, change }) => ({ id: `${object}:${name}`, name, object, kind: change, mark: null }) as const,
  );
  const named = new Set(changed.map(({ id }) => id));
  const reached = symbols
    .map(({ name, object }) => ({ id: `${object}:${name}`, name, object, kind: "reached", mark: null }) as const)
    .filter(({ id }) => !named.has(id));
  const uses = functions.flatMap(({ name, object, code }) => {
    const names = new Set(
      (code?.rows ?? []).flatMap(({ patched }) =>
        patched === null ? [] : [...patched.names, ...patched.text.split(" ")],
      ),
    );
    return reached
      .filter((symbol) => names.has(symbol.name))
      .map(({ id }) => ({ from: `${object}:${name}`, to: id, kind: "reaches" }) as const);
  });
  const joined = new Set(uses.map(({ to }) => to));
  return { nodes: [...changed, ...reached.filter(({ id }) => joined.has(id))], edges: uses, leftOut: 0 };
}
