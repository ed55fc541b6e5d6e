import { type DraftSection, draftSection } from "../../elf/builder.ts";
import { formatAddress } from "../../elf/bytes.ts";
import { SectionFlag, SectionType } from "../../elf/constants.ts";
import type { Manifest, ManifestFunction, ManifestSymbol } from "../../patch-module/manifest.ts";
import { manifestOwner, manifestSectionName } from "../../patch-module/manifest-note.ts";
import { unsealed } from "../../patch-module/seal.ts";
import { version } from "../../support/version.ts";
import type { ResolvedUnit } from "../resolve/plan.ts";
import { addressOf, digestAround, digestAt } from "../resolve/target-places.ts";
import { calledDirectly } from "./direct-calls.ts";

/** Collects the manifest from resolved units. */
export function makeManifest(
  units: readonly ResolvedUnit[],
  {
    own = [],
    ...facts
  }: Omit<Manifest, "schema" | "kmend" | "seal" | "functions" | "symbols"> & {
    /** Symbols that the module itself reaches, whatever its patches do. */
    readonly own?: readonly ManifestSymbol[];
  },
): Manifest {
  const functions: ManifestFunction[] = [];
  const symbols = new Map<string, ManifestSymbol>();
  for (const unit of units) {
    const { plan, redirections, reached } = unit;
    const { target, pair } = plan;
    const direct = calledDirectly(unit);
    for (const { atom, oldName, sympos, address, size } of redirections) {
      // What was matched may be the code of an earlier patch module; what can be looked at again is the kernel's own function.
      const shipped = target.shippedAt?.(address) ?? { object: target, address };
      const bytes = shipped.object === target ? size : (shipped.object.roomAt(shipped.address) ?? 0);
      functions.push({
        name: oldName,
        object: pair.object,
        unit: pair.source,
        sympos,
        address: formatAddress(shipped.address),
        bytes,
        sha256: digestAt(shipped.object, shipped.address, bytes) ?? "",
        surroundings: digestAround(shipped.object, shipped.address, bytes),
        calledDirectly: direct.has(atom),
      });
    }
    for (const reach of reached.values()) {
      if (reach.by !== "klp") continue;
      const { name, object, sympos } = reach.symbol;
      const found = object === target.name ? addressOf(target, name, sympos) : undefined;
      const address = found === undefined ? undefined : (target.shippedAt?.(found)?.address ?? found);
      symbols.set(`${object} ${name} ${sympos}`, {
        name,
        object,
        sympos,
        ...(address === undefined ? {} : { address: formatAddress(address) }),
      });
    }
  }
  return { schema: 1, kmend: version(), seal: unsealed, ...facts, functions, symbols: [...symbols.values(), ...own] };
}

/** The manifest as an ELF note (gABI chapter 5, "Note Section"): sizes, type 1, owner, JSON. */
export function manifestSection(manifest: Manifest, littleEndian: boolean): DraftSection {
  const name = Buffer.from(`${manifestOwner}\0`);
  const text = Buffer.from(JSON.stringify(manifest));
  const header = new Uint8Array(12);
  const view = new DataView(header.buffer);
  view.setUint32(0, name.length, littleEndian);
  view.setUint32(4, text.length, littleEndian);
  view.setUint32(8, 1, littleEndian);
  const data = Buffer.concat([header, padded(name), padded(text)]);
  return draftSection({
    name: manifestSectionName,
    type: SectionType.note,
    flags: SectionFlag.alloc,
    alignment: 4,
    data,
  });
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);
}
