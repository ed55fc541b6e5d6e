import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { draftSection, emptyDraft } from "../../src/elf/builder.ts";
import { SectionFlag, SectionType } from "../../src/elf/constants.ts";
import type { Manifest, ManifestFunction } from "../../src/elf/manifest-note.ts";
import { signatureMagic } from "../../src/elf/module-signature.ts";
import { ElfReader } from "../../src/elf/reader.ts";
import { writeObject } from "../../src/elf/writer.ts";
import { manifestSection } from "../../src/module/manifest.ts";
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
  readonly depends?: string;
  readonly signed?: true;
  /** Patch modules that it goes on top of. */
  readonly after?: Manifest["after"];
  /** Functions that others of the module call directly. */
  readonly calledDirectly?: readonly string[];
  readonly keptAddresses?: Manifest["keptAddresses"];
  readonly removable?: Manifest["removable"];
  /** Lets two builds of one module differ. */
  readonly build?: string;
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
  };
  const text = Object.entries(info).map(([key, value]) => `${key}=${value}\0`);
  const note = Buffer.from(`build id of ${name} ${build}`);
  const add = (section: string, type: number, data: Uint8Array) =>
    draft.sections.push(draftSection({ name: section, type, flags: SectionFlag.alloc, alignment: 4, data }));
  add(".modinfo", SectionType.progbits, Buffer.from(text.join("")));
  add(".note.gnu.build-id", SectionType.note, note);
  const manifest: Manifest = {
    schema: 1,
    kmend: "0",
    kernel: { release: made, buildId: wanted.buildId ?? buildId },
    replace,
    allowedLayouts: [],
    ...(wanted.after === undefined ? {} : { after: wanted.after }),
    patches: [{ name: `${name}.patch`, sha256: "" }],
    functions: functions
      .map(functionNamed)
      .map((entry) => ({ ...entry, calledDirectly: wanted.calledDirectly?.includes(entry.name) ?? false })),
    ...(wanted.keptAddresses === undefined ? {} : { keptAddresses: wanted.keptAddresses }),
    ...(wanted.removable === undefined ? {} : { removable: wanted.removable }),
    symbols: [],
  };
  if (wanted.manifest !== false) draft.sections.push(manifestSection(manifest, true));
  const path = join(folder, `${name}.ko`);
  const content = writeObject(draft);
  writeFileSync(path, wanted.signed ? Buffer.concat([content, signatureMagic]) : content);
  return path;
}

function functionNamed(text: string): ManifestFunction {
  const [object, name] = text.includes(":") ? (text.split(":") as [string, string]) : ["vmlinux", text];
  return { name, object, unit: "x.c", sympos: 0, address: "0", bytes: 1, sha256: "" };
}
