import { type AlignedInstruction, instructionsOf } from "../build/explain/explain.ts";
import type { Atom } from "../diff/atoms.ts";
import { specialSections } from "../diff/special-sections/special-sections.ts";
import { readUnitObject, type UnitObject } from "../diff/unit-object.ts";
import { functionsInForce, type InForce } from "../patch-module/functions-in-force.ts";
import { type PatchModule, readPatchModule } from "../patch-module/patch-module.ts";
import { notAPatchModule, readPatchModuleFile } from "../patch-module/patch-module-file.ts";
import { codeViewOfLines } from "./code-view.ts";
import { stopNote } from "./collect-module.ts";
import { moduleCode } from "./linked-code.ts";
import { type BroughtItem, broughtItems, ContentReader, isDescription, sectionContents } from "./module-contents.ts";
import { type ModuleMap, moduleMapOf } from "./module-map.ts";
import type { Before, CodeView } from "./report-types.ts";

/** What a patch module changes of what an earlier one does: the stable `--json` of `kmend report --compare`. */
export interface ModuleComparison {
  readonly schema: 1;
  readonly old: ComparedModule;
  readonly new: ComparedModule;
  /** Null where one of them does not say for which build it was made. */
  readonly sameKernel: boolean | null;
  readonly functions: readonly ComparedFunction[];
  /** Variables and constants that the modules bring. */
  readonly data: readonly ComparedData[];
  /** Source patches, by digest. */
  readonly patches: readonly Before[];
  readonly cves: readonly Before[];
  /** Functions that the livepatch core calls around a transition. */
  readonly callbacks: readonly Before[];
  /** What the modules say of themselves in `.modinfo`, as `key=value`, their names left out. */
  readonly modinfo: readonly Before[];
  /** Symbols of the kernel that are reached: by livepatch relocations, and those that the module loader resolves. */
  readonly symbols: readonly Before[];
  /** Loaded sections whose content differs, with what their relocations name; bytes in each module. */
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

/** `added`: only the new module has it; `dropped`: only the old one does; `changed`: both do, with different content. */
export interface ComparedFunction {
  readonly name: string;
  /** `vmlinux`, a module, or `this module` for a function that it brings. */
  readonly object: string;
  /** Which of several functions of the object that have this name; 0 where there is one. */
  readonly sympos: number;
  readonly unit: string;
  /** Whether it stands in place of one of the kernel's, or only others of the module use it. */
  readonly role: "replaces" | "brings";
  readonly kind: "added" | "dropped" | "changed" | "same";
  /** Special tables whose entries about it differ: they change what the code does without a change of its instructions. */
  readonly tables: readonly string[];
  /** Old code and new code of what changed. */
  readonly code: CodeView | null;
}

/** A variable or constant with a name. */
export interface ComparedData {
  readonly name: string;
  readonly what: "variable" | "constant";
  readonly section: string;
  readonly kind: ComparedFunction["kind"];
}

/**
 * Compares two patch modules: functions that they put in force, everything else that they bring by name, and the content of their loaded sections.
 * @param files their names, for the page.
 * @throws KmendError `NOT_A_PATCH_MODULE`, `MANIFEST_DAMAGED`, `MODULE_ALTERED`.
 */
export async function compareModules(
  before: string,
  after: string,
  files: readonly [string, string],
): Promise<ModuleComparison> {
  const [old, fresh] = [await open(before), await open(after)];
  const pairs = pairsOf(old, fresh);
  const functions: ComparedFunction[] = [];
  const data: ComparedData[] = [];
  const told = new Set<string>();
  for (const { was, is } of pairs) {
    const { name, what, atom, inForce } = (is ?? was) as Item;
    const kind = was === undefined ? "added" : is === undefined ? "dropped" : undefined;
    const isSame = was?.content === is?.content;
    if (kind !== undefined || !isSame)
      for (const one of [was, is]) if (one !== undefined) told.add(one.atom.section.name);
    if (what !== "function") {
      data.push({ name, what, section: atom.section.name, kind: kind ?? (isSame ? "same" : "changed") });
      continue;
    }
    const code =
      was === undefined || is === undefined
        ? null
        : codeViewOfLines(await linesOf(old, was, before), await linesOf(fresh, is, after));
    const isChanged = !isSame || (code?.differing ?? 0) > 0;
    functions.push({
      name: inForce?.name ?? name,
      object: inForce?.object ?? "this module",
      sympos: inForce?.sympos ?? 0,
      unit: unitOf(is === undefined ? old : fresh, inForce),
      role: inForce === undefined ? "brings" : "replaces",
      kind: kind ?? (isChanged ? "changed" : "same"),
      tables: was === undefined || is === undefined ? [] : differingTables(was, is),
      code: isChanged ? code : null,
    });
  }
  const callbacks = beside(old, fresh, (one) => one.callbacks);
  const [left, right] = [describe(old, files[0]), describe(fresh, files[1])];
  const sections = sectionsOf(old, fresh);
  // Tables about the code, its texts and what kmend's own code reads follow what is listed: what functions use of them is part of their content, and the rest is compared as functions in force and callbacks.
  const isChange = [...functions, ...data].some(({ kind }) => kind !== "same") || callbacks.some(isDifference);
  const following = new Set(isChange ? [...tables, ...besideCode] : []);
  const unexplained = sections
    .map(({ name }) => name)
    .filter((name) => !told.has(name) && !isDescription(name) && !following.has(name))
    .filter((name) => {
      // Where more stands before something, what refers to it has other numbers and means the same.
      const [was, is] = [old.reader.meaningOfSection(name), fresh.reader.meaningOfSection(name)];
      return was === undefined || was !== is;
    });
  return {
    schema: 1,
    old: left,
    new: right,
    sameKernel: sameKernel(left, right),
    functions,
    data,
    patches: beside(old, fresh, ({ module }) =>
      (module.manifest?.patches ?? []).map(({ name, sha256 }) => `${name} (${sha256.slice(0, 12)})`),
    ),
    cves: beside(old, fresh, ({ module }) => module.manifest?.cves ?? []),
    callbacks,
    modinfo: beside(old, fresh, ({ map }) =>
      map.modinfo.filter(({ key }) => key !== "name").map(({ key, value }) => `${key}=${value}`),
    ),
    symbols: beside(old, fresh, ({ map }) => [
      ...map.relocations.flatMap(({ object, symbols }) => symbols.map((name) => `${object}: ${name}`)),
      ...map.imports.map((name) => `exported: ${name}`),
    ]),
    sections,
    remarks: [
      ...originRemarks("old", old.module),
      ...originRemarks("new", fresh.module),
      ...remarksOf(left, right, functions, unexplained),
      ...callbackRemarks(callbacks),
    ],
  };
}

function isDifference({ before, after }: Before): boolean {
  return before !== after;
}

function differingTables({ entries: old }: Item, { entries: fresh }: Item): string[] {
  return [...new Set([...old.keys(), ...fresh.keys()])].filter((table) => old.get(table) !== fresh.get(table)).sort();
}

function sameKernel({ kernel: old }: ComparedModule, { kernel: fresh }: ComparedModule): boolean | null {
  if (old.release !== fresh.release) return false;
  return old.buildId === "" || fresh.buildId === "" ? null : old.buildId === fresh.buildId;
}

/** Sections that hold what code uses without a name, and the tables of the code that kmend puts into every module. */
const besideCode = [".altinstr_replacement", ".altinstr_aux", ".rodata", ".rodata.kmend.str", ".data.kmend"];

const tables = specialSections.map(({ table }) => table);

/** Something of a module that is compared. */
interface Item extends BroughtItem {
  readonly inForce: InForce | undefined;
  /** By special table, what its entries about it say. */
  readonly entries: ReadonlyMap<string, string>;
}

interface Pair {
  readonly was: Item | undefined;
  readonly is: Item | undefined;
}

/** What stands for the same thing in both modules: of several with one name those of equal content first, and the others in their order. */
function pairsOf(old: Opened, fresh: Opened): Pair[] {
  const names = [...new Set([...old.items.keys(), ...fresh.items.keys()])].sort();
  return names.flatMap((name): Pair[] => {
    const rest = [...(fresh.items.get(name) ?? [])];
    const take = (index: number): Item | undefined => (index < 0 ? undefined : rest.splice(index, 1)[0]);
    const pairs = (old.items.get(name) ?? []).map((was) => ({
      was,
      is: take(rest.findIndex(({ content }) => content === was.content)),
    }));
    const whole = pairs.map(({ was, is }) => ({ was, is: is ?? take(0) }));
    return [...whole, ...rest.map((is) => ({ was: undefined, is }))].filter(
      ({ was, is }) => !(was?.content === is?.content && (is ?? was)?.isOfGlue === true),
    );
  });
}

function unitOf({ module }: Opened, inForce: InForce | undefined): string {
  if (inForce === undefined) return "";
  const { name, object, sympos } = inForce;
  const listed = module.manifest?.functions ?? [];
  return listed.find((one) => one.name === name && one.object === object && one.sympos === sympos)?.unit ?? "";
}

interface Opened {
  readonly module: PatchModule;
  readonly map: ModuleMap;
  readonly unit: UnitObject;
  readonly reader: ContentReader;
  /** By what tells which of them stand for the same. */
  readonly items: ReadonlyMap<string, readonly Item[]>;
  readonly contents: ReadonlyMap<string, string>;
  /** Each as one text: object, kind and function. */
  readonly callbacks: readonly string[];
}

async function open(path: string): Promise<Opened> {
  const content = await readPatchModuleFile(path);
  const module = readPatchModule(path, content);
  const unit = await readUnitObject(content);
  await unit.arch.loadDisassembler();
  const items = new Map<string, Item[]>();
  const add = (key: string, item: Item): void => void items.set(key, [...(items.get(key) ?? []), item]);
  const reader = new ContentReader(unit);
  const placed = new Set<Atom>();
  for (const inForce of functionsInForce(module.elf)) {
    const { object, name, sympos, section, offset } = inForce;
    const holds = ({ section: { index }, start, end }: Atom): boolean =>
      index === section && offset >= start && offset < end;
    const here = unit.atoms.filter(holds);
    const atom = here.find(({ kind }) => kind === "function") ?? here[0];
    if (atom === undefined) throw notAPatchModule(path, `there is no code where its table has ${name}`);
    placed.add(atom);
    const content = reader.contentOf(atom);
    add(`1 ${object} ${name} ${sympos}`, {
      ...{ name, what: "function", atom, content, isOfGlue: false, inForce },
      entries: reader.entriesOf(atom),
    });
  }
  for (const item of broughtItems(unit, reader))
    if (!placed.has(item.atom)) {
      const entries = reader.entriesOf(item.atom);
      add(`2 ${item.what} ${item.name}`, { ...item, inForce: undefined, entries });
    }
  const map = moduleMapOf(content);
  const callbacks = map.callbacks.map(({ object, kind, function: name }) => `${object}: ${kind} ${name}`);
  return { module, map, unit, reader, items, contents: sectionContents(module.elf), callbacks };
}

async function linesOf({ unit }: Opened, { atom }: Item, path: string): Promise<AlignedInstruction[]> {
  // What kmend disassembles itself goes by the names that the kernel finds; those of livepatch symbols have positions.
  return moduleCode(unit, atom) ?? instructionsOf(unit, atom, path);
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

function sectionsOf(old: Opened, fresh: Opened): ModuleComparison["sections"] {
  const sizes = ({ sections }: ModuleMap): Map<string, number> => {
    const map = new Map<string, number>();
    for (const { name, bytes, isLoaded } of sections) if (isLoaded) map.set(name, (map.get(name) ?? 0) + bytes);
    return map;
  };
  const [left, right] = [sizes(old.map), sizes(fresh.map)];
  return [...new Set([...old.contents.keys(), ...fresh.contents.keys()])]
    .filter((name) => old.contents.get(name) !== fresh.contents.get(name))
    .map((name) => ({ name, old: left.get(name) ?? 0, new: right.get(name) ?? 0 }));
}

/** What the module is, where it is not a patch module that kmend built. */
function originRemarks(which: "old" | "new", { manifest }: PatchModule): string[] {
  if (manifest === null)
    return [
      `kmend did not make the ${which} module: which functions it replaces, and with what callbacks, is not known; what it has by name is listed as brought by it`,
    ];
  return manifest.stop === undefined ? [] : [`the ${which} module ${stopNote(manifest, manifest.stop)}`];
}

function callbackRemarks(callbacks: readonly Before[]): string[] {
  const list = (of: (one: Before) => boolean): string =>
    callbacks
      .filter(of)
      .map(({ what }) => what)
      .join(", ");
  const [gone, come] = [list(({ after }) => !after), list(({ before }) => !before)];
  return [
    ...(gone === "" ? [] : [`the new module does not have these callbacks of the old one: ${gone}`]),
    ...(come === "" ? [] : [`the new module has callbacks that the old one does not have: ${come}`]),
  ];
}

function remarksOf(
  old: ComparedModule,
  fresh: ComparedModule,
  functions: readonly ComparedFunction[],
  unexplained: readonly string[],
): string[] {
  const dropped = functions
    .filter(({ kind, role }) => kind === "dropped" && role === "replaces")
    .map(({ name, object }) => (object === "vmlinux" ? name : `${name} (${object})`));
  const same = sameKernel(old, fresh);
  return [
    ...(same === false ? ["they are for different builds of the kernel: the one cannot replace the other"] : []),
    ...(same === null
      ? ["one of them does not say for which build of the kernel it was made: whether it is the same is not known"]
      : []),
    ...(unexplained.length > 0
      ? [`content differs that no function or variable listed here explains, in ${unexplained.join(", ")}`]
      : []),
    ...(fresh.replacesAll === false ? ["the new module is stacked: it leaves the old one active"] : []),
    ...(fresh.replacesAll === true && dropped.length > 0
      ? [`with the new module the kernel's own code runs again for ${dropped.join(", ")}`]
      : []),
    ...(old.signed && !fresh.signed ? ["the old module has a signature attached, and the new one has none"] : []),
  ];
}
