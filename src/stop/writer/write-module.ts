import { createHash } from "node:crypto";
import { manifestSection } from "../../build/assemble/manifest.ts";
import { selfCheck } from "../../build/assemble/self-check.ts";
import { writeObject } from "../../elf/writer.ts";
import type { ExportedSymbols } from "../../kernel/modules/symvers.ts";
import type { Manifest } from "../../patch-module/manifest.ts";
import { sealModule } from "../../patch-module/seal.ts";
import { ExitCode, KmendError } from "../../support/errors.ts";
import type { Answer, Target } from "./machine-code.ts";
import { exitCode, initCode, type StopCode, stopCode } from "./module-code.ts";
import { ModuleDraft } from "./module-draft.ts";
import { ReadOnlyPart, StructPart } from "./parts.ts";
import type { ShippedFacts } from "./shipped-facts.ts";
import type { StopLayouts } from "./struct-layouts.ts";

/** A function that the module answers for. */
export interface StoppedFunction {
  /** As kallsyms names it. */
  readonly name: string;
  /** `vmlinux` or the module that it is in. */
  readonly object: string;
  readonly sympos: number;
  readonly answer: Answer;
}

/** What a stop module is written from. */
export interface StopPlan {
  /** Module name. */
  readonly name: string;
  readonly functions: readonly StoppedFunction[];
  /** Count and report the calls. */
  readonly log: boolean;
  readonly facts: ShippedFacts;
  readonly layouts: StopLayouts;
  /** The kernel's build id as a whole note, and its place behind `__start_notes`. */
  readonly note: { readonly offset: number; readonly bytes: Uint8Array };
  /** The manifest, but for what only the module itself tells. */
  readonly manifest: Omit<Manifest, "functions" | "symbols">;
  /** How many symbols of a name the kernel itself has. */
  readonly countOf: (name: string) => number;
  /** Texts for modinfo(8) in addition to those that each module has. */
  readonly modinfo: readonly string[];
}

/** Name of the parameter with the count of calls of a function; names of files in sysfs have at most 255 characters. */
export function counterName({ name }: Pick<StoppedFunction, "name">, index: number): string {
  return `hits_${index}_${name.replaceAll(/[^\w]/g, "_").slice(0, 200)}`;
}

/**
 * Writes a live patch module whose functions answer in place of the kernel's own: no compiler, no headers. Structures have the layout of the target kernel's
 * types, and code the form of its modules. Everything of the kernel is reached by livepatch relocation, so no version of a symbol but that of `struct module`
 * has to be known. The same plan gives the same bytes.
 * @throws KmendError `SELF_CHECK` when what was written would not load correctly.
 */
export function writeStopModule(plan: StopPlan): Uint8Array {
  const { facts, layouts, name } = plan;
  const moduleName = name.replaceAll("-", "_");
  const readOnly = new ReadOnlyPart();
  const data = new StructPart();
  const copy = readOnly.bytes(plan.note.bytes);
  const patch = data.room(layouts.klp_patch.size);
  const objects = fillPatch(plan, data, readOnly, patch);
  const counters = plan.log ? plan.functions.map(() => data.room(8)) : [];
  const parameters = new StructPart();
  counters.forEach((counter, index) => {
    fillParameter(
      plan,
      parameters,
      readOnly.text(counterName(plan.functions[index] as StoppedFunction, index)),
      counter,
    );
  });
  const text = stopCode(
    facts.code,
    plan.functions.map((one, index) => stopOf(one, counters[index], readOnly, moduleName)),
  );
  const [note, size] = [plan.note, plan.note.bytes.length];
  const init = initCode(facts.code, {
    note: { copy, offset: note.offset, size },
    message: readOnly.text(`\u00013${moduleName}: made for another build of the kernel\n`),
    patch: { part: "data", offset: patch },
  });
  const structModule = new StructPart();
  structModule.room(facts.structModule.size);
  structModule.text(layouts.module.at.name, moduleName);
  const draft = new ModuleDraft(facts);
  draft.addCode(".text", text);
  draft.addCode(".init.text", init);
  draft.addCode(".exit.text", exitCode(facts.code));
  draft.addTables();
  draft.addData(".rodata", readOnly.data, []);
  draft.addData(".data", data.data, data.pointers, true);
  if (parameters.data.length > 0) draft.addData("__param", parameters.data, parameters.pointers);
  draft.addModuleInfo(modinfoOf(plan, moduleName));
  draft.addStructModule(structModule.data);
  draft.addObjectTable(objects);
  draft.fillCode();
  const symbols = draft.kernelSymbols().map((symbol) => ({ name: symbol, object: "vmlinux", sympos: 0 }));
  requireSymbols(plan, symbols);
  const functions = plan.functions.map(({ name: function_, object, sympos }) => ({
    ...{ name: function_, object, unit: "", sympos, address: "0x0", bytes: 0, sha256: "", calledDirectly: false },
  }));
  draft.addSection(manifestSection({ ...plan.manifest, functions, symbols }, true));
  const buildId = draft.addBuildId();
  const draftObject = draft.finish();
  buildId.data.set(createHash("sha1").update(writeObject(draftObject)).digest(), 16);
  const file = sealModule(writeObject(draftObject));
  check(file, plan);
  return file;
}

