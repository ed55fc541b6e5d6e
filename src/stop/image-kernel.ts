import { Bytes } from "../elf/bytes.ts";
import { InitMemory } from "../kernel/image/init-memory.ts";
import type { TargetKernel } from "../kernel/target-kernel.ts";
import { Btf } from "../kernel/types/btf.ts";
import { ExitCode, KmendError } from "../support/errors.ts";
import { type DirectCall, directCalls } from "./direct-callers.ts";
import { buildIdNote, type NamedSymbol, type StopKernel, typesMissing } from "./kernel-parts.ts";

/**
 * What a stop module needs of a kernel, from its image.
 * @throws KmendError `STOP_NO_TYPES`, `STOP_NO_BUILD_ID`, `STOP_NO_FTRACE` (exit 4)
 */
export function imageKernel({
  image,
  imagePath,
  release,
  modulesDir,
}: Pick<TargetKernel, "image" | "imagePath" | "release" | "modulesDir">): StopKernel {
  const { btf } = image;
  if (btf === undefined) throw typesMissing(imagePath);
  const kallsyms = image.kallsyms();
  const range = (from: string, to: string): Uint8Array | undefined => {
    const [start, stop] = [from, to].map((name) => {
      const indices = kallsyms.indicesOf(name);
      return indices.length === 1 ? kallsyms.addressOf(indices[0] as number) : undefined;
    });
    if (start === undefined || stop === undefined || stop <= start) return undefined;
    return image.bytesAt(start, stop - start);
  };
  const { buildId, ...note } = buildIdNote(range("__start_notes", "__stop_notes") ?? new Uint8Array(0));
  const places = range("__start_mcount_loc", "__stop_mcount_loc");
  if (places === undefined) throw noFtrace(imagePath);
  const reader = new Bytes(places, image.littleEndian);
  const traced = new Set<number>();
  for (let at = 0; at + 8 <= places.length; at += 8) {
    const place = reader.i64(at);
    // Places of functions that the link left out are zero, where symbols of the data of each processor begin.
    if (place !== 0) traced.add(place);
  }
  const init = new InitMemory(image);
  // The call is the first instruction of a function, or the second behind a landing pad.
  const isTraced = (address: number): boolean =>
    traced.has(address) || (traced.has(address + 4) && isLandingPad(image.bytesAt(address, 4)));
  return {
    ...{ release, buildId, note, modulesDir },
    types: new Btf(btf, imagePath),
    symbolsNamed: (name) =>
      kallsyms.indicesOf(name).map((index): NamedSymbol => {
        const address = kallsyms.addressOf(index);
        const gone = init.at(address, name) !== undefined;
        // To look through all of the code takes a tenth of a second.
        let calls: readonly DirectCall[] | undefined;
        return {
          type: kallsyms.typeOf(index),
          traceable: !gone && isTraced(address),
          code: image.bytesAt(address, Math.min(longestFunction, kallsyms.sizeOf(index))),
          calls: () => (calls ??= directCalls(image, address, (place) => init.at(place, "") !== undefined)),
          after: index === 0 ? "" : kallsyms.nameOf(index - 1),
        };
      }),
    *tracedNames() {
      for (let index = 0; index < kallsyms.count; index++) {
        const address = kallsyms.addressOf(index);
        if (isTraced(address) && init.at(address, "") === undefined) yield kallsyms.nameOf(index);
      }
    },
  };
}

/** Bytes of a function that are looked at. */
const longestFunction = 1 << 16;

/** endbr64. */
function isLandingPad(bytes: Uint8Array | undefined): boolean {
  return bytes !== undefined && Buffer.from(bytes).readUInt32BE(0) === 0xf30f_1efa;
}

function noFtrace(where: string): KmendError {
  return new KmendError({
    code: "STOP_NO_FTRACE",
    message: "the image does not say which functions ftrace can redirect",
    where,
    why: "only those can be stopped",
    hint: "use a kernel with CONFIG_DYNAMIC_FTRACE=y and CONFIG_KALLSYMS_ALL=y",
    exitCode: ExitCode.refused,
  });
}
