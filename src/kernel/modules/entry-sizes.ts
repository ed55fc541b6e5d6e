import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { makeOnce, sha256, writeFileAtomically } from "../../support/cache.ts";
import type { TargetKernel } from "../target-kernel.ts";
import { Btf } from "../types/btf.ts";
import { BtfKind } from "../types/btf-format.ts";

/**
 * Bytes per entry of tables, as the target kernel's own types say; empty for a kernel without types, whose sizes are then those between the relocations of an
 * object. The kernel folder of the cache keeps them.
 * @param structs by table, the struct that an entry is.
 */
export async function entrySizesOf(
  kernel: Pick<TargetKernel, "folder" | "image" | "imagePath">,
  structs: ReadonlyMap<string, string>,
): Promise<Readonly<Record<string, number>>> {
  const asked = sha256(JSON.stringify([...structs])).slice(0, 16);
  const path = await makeOnce(join(kernel.folder, `entry-sizes-${asked}.json`), (temporary) =>
    writeFileAtomically(temporary, JSON.stringify(fromTypes(kernel, structs))),
  );
  return JSON.parse(await readFile(path, "utf8")) as Record<string, number>;
}

function fromTypes(
  { image, imagePath }: Pick<TargetKernel, "image" | "imagePath">,
  structs: ReadonlyMap<string, string>,
): Record<string, number> {
  const sizes: Record<string, number> = {};
  if (image.btf === undefined) return sizes;
  const types = new Btf(image.btf, imagePath);
  for (const [section, name] of structs) {
    const [type] = types.find(BtfKind.struct, name);
    if (type !== undefined) sizes[section] = types.size(type);
  }
  return sizes;
}