/** The kernel finds a symbol of a livepatch relocation by its name, which has to be there once. @throws KmendError `STOP_NO_SYMBOL` (exit 4) */
function requireSymbols({ countOf }: StopPlan, symbols: readonly { readonly name: string }[]): void {
  const missing = symbols.filter(({ name }) => countOf(name) !== 1).map(({ name }) => name);
  if (missing.length === 0) return;
  throw new KmendError({
    code: "STOP_NO_SYMBOL",
    message: `the kernel's symbol table does not have exactly one ${missing.join(", ")}`,
    why: "the module reaches it by name",
    hint: missing.includes("param_ops_ulong")
      ? "the kernel needs CONFIG_KALLSYMS_ALL=y; without --log this one is not needed"
      : "the kernel needs CONFIG_KALLSYMS_ALL=y; kmend build makes modules for other kernels with the compiler",
    exitCode: ExitCode.refused,
  });
}

/** Fills `struct klp_patch` with its objects and their functions. @returns where the objects are, and how many. */
function fillPatch(
  { functions, layouts, manifest }: StopPlan,
  data: StructPart,
  readOnly: ReadOnlyPart,
  patch: number,
): { readonly offset: number; readonly size: number } {
  const { klp_patch, klp_object, klp_func } = layouts;
  const names = [...new Set(functions.map(({ object }) => object))];
  // Both lists end with an entry that is zero.
  const objects = data.room((names.length + 1) * klp_object.size);
  data.point(patch + klp_patch.at.mod, { own: "module" });
  data.point(patch + klp_patch.at.objs, { part: "data", offset: objects });
  if (manifest.replace) data.byte(patch + klp_patch.at.replace, 1);
  names.forEach((object, at) => {
    const own = functions.flatMap((one, index) => (one.object === object ? [{ ...one, index }] : []));
    const list = data.room((own.length + 1) * klp_func.size);
    const entry = objects + at * klp_object.size;
    if (object !== "vmlinux") data.point(entry + klp_object.at.name, readOnly.text(object));
    data.point(entry + klp_object.at.funcs, { part: "data", offset: list });
    own.forEach(({ name, sympos, index }, number) => {
      const place = list + number * klp_func.size;
      data.point(place + klp_func.at.old_name, readOnly.text(name));
      data.point(place + klp_func.at.new_func, { function: name, index });
      data.long(place + klp_func.at.old_sympos, sympos);
    });
  });
  return { offset: objects, size: names.length * klp_object.size };
}

/** A read-only `module_param()` for a counter. */
function fillParameter({ layouts }: StopPlan, parameters: StructPart, name: Target, counter: number): void {
  const { size, at } = layouts.kernel_param;
  const entry = parameters.room(size);
  parameters.point(entry + at.name, name);
  parameters.point(entry + at.mod, { own: "module" });
  parameters.point(entry + at.ops, { kernel: "param_ops_ulong" });
  parameters.point(entry + at.arg, { part: "data", offset: counter });
  // 0444, and the level -1 of parameters that modules have.
  parameters.byte(entry + at.perm, 0o444 & 0xff);
  parameters.byte(entry + at.perm + 1, 0o444 >> 8);
  parameters.byte(entry + at.level, 0xff);
}

function stopOf(
  { name, answer }: StoppedFunction,
  counter: number | undefined,
  readOnly: ReadOnlyPart,
  moduleName: string,
): StopCode {
  if (counter === undefined) return { name, answer };
  const log = {
    counter: { part: "data", offset: counter } as const,
    // KERN_NOTICE, and where the caller goes on.
    format: readOnly.text(`\u00015${moduleName}: ${name} is stopped, called from %pS\n`),
    name: readOnly.text(name),
  };
  return { name, answer, log };
}

function modinfoOf({ facts, modinfo, functions, log }: StopPlan, moduleName: string): string[] {
  const parameters = log ? functions.map((one, index) => `parmtype=${counterName(one, index)}:ulong`) : [];
  return [
    "license=GPL",
    "livepatch=Y",
    "description=functions stopped by kmend",
    ...parameters,
    ...modinfo,
    "depends=",
    ...(facts.retpoline ? ["retpoline=Y"] : []),
    `name=${moduleName}`,
    `vermagic=${facts.vermagic}`,
  ];
}

/** Holds what was written against what the module loader and the livepatch core check. @throws KmendError `SELF_CHECK` */
function check(file: Uint8Array, { facts, name, manifest, functions, layouts }: StopPlan): void {
  const version = facts.layoutVersion;
  const entry = { name: "module_layout", crc: version ?? 0, owner: "vmlinux", namespace: "", exportType: "" };
  const symvers: ExportedSymbols = { get: (symbol) => (symbol === entry.name ? entry : undefined) };
  const { vermagic, structModule } = facts;
  const problems = selfCheck(file, {
    ...{ name, release: manifest.kernel.release, symvers, redirections: functions.length },
    shipped: { vermagic, structSize: structModule.size },
  });
  const { size, at } = layouts.module;
  const byTypes = size === structModule.size && at.init === structModule.init && at.exit === structModule.exit;
  if (!byTypes) problems.push("the kernel's types and its modules do not agree about struct module");
  if (problems.length === 0) return;
  throw new KmendError({
    code: "SELF_CHECK",
    message: "the stop module would not load correctly, so it is not written",
    why: problems.join("\n"),
    hint: "this is a defect of kmend; please report it with the kernel's release",
  });
}
