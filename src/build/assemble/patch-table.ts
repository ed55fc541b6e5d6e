import { draftSection, draftSymbol, emptyDraft } from "../../elf/builder.ts";
import { Binding, RelocationX86, SectionFlag, SectionType, SymbolType } from "../../elf/constants.ts";
import type { ElfReader } from "../../elf/reader.ts";
import { writeObject } from "../../elf/writer.ts";
import type { Manifest } from "../../patch-module/manifest.ts";
import { staysInMemory } from "../../patch-module/manifest-note.ts";
import type { KlpRelocation } from "./extract.ts";
import { addKernelIdentity, type KernelIdentity } from "./kernel-identity.ts";
import { manifestSection } from "./manifest.ts";
import { callbackTableName, functionTableName } from "./table-names.ts";

/** Offset of `kmend_units`: the three words are before it. */
const unitsOffset = 24;

/**
 * Writes the object that tells the glue which tables there are: `kmend_units`, `kmend_unit_count`, `kmend_replace` and `kmend_stays` (see glue.ts), and the
 * module's own `.modinfo` texts.
 * @param like any object for the same machine.
 * @param counts numbers of redirected functions and of callbacks by unit.
 * @param info `key=value` texts for `.modinfo`.
 * @param identity of the kernel that the module may be loaded into.
 * @returns the object, and the livepatch relocations of it.
 */
export function patchTable(
  like: ElfReader,
  counts: readonly { readonly functions: number; readonly callbacks: number }[],
  info: readonly string[],
  manifest: Manifest,
  identity: KernelIdentity | undefined,
): { readonly object: Uint8Array; readonly klpRelocations: readonly KlpRelocation[] } {
  const draft = emptyDraft(like);
  const data = new Uint8Array(unitsOffset + counts.length * 32);
  const view = new DataView(data.buffer);
  const little = draft.littleEndian;
  view.setUint32(little ? 0 : 4, counts.length, little);
  view.setUint32(little ? 8 : 12, manifest.replace ? 1 : 0, little);
  view.setUint32(little ? 16 : 20, staysInMemory(manifest) ? 1 : 0, little);
  const table = draftSection({
    name: ".data.kmend",
    type: SectionType.progbits,
    flags: SectionFlag.alloc | SectionFlag.write,
    alignment: 8,
    data,
  });
  const rela = draftSection({
    name: ".rela.data.kmend",
    type: SectionType.rela,
    flags: SectionFlag.infoLink,
    alignment: 8,
    entrySize: 24,
    link: draft.symbolTable,
    info: table,
  });
  const modinfo = draftSection({
    name: ".modinfo",
    type: SectionType.progbits,
    flags: SectionFlag.alloc,
    data: Buffer.from(info.map((text) => `${text}\0`).join("")),
  });
  draft.sections.push(table, rela, ...(info.length > 0 ? [modinfo] : []), manifestSection(manifest, little));
  const define = (name: string, value: number, size: number): void => {
    draft.symbols.push(
      draftSymbol({ name, section: table, value, size, type: SymbolType.object, binding: Binding.global }),
    );
  };
  define("kmend_unit_count", 0, 8);
  define("kmend_replace", 8, 8);
  define("kmend_stays", 16, 8);
  define("kmend_units", unitsOffset, counts.length * 32);
  counts.forEach(({ functions, callbacks }, number) => {
    const fields: [string, number][] = [
      [functionTableName(number), functions],
      [callbackTableName(number), callbacks],
    ];
    fields.forEach(([name, count], field) => {
      const at = unitsOffset + number * 32 + field * 16;
      const symbol = draftSymbol({ name, section: 0, binding: Binding.global });
      draft.symbols.push(symbol);
      rela.relocations.push({ offset: at, type: RelocationX86.abs64, symbol, addend: 0 });
      view.setUint32(at + (little ? 8 : 12), count, little);
    });
  });
  const klpRelocations = addKernelIdentity(draft, identity);
  return { object: writeObject(draft), klpRelocations };
}
