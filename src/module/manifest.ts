import { type DraftSection, draftSection } from "../elf/builder.ts";
import { formatAddress } from "../elf/bytes.ts";
import { SectionFlag, SectionType } from "../elf/constants.ts";
import type { ElfReader } from "../elf/reader.ts";
import type { TargetObject } from "../match/target-object.ts";
import { sha256 } from "../support/cache.ts";
import { version } from "../support/version.ts";
import type { ResolvedUnit } from "./plan.ts";

/** A function that the module replaces, with what its proof rests on. */
export interface ManifestFunction {
  readonly name: string;
  readonly object: string;
  readonly unit: string;
  readonly sympos: number;
  /** Where the target has it: an address of the kernel image as it is linked, or in a module section number × 2^36 + offset. */
  readonly address: string;
  readonly bytes: number;
  /** SHA-256 of these bytes of the target. */
  readonly sha256: string;
}

/** A symbol that the module reaches by livepatch relocation. */
export interface ManifestSymbol {
  readonly name: string;
  readonly object: string;
  readonly sympos: number;
  /** Missing for a symbol of another module than the patched one. */
  readonly address?: string | undefined;
}

/** What a patch module says about itself; it is in the module, so that a loaded or a stray one can be identified and proven again. */
export interface Manifest {
  readonly schema: 1;
  readonly kmend: string;
  readonly kernel: { readonly release: string; readonly buildId: string };
  readonly replace: boolean;
  /** Types whose change was accepted with --allow-layout. */
  readonly allowedLayouts: readonly string[];
  readonly patches: readonly { readonly name: string; readonly sha256: string }[];
  readonly functions: readonly ManifestFunction[];
  readonly symbols: readonly ManifestSymbol[];
}

/** Name of the section and owner of the note. The kernel shows it as `/sys/module/<name>/notes/.note.kmend`. */
const sectionName = ".note.kmend";
const owner = "kmend";

/** Collects the manifest from resolved units. */
export function makeManifest(
  units: readonly ResolvedUnit[],
  facts: Pick<Manifest, "kernel" | "replace" | "allowedLayouts" | "patches">,
): Manifest {
  const functions: ManifestFunction[] = [];
  const symbols = new Map<string, ManifestSymbol>();
  for (const { plan, redirections, reached } of units) {
    const { target, pair } = plan;
    for (const { oldName, sympos, address, size } of redirections) {
      functions.push({
        name: oldName,
        object: pair.object,
        unit: pair.source,
        sympos,
        address: formatAddress(address),
        bytes: size,
        sha256: digestAt(target, address, size) ?? "",
      });
    }
    for (const reach of reached.values()) {
      if (reach.by !== "klp") continue;
      const { name, object, sympos } = reach.symbol;
      const address = object === target.name ? addressOf(target, name, sympos) : undefined;
      symbols.set(`${object} ${name} ${sympos}`, {
        name,
        object,
        sympos,
        ...(address === undefined ? {} : { address: formatAddress(address) }),
      });
    }
  }
  return { schema: 1, kmend: version(), ...facts, functions, symbols: [...symbols.values()] };
}

/** SHA-256 of bytes of the target, or undefined when it does not hold them. */
export function digestAt(target: TargetObject, address: number, size: number): string | undefined {
  const bytes = target.bytesAt(address, size);
  return bytes === undefined ? undefined : sha256(bytes);
}

/** Address of the symbol at a position, as the kernel would find it; undefined when it would not. */
export function addressOf(target: TargetObject, name: string, sympos: number): number | undefined {
  const named = target.symbolsNamed(name);
  return sympos === 0 ? (named.length === 1 ? named[0]?.address : undefined) : named[sympos - 1]?.address;
}

/** The manifest as an ELF note (gABI chapter 5, "Note Section"): sizes, type 1, owner, JSON. */
export function manifestSection(manifest: Manifest, littleEndian: boolean): DraftSection {
  const name = Buffer.from(`${owner}\0`);
  const text = Buffer.from(JSON.stringify(manifest));
  const header = new Uint8Array(12);
  const view = new DataView(header.buffer);
  view.setUint32(0, name.length, littleEndian);
  view.setUint32(4, text.length, littleEndian);
  view.setUint32(8, 1, littleEndian);
  const data = Buffer.concat([header, padded(name), padded(text)]);
  return draftSection({ name: sectionName, type: SectionType.note, flags: SectionFlag.alloc, alignment: 4, data });
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);
}

/** Reads the manifest of a patch module, or undefined when it has none of kmend's. */
export function readManifest(elf: ElfReader): Manifest | undefined {
  const section = elf.section(sectionName);
  if (section === undefined || section.size < 20) return undefined;
  const view = new DataView(section.data.buffer, section.data.byteOffset, section.data.byteLength);
  const nameSize = view.getUint32(0, elf.littleEndian);
  const textSize = view.getUint32(4, elf.littleEndian);
  const start = 12 + nameSize + ((4 - (nameSize % 4)) % 4);
  if (start + textSize > section.size) return undefined;
  try {
    const manifest = JSON.parse(
      Buffer.from(section.data.subarray(start, start + textSize)).toString("utf8"),
    ) as Manifest;
    return manifest.schema === 1 ? manifest : undefined;
  } catch {
    return undefined;
  }
}
