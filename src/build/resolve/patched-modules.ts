import { gnuBuildId } from "../../elf/build-id.ts";
import { ElfReader } from "../../elf/reader.ts";
import type { ExternalModule } from "../../kernel/modules/external-module.ts";
import { ShippedModules } from "../../kernel/modules/shipped-module.ts";
import type { TargetKernel } from "../../kernel/target-kernel.ts";
import type { ManifestModule } from "../../patch-module/manifest.ts";
import { readModinfo } from "../../patch-module/modinfo.ts";
import { cacheRoot } from "../../support/cache.ts";

/**
 * What tells the builds of the modules that a patch changes. DKMS and vendors put others in their place under the same name and for the same kernel, and
 * nothing was proven for these.
 * @param objects `vmlinux` and names of modules.
 */
export async function patchedModules(
  objects: Iterable<string>,
  kernel: Pick<TargetKernel, "modulesDir">,
  external: ExternalModule | undefined,
): Promise<readonly ManifestModule[]> {
  const found: ManifestModule[] = [];
  for (const name of [...new Set(objects)].sort()) {
    if (name === "vmlinux") continue;
    const file = external?.name === name ? external.file : await shippedFile(name, kernel);
    if (file !== undefined) found.push(identityOf(name, file));
  }
  return found;
}

async function shippedFile(
  name: string,
  { modulesDir }: Pick<TargetKernel, "modulesDir">,
): Promise<Uint8Array | undefined> {
  if (modulesDir === undefined) return undefined;
  const modules = await ShippedModules.open(modulesDir);
  const shipped = modules.find(name);
  return shipped === undefined ? undefined : modules.readOnce(shipped, cacheRoot());
}

function identityOf(name: string, file: Uint8Array): ManifestModule {
  const elf = new ElfReader(file);
  const note = elf.section(".note.gnu.build-id");
  const buildId = note === undefined ? undefined : gnuBuildId(note.data, elf.littleEndian);
  const srcversion = readModinfo(elf).get("srcversion")?.[0];
  return {
    name,
    ...(buildId === undefined ? {} : { buildId }),
    ...(srcversion === undefined ? {} : { srcversion }),
  };
}
