import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { manifestSection } from "../../src/build/assemble/manifest.ts";
import {
  type DraftSection,
  type DraftSymbol,
  draftSection,
  draftSymbol,
  emptyDraft,
  type ObjectDraft,
} from "../../src/elf/builder.ts";
import { Binding, RelocationX86, SectionFlag, SectionType, SymbolType } from "../../src/elf/constants.ts";
import { ElfReader } from "../../src/elf/reader.ts";
import { writeObject } from "../../src/elf/writer.ts";
import type { Manifest, ManifestFunction } from "../../src/patch-module/manifest.ts";
import { readManifest } from "../../src/patch-module/manifest-note.ts";
import { signatureMagic } from "../../src/patch-module/module-signature.ts";
import { sealModule, unsealed } from "../../src/patch-module/seal.ts";
import { assemble } from "../fixtures/compile.ts";

/** The kernel that fake hosts run. */
export const release = "6.1.0-9-amd64";
export const buildId = "0123456789abcdef0123456789abcdef01234567";

const machine = new ElfReader(assemble("nop"));

/** What a test wants of a patch module. */
export interface Wanted {
  readonly name: string;
  readonly release?: string;
  readonly buildId?: string;
  readonly replace?: boolean;
  /** `NAME` of vmlinux, or `OBJECT:NAME`. */
  readonly functions?: readonly string[];
  /** A module that kmend did not make has none. */
  readonly manifest?: false;
  /** One of a kmend that noted no digest. */
  readonly sealed?: false;
  readonly depends?: string;
  readonly signed?: true;
  /** Patch modules that it goes on top of. */
  readonly after?: Manifest["after"];
  /** Functions that others of the module call directly. */
  readonly calledDirectly?: readonly string[];
  readonly keptAddresses?: Manifest["keptAddresses"];
  readonly removable?: Manifest["removable"];
  readonly cves?: Manifest["cves"];
  /** Lets two builds of one module differ. */
  readonly build?: string;
  /** Functions, variables and constants that it brings. */
  readonly brings?: readonly Brought[];
  /** Version of kmend that its manifest names. */
  readonly kmend?: string;
  /** Its build id note. */
  readonly note?: Uint8Array;
  /** The modules that it changes, as they were proven. */
  readonly modules?: Manifest["modules"];
}

/** Something that a patch module brings by name, in a section of its own. */
export interface Brought {
  readonly name: string;
  readonly kind: "function" | "variable" | "constant" | "unnamed";
  readonly bytes: readonly number[];
}

/** Writes a patch module that has what a host looks at. @returns its path. */
export function patchFile(folder: string, wanted: Wanted): string {
  const { name, functions = ["foo"], replace = true, depends = "", build = "" } = wanted;
  const made = wanted.release ?? release;
  const draft = emptyDraft(machine);
  const info = {
    livepatch: "Y",
    license: "GPL",
    depends,
    name: name.replaceAll("-", "_"),
    vermagic: `${made} SMP preempt mod_unload modversions `,
    ...(wanted.manifest === false ? {} : { kmend: "0" }),
  };
  const text = Object.entries(info).map(([key, value]) => `${key}=${value}\0`);
  const note = wanted.note ?? Buffer.from(`build id of ${name} ${build}`);
  const add = (section: string, type: number, data: Uint8Array) =>
    draft.sections.push(draftSection({ name: section, type, flags: SectionFlag.alloc, alignment: 4, data }));
  add(".modinfo", SectionType.progbits, Buffer.from(text.join("")));
  add(".note.gnu.build-id", SectionType.note, note);
  const manifest: Manifest = {
    schema: 1,
    kmend: wanted.kmend ?? "0",
    ...(wanted.sealed === false ? {} : { seal: unsealed }),
    kernel: { release: made, buildId: wanted.buildId ?? buildId },
    replace,
    allowedLayouts: [],
    ...(wanted.after === undefined ? {} : { after: wanted.after }),
    ...(wanted.modules === undefined ? {} : { modules: wanted.modules }),
    patches: [{ name: `${name}.patch`, sha256: "" }],
    ...(wanted.cves === undefined ? {} : { cves: wanted.cves }),
    functions: functions
      .map(functionNamed)
      .map((entry) => ({ ...entry, calledDirectly: wanted.calledDirectly?.includes(entry.name) ?? false })),
    ...(wanted.keptAddresses === undefined ? {} : { keptAddresses: wanted.keptAddresses }),
    ...(wanted.removable === undefined ? {} : { removable: wanted.removable }),
    symbols: [],
  };
  for (const one of wanted.brings ?? []) addBrought(draft, one);
  if (wanted.manifest !== false) {
    draft.sections.push(manifestSection(manifest, true));
    addFunctionTable(draft, manifest.functions);
  }
  const path = join(folder, `${name}.ko`);
  const written = writeObject(draft);
  const content = wanted.manifest === false || wanted.sealed === false ? written : sealModule(written);
  writeFileSync(path, wanted.signed ? Buffer.concat([content, Buffer.alloc(12), signatureMagic]) : content);
  return path;
}

