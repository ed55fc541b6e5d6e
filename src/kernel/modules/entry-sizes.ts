import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { makeOnce, writeFileAtomically } from "../../support/cache.ts";
import type { TargetKernel } from "../find.ts";
import { Btf } from "../types/btf.ts";
import { BtfKind } from "../types/btf-format.ts";

/** The struct that each special table is an array of (include/asm-generic/vmlinux.lds.h and the headers that declare them). */
const structOf: Readonly<Record<string, string>> = {
  __bug_table: "bug_entry",
  __ex_table: "exception_table_entry",
  __jump_table: "jump_entry",
  ".altinstructions": "alt_instr",
  ".parainstructions": "paravirt_patch_site",
  ".static_call_sites": "static_call_site",
};

/**
 * Bytes per entry of the special tables by section, as the target kernel's own types say; empty for a kernel without types, whose sizes are then those between
 * the relocations of an object. The kernel folder of the cache keeps them.
 */
export async function entrySizesOf(
  kernel: Pick<TargetKernel, "folder" | "image" | "imagePath">,
): Promise<Readonly<Record<string, number>>> {
  const path = await makeOnce(join(kernel.folder, "entry-sizes.json"), (temporary) =>
    writeFileAtomically(temporary, JSON.stringify(fromTypes(kernel))),
  );
  return JSON.parse(await readFile(path, "utf8")) as Record<string, number>;
}

function fromTypes({ image, imagePath }: Pick<TargetKernel, "image" | "imagePath">): Record<string, number> {
  const sizes: Record<string, number> = {};
  if (image.btf === undefined) return sizes;
  const types = new Btf(image.btf, imagePath);
  for (const [section, name] of Object.entries(structOf)) {
    const [type] = types.find(BtfKind.struct, name);
    if (type !== undefined) sizes[section] = types.size(type);
  }
  return sizes;
}
