import { type AlignedInstruction, instructionsOf } from "../build/explain/explain.ts";
import { readUnitObject, type UnitObject } from "../diff/unit-object.ts";
import { functionsInForce, type InForce } from "../patch-module/functions-in-force.ts";
import { type PatchModule, readPatchModule } from "../patch-module/patch-module.ts";
import { readPatchModuleFile } from "../patch-module/patch-module-file.ts";
import { codeViewOfLines } from "./code-view.ts";
import { moduleCode } from "./linked-code.ts";
import { type ModuleMap, moduleMapOf } from "./module-map.ts";
import type { Before, CodeView } from "./report-types.ts";

/** What a patch module changes of what an earlier one does: the stable `--json` of `kmend report --compare`. */
export interface ModuleComparison {
  readonly schema: 1;
  readonly old: ComparedModule;
  readonly new: ComparedModule;
  readonly sameKernel: boolean;
  readonly functions: readonly ComparedFunction[];
  /** Source patches, by digest. */
  readonly patches: readonly Before[];
  readonly cves: readonly Before[];
  /** Symbols of the kernel that are reached by livepatch relocations. */
  readonly symbols: readonly Before[];
  readonly sections: readonly { readonly name: string; readonly old: number; readonly new: number }[];
  /** What the person who replaces the one by the other should know. */
  readonly remarks: readonly string[];
}

export interface ComparedModule {
  readonly file: string;
  readonly name: string;
  readonly sha256: string;
  readonly bytes: number;
  readonly memory: number;
  readonly kernel: { readonly release: string; readonly buildId: string };
  readonly signed: boolean;
  readonly replacesAll: boolean | null;
  readonly afterUnload: string;
}

/** `added`: only the new module replaces it; `dropped`: only the old one does; `changed`: both do, by different code. */
export interface ComparedFunction {
  readonly name: string;
  readonly object: string;
  readonly unit: string;
  readonly kind: "added" | "dropped" | "changed" | "same";
  /** Old code and new code of what changed. */
  readonly code: CodeView | null;
}

/**
 * Compares two patch modules function by function.
 * @param files their names, for the page.
 * @throws KmendError `NOT_A_PATCH_MODULE`, `MANIFEST_DAMAGED`, `MODULE_ALTERED`.
 */
export async function compareModules(
  before: string,
  after: string,
  files: readonly [string, string],
): Promise<ModuleComparison> {
  const [old, fresh] = [await open(before), await open(after)];
  const functions: ComparedFunction[] = [];
  const names = new Map([...old.functions, ...fresh.functions]);
  for (const key of [...names.keys()].sort()) {
    const [was, is] = [old.functions.get(key), fresh.functions.get(key)];
    const { name, object } = names.get(key) as InForce;
    const manifest = is === undefined ? old.module.manifest : fresh.module.manifest;
    const unit = manifest?.functions.find((one) => one.name === name && one.object === object)?.unit ?? "";
    if (was === undefined || is === undefined) {
      functions.push({ name, object, unit, kind: was === undefined ? "added" : "dropped", code: null });
      continue;
    }
    const code = codeViewOfLines(await linesOf(old, was, before), await linesOf(fresh, is, after));
    functions.push({
      name,
      object,
      unit,
      kind: code.differing > 0 ? "changed" : "same",
      code: code.differing > 0 ? code : null,
    });
  }
  const [left, right] = [describe(old, files[0]), describe(fresh, files[1])];
  return {
    schema: 1,
    old: left,
    new: right,
    sameKernel: left.kernel.release === right.kernel.release && left.kernel.buildId === right.kernel.buildId,
    functions,
    patches: beside(old, fresh, ({ module }) =>
      (module.manifest?.patches ?? []).map(({ name, sha256 }) => `${name} (${sha256.slice(0, 12)})`),
    ),
    cves: beside(old, fresh, ({ module }) => module.manifest?.cves ?? []),
    symbols: beside(old, fresh, ({ map }) =>
      map.relocations.flatMap(({ object, symbols }) => symbols.map((name) => `${object}: ${name}`)),
    ),
    sections: sectionsOf(old.map, fresh.map),
    remarks: remarksOf(left, right, functions),
  };
}

interface Opened {
  readonly module: PatchModule;
  readonly map: ModuleMap;
  readonly unit: UnitObject;
  readonly functions: ReadonlyMap<string, InForce>;
}

async function open(path: string): Promise<Opened> {
  const content = await readPatchModuleFile(path);
  const module = readPatchModule(path, content);
  const unit = await readUnitObject(content);
  await unit.arch.loadDisassembler();
  const functions = functionsInForce(module.elf).map(
    (one) => [`${one.object} ${one.name} ${one.sympos}`, one] as const,
  );
  return { module, map: moduleMapOf(content), unit, functions: new Map(functions) };
}

async function linesOf({ unit }: Opened, { section, offset }: InForce, path: string): Promise<AlignedInstruction[]> {
  const atom = unit.atoms.find(
    (one) => one.kind === "function" && one.section.index === section && offset >= one.start && offset < one.end,
  );
  // What kmend disassembles itself goes by the names that the kernel finds; those of livepatch symbols have positions.
  const own = atom === undefined ? undefined : moduleCode(unit, atom);
  return own ?? instructionsOf(unit, atom, path);
}

function describe({ module, map }: Opened, file: string): ComparedModule {
  const { name, sha256, content, manifest, release } = module;
  const { memory, signed, replacesAll, afterUnload } = map;
  const kernel = manifest?.kernel ?? { release, buildId: "" };
  return { file, name, sha256, bytes: content.length, memory, kernel, signed, replacesAll, afterUnload };
}

function beside(old: Opened, fresh: Opened, list: (of: Opened) => readonly string[]): Before[] {
  const [left, right] = [new Set(list(old)), new Set(list(fresh))];
  return [...new Set([...left, ...right])]
    .sort()
    .map((what) => ({ what, before: left.has(what), after: right.has(what) }));
}

function sectionsOf(old: ModuleMap, fresh: ModuleMap): ModuleComparison["sections"] {
  const sizes = ({ sections }: ModuleMap): Map<string, number> => {
    const map = new Map<string, number>();
    for (const { name, bytes, isLoaded } of sections) if (isLoaded) map.set(name, (map.get(name) ?? 0) + bytes);
    return map;
  };
  const [left, right] = [sizes(old), sizes(fresh)];
  return [...new Set([...left.keys(), ...right.keys()])]
    .map((name) => ({ name, old: left.get(name) ?? 0, new: right.get(name) ?? 0 }))
    .filter((one) => one.old !== one.new);
}

function remarksOf(old: ComparedModule, fresh: ComparedModule, functions: readonly ComparedFunction[]): string[] {
  const dropped = functions.filter(({ kind }) => kind === "dropped").map(({ name }) => name);
  return [
    ...(old.kernel.buildId === fresh.kernel.buildId
      ? []
      : ["they are for different builds of the kernel: the one cannot replace the other"]),
    ...(fresh.replacesAll === false ? ["the new module is stacked: it leaves the old one active"] : []),
    ...(fresh.replacesAll === true && dropped.length > 0
      ? [`with the new module the kernel's own code runs again for ${dropped.join(", ")}`]
      : []),
    ...(old.signed && !fresh.signed ? ["the old module is signed, and the new one is not"] : []),
  ];
}