const flagsOf = { function: SectionFlag.execinstr, variable: SectionFlag.write, constant: 0, unnamed: 0 } as const;

function addBrought(draft: ObjectDraft, { name, kind, bytes }: Brought): void {
  const section = draftSection({
    ...{ name: `.${kind}.${name}`, type: SectionType.progbits, alignment: 8 },
    ...{ flags: SectionFlag.alloc | flagsOf[kind], data: Uint8Array.from(bytes) },
  });
  draft.sections.push(section);
  if (kind === "unnamed") return;
  const type = kind === "function" ? SymbolType.func : SymbolType.object;
  draft.symbols.push(draftSymbol({ name, section, type, size: bytes.length, binding: Binding.global }));
}

/** A module that was changed, with a digest as if it had been built so. */
export function resealed(content: Uint8Array): Buffer {
  const seal = readManifest(new ElfReader(content))?.seal ?? "";
  return Buffer.from(
    sealModule(Buffer.from(Buffer.from(content).toString("latin1").replace(seal, unsealed), "latin1")),
  );
}

/** Bytes of a row of the glue's table. */
const rowSize = 32;

/** The table that the glue of a real module reads: rows of object, name, code and position. */
function addFunctionTable(draft: ObjectDraft, functions: readonly ManifestFunction[]): void {
  const strings = Buffer.from(functions.map(({ object, name }) => `${object}\0${name}\0`).join(""));
  const add = (name: string, data: Uint8Array, flags = 0) => {
    const section = draftSection({
      ...{ name, data, type: SectionType.progbits, flags: SectionFlag.alloc | flags, alignment: 8 },
    });
    draft.sections.push(section);
    return section;
  };
  const text = add(".text", Uint8Array.from([0xc3]), SectionFlag.execinstr);
  const names = add(".rodata.kmend", strings);
  const table = add(".data.kmend_funcs", new Uint8Array(functions.length * rowSize), SectionFlag.write);
  const [code, name] = [text, names].map((section) => draftSymbol({ name: "", section, type: SymbolType.section }));
  const rows = { name: "kmend_funcs_0", section: table, type: SymbolType.object, size: table.data.length };
  draft.symbols.unshift(code as DraftSymbol, name as DraftSymbol);
  draft.symbols.push(draftSymbol({ ...rows, binding: Binding.global }));
  const relocations: DraftSection["relocations"] = [];
  let at = 0;
  functions.forEach((one, row) => {
    const place = (field: number, symbol: DraftSymbol | undefined, addend: number) =>
      relocations.push({
        offset: row * rowSize + field,
        type: RelocationX86.abs64,
        symbol: symbol as DraftSymbol,
        addend,
      });
    if (one.object !== "vmlinux") place(0, name, at);
    place(8, name, at + one.object.length + 1);
    place(16, code, 0);
    at += one.object.length + one.name.length + 2;
  });
  const rela = { type: SectionType.rela, flags: SectionFlag.infoLink, alignment: 8, entrySize: 24 };
  draft.sections.push(
    draftSection({ name: ".rela.data.kmend_funcs", ...rela, link: draft.symbolTable, info: table, relocations }),
  );
}

function functionNamed(text: string): ManifestFunction {
  const [object, name] = text.includes(":") ? (text.split(":") as [string, string]) : ["vmlinux", text];
  return { name, object, unit: "x.c", sympos: 0, address: "0", bytes: 1, sha256: "" };
}
