import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { checkLayouts, type LayoutFindings } from "../diff/layout.ts";
import { ElfReader } from "../elf/reader.ts";
import { KmendError } from "../support/errors.ts";

/** Two builds of a unit that something else compiled. */
interface LayoutPair {
  readonly originalPath: string;
  readonly patchedPath: string;
  readonly files: readonly [Uint8Array, Uint8Array];
  /** See `LayoutQuestion`. */
  readonly allowed: readonly string[];
}

/**
 * Without the source nobody knows which objects of a type stay on the stack of a function. Debug information does not tell: `((struct ctx *)data)->used`
 * and `sizeof(struct ctx)` leave no trace in it, so a type of which it shows objects on stacks alone may be that of objects that live on.
 */
const everyType: Pick<ReadonlySet<string>, "has"> = { has: () => true };

const adviceForLocal = (title: string): string =>
  `the debug information shows objects of ${title} on stacks only, which does not prove that there are no others: if the source neither allocates one nor casts a pointer to one, accept the change`;

/**
 * Compares the types of two builds, where both have debug information.
 * @returns `LAYOUT_CHANGED` for those that live objects or unpatched code share and that differ; a note where nothing can be compared.
 */
export async function compareLayouts({
  originalPath,
  patchedPath,
  files,
  allowed,
}: LayoutPair): Promise<LayoutFindings> {
  if (!files.every((file) => (new ElfReader(file).section(".debug_info")?.size ?? 0) > 0))
    return notCompared(patchedPath, "not both objects have debug information");
  const folder = await mkdtemp(join(tmpdir(), "kmend-layout-"));
  try {
    const paths = { originalObject: originalPath, patchedObject: patchedPath, folder };
    const found = await checkLayouts({ ...paths, unit: patchedPath, allowed, reached: everyType, adviceForLocal });
    const unknown = found.refusals.find(({ code }) => code === "LAYOUT_UNKNOWN");
    return unknown === undefined ? found : notCompared(patchedPath, unknown.why);
  } catch (error) {
    if (error instanceof KmendError && error.code === "PROGRAM_MISSING") return notCompared(patchedPath, error.message);
    throw error;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function notCompared(unit: string, why: string): LayoutFindings {
  return { refusals: [], notes: [`${unit}: layouts of types are not compared: ${why}`] };
}
