import { join } from "node:path";
import { ElfReader } from "../elf/reader.ts";
import { UnitCache } from "../kernel/tree/compile.ts";
import { functionsInForce, type PatchInForce } from "../match/stacked-object.ts";
import { sha256 } from "../support/cache.ts";
import { KmendError, messageOf } from "../support/errors.ts";
import type { BuildContext } from "./build-context.ts";
import type { EarlierUpdates } from "./build-types.ts";

/** Originals that contain earlier updates are no originals of the kernel's, and are kept apart. */
export function workOn(earlier: EarlierUpdates | undefined, folder: string): Pick<BuildContext, "cache" | "earlier"> {
  if (earlier === undefined || earlier.files.size === 0) return { cache: new UnitCache(folder), earlier: new Map() };
  const state = [...earlier.files].sort(([one], [other]) => (one < other ? -1 : 1));
  const key = sha256(
    ...state.flatMap(([path, content]) => [path, "\0", content === null ? "" : sha256(content), "\0"]),
  );
  return { cache: new UnitCache(join(folder, "series", key.slice(0, 16))), earlier: earlier.files };
}

/** @throws KmendError `EARLIER_UPDATE` for an earlier patch module that kmend cannot read. */
export function patchesInForce(earlier: EarlierUpdates | undefined): PatchInForce[] {
  return (earlier?.modules ?? []).map(({ name, content }) => {
    try {
      const elf = new ElfReader(content);
      return { name, elf, file: content, functions: functionsInForce(elf) };
    } catch (error) {
      throw new KmendError({
        code: "EARLIER_UPDATE",
        message: `the patch module ${name} of an earlier update cannot be read: ${messageOf(error)}`,
        hint: "kmend builds only on patch modules that it made",
        cause: error,
      });
    }
  });
}
