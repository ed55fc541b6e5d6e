import { SectionFlag, SpecialSection } from "../elf/constants.ts";
import { ElfFormatError } from "../elf/format-error.ts";
import type { ElfReader } from "../elf/reader.ts";
import { ExitCode, KmendError } from "../support/errors.ts";
import { functionsInForce } from "./functions-in-force.ts";
import type { Manifest } from "./manifest.ts";
import { manifestSectionName, readManifest } from "./manifest-note.ts";
import { type Seal, sealOfModule } from "./seal.ts";

/**
 * The manifest of a patch module, once the module is found to be what it says.
 * @param path for messages.
 * @throws KmendError `MANIFEST_DAMAGED`, `MODULE_ALTERED` (exit 4); ElfFormatError
 */
export function checkedManifest(
  path: string,
  elf: ElfReader,
  info: ReadonlyMap<string, readonly string[]>,
): { readonly manifest: Manifest | null; readonly seal: Exclude<Seal, "altered"> } {
  const manifest = readManifest(elf);
  const lost = lostRelocations(elf, manifest);
  if (manifest === undefined) {
    if (info.has("kmend") || elf.symbols.some(({ name }) => name === "kmend_units")) {
      throw altered(path, `kmend made it, and it has no manifest (${manifestSectionName})`);
    }
    if (lost !== undefined) throw altered(path, lost);
    return { manifest: null, seal: "unsealed" };
  }
  const seal = sealOfModule(elf, manifest);
  const problem = lost ?? differentFunctions(elf, manifest);
  if (problem !== undefined) throw altered(path, problem);
  if (seal === "altered") {
    const missing = `its manifest has no digest of it, and kmend ${manifest.kmend} writes one`;
    const wrong = "its bytes do not have the digest that its manifest gives them";
    throw altered(path, manifest.seal === undefined ? missing : wrong);
  }
  return { manifest, seal };
}

/** The functions that its tables put in force are those that the manifest names, or what differs. */
function differentFunctions(elf: ElfReader, manifest: Manifest): string | undefined {
  const key = (one: { object: string; name: string; sympos: number }): string =>
    `${one.object} ${one.name} ${one.sympos}`;
  const listed = manifest.functions.map(key);
  let tables: readonly string[];
  try {
    tables = functionsInForce(elf).map(key);
  } catch (error) {
    if (error instanceof ElfFormatError) return `the table of its functions is damaged (${error.message})`;
    throw error;
  }
  const unlisted = tables.find((one) => !listed.includes(one));
  if (unlisted !== undefined) return `it replaces ${described(unlisted)}, and its manifest says nothing of it`;
  const missing = listed.find((one) => !tables.includes(one));
  if (missing !== undefined) return `its manifest names ${described(missing)}, and its tables do not replace it`;
  return tables.length === listed.length ? undefined : "its tables replace a function twice";
}

function described(key: string): string {
  const [object, name] = key.split(" ") as [string, string];
  return object === "vmlinux" ? name : `${name} of ${object}`;
}

/**
 * GNU strip and objcopy remove or damage livepatch relocations, and the kernel takes the module all the same: its code then jumps to nowhere. Each symbol
 * that is reached by such a relocation is in section 0xff20 (Documentation/livepatch/module-elf-format.rst) and has to be used by one.
 * @returns what is missing.
 */
function lostRelocations(elf: ElfReader, manifest: Manifest | undefined): string | undefined {
  const used = new Set<string>();
  for (const section of elf.sections) {
    if ((section.flags & SectionFlag.relaLivepatch) === 0 || !section.name.startsWith(".klp.rela.")) continue;
    for (const { symbol } of elf.relocations(section)) used.add(elf.symbols[symbol]?.name ?? "");
  }
  const there = elf.symbols.filter(({ section }) => section === SpecialSection.livepatch).map(({ name }) => name);
  const wanted = (manifest?.symbols ?? []).map(({ object, name, sympos }) => `.klp.sym.${object}.${name},${sympos}`);
  const lost = [...new Set([...there, ...wanted])].filter((name) => !used.has(name));
  if (lost.length === 0) return undefined;
  return `livepatch relocations are missing, of ${lost.length} symbols, one of them ${lost[0]}`;
}

function altered(path: string, problem: string): KmendError {
  return new KmendError({
    code: "MODULE_ALTERED",
    message: `${path} is not as it was built: ${problem}`,
    why: "the kernel would load it, and run code that nothing was proven for",
    hint: "fetch it again, or build it again with kmend build; strip and objcopy must not touch a patch module",
    exitCode: ExitCode.refused,
  });
}
