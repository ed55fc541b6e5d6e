import { type PatchModule, readPatchModule } from "../patch-module/patch-module.ts";
import { KmendError } from "../support/errors.ts";
import { kernelNameOf, type UpdateManifest } from "./update-manifest.ts";

/**
 * Holds an update's manifest against what its patch module says about itself. Digests only show that the files belong to the manifest; the kernel does what
 * the module says, so the kernel, the functions and the earlier updates that a person is shown have to be the module's own.
 * @returns what differs; undefined when nothing does.
 */
export function problemWithModule(manifest: UpdateManifest, content: Uint8Array): string | undefined {
  let module: PatchModule;
  try {
    module = readPatchModule("its patch module", content);
  } catch (error) {
    if (error instanceof KmendError) return error.message;
    throw error;
  }
  const { name, manifest: own, release } = module;
  if (name !== kernelNameOf(manifest)) return `its patch module calls itself ${JSON.stringify(name.slice(0, 80))}`;
  if (own === null) return "its patch module does not say what it was built from";
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
  if (!sameText(earlier, after)) return "its patch module is built upon other updates than the manifest says";
  return undefined;
}

function placeOf({ object, name, sympos }: { object: string; name: string; sympos: number }): string {
  return JSON.stringify([object, name, sympos]);
}

function sameText(one: object, other: object): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}
