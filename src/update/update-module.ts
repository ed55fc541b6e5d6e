import { ElfFormatError } from "../elf/format-error.ts";
import { readManifest } from "../elf/manifest-note.ts";
import { readModinfo } from "../elf/modinfo.ts";
import { ElfReader } from "../elf/reader.ts";
import { kernelNameOf, type UpdateManifest } from "./update-manifest.ts";

/**
 * Holds an update's manifest against what its patch module says about itself. Digests only show that the files belong to the manifest; the kernel does what
 * the module says, so the kernel, the functions and the earlier updates that a person is shown have to be the module's own.
 * @returns what differs; undefined when nothing does.
 */
export function problemWithModule(manifest: UpdateManifest, content: Uint8Array): string | undefined {
  let elf: ElfReader;
  try {
    elf = new ElfReader(content);
  } catch (error) {
    if (error instanceof ElfFormatError) return `its patch module is damaged or no module (${error.message})`;
    throw error;
  }
  const info = readModinfo(elf);
  if (!info.has("livepatch")) return "its module is no live patch";
  const name = info.get("name")?.[0] ?? "";
  if (name !== kernelNameOf(manifest)) return `its patch module calls itself ${JSON.stringify(name.slice(0, 80))}`;
  const own = readManifest(elf);
  if (own === undefined) return "its patch module does not tell what it was built from";
  const release = info.get("vermagic")?.[0]?.split(" ")[0];
  const { kernel } = manifest;
  if (release !== kernel.release || own.kernel.release !== release || own.kernel.buildId !== kernel.buildId) {
    return "its patch module is made for another kernel than the manifest says";
  }
  const changed = manifest.functions.filter(({ change }) => change === "changed");
  if (!sameText(changed.map(placeOf).sort(), own.functions.map(placeOf).sort())) {
    return "its patch module changes other functions than the manifest says";
  }
  const earlier = manifest.after.map(({ id, sha256 }) => ({ name: `ksplice-${id}`, sha256 }));
  const after = (own.after ?? []).map(({ name: before, sha256 }) => ({ name: before, sha256 }));
  if (!sameText(earlier, after)) return "its patch module goes on top of other updates than the manifest says";
  return undefined;
}

function placeOf({ object, name, sympos }: { object: string; name: string; sympos: number }): string {
  return JSON.stringify([object, name, sympos]);
}

function sameText(one: object, other: object): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}
