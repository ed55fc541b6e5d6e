import type { Btf } from "../kernel/types/btf.ts";
import { ExitCode, KmendError } from "../support/errors.ts";
import type { DirectCall } from "./direct-callers.ts";

/** A symbol of the kernel's table, as a stop has to know it. */
export interface NamedSymbol {
  /** Letter as in nm(1). */
  readonly type: string;
  /** Whether ftrace can redirect what is there; undefined where that cannot be told. */
  readonly traceable: boolean | undefined;
  /** Its code, where that is known: places that are filled later hold anything. */
  readonly code?: Uint8Array | undefined;
  /** Finds its direct callers; undefined where the code of the whole kernel is not known. */
  readonly calls?: (() => readonly DirectCall[]) | undefined;
  /** Name of the symbol before it, which tells people apart where they are. */
  readonly after: string;
}

/** All that a stop module is made from, of the running kernel or of another one. */
export interface StopKernel {
  readonly release: string;
  /** Hexadecimal digits. */
  readonly buildId: string;
  /** The build id as a whole note, and its place behind `__start_notes`. */
  readonly note: { readonly offset: number; readonly bytes: Uint8Array };
  readonly types: Btf;
  /** Folder `…/lib/modules/<release>`; undefined when there is none. */
  readonly modulesDir: string | undefined;
  /** All symbols of that name of the kernel itself, in the order of its table: the position in this list is the kernel's `sympos`, counted from 1. */
  symbolsNamed(name: string): readonly NamedSymbol[];
  /** Names of the functions of the kernel itself that can be traced. */
  tracedNames(): Iterable<string>;
}

/**
 * Finds the build id note among the kernel's notes (gABI chapter 5, "Note Section").
 * @throws KmendError `STOP_NO_BUILD_ID` (exit 4)
 */
export function buildIdNote(notes: Uint8Array): StopKernel["note"] & { readonly buildId: string } {
  const view = new DataView(notes.buffer, notes.byteOffset, notes.byteLength);
  for (let offset = 0; offset + 16 <= notes.length; offset += 4) {
    const [nameSize, size, type] = [0, 4, 8].map((field) => view.getUint32(offset + field, true)) as [
      number,
      number,
      number,
    ];
    if (nameSize !== 4 || type !== 3 || size === 0 || size > 64 || offset + 16 + size > notes.length) continue;
    if (Buffer.from(notes.subarray(offset + 12, offset + 16)).toString("latin1") !== "GNU\0") continue;
    const bytes = Uint8Array.from(notes.subarray(offset, offset + 16 + size));
    return { offset, bytes, buildId: Buffer.from(bytes.subarray(16)).toString("hex") };
  }
  throw new KmendError({
    code: "STOP_NO_BUILD_ID",
    message: "the kernel shows no build id among its notes",
    why: "a stop module compares it before it changes anything, so that it never gets into another kernel",
    hint: "use a kernel whose link has --build-id, as those of all distributions have",
    exitCode: ExitCode.refused,
  });
}

/** @throws KmendError `STOP_NO_TYPES` (exit 4) */
export function typesMissing(where: string, cause?: unknown): KmendError {
  return new KmendError({
    code: "STOP_NO_TYPES",
    message: "the kernel does not have its types (BTF)",
    where,
    why: "they say what a function returns and how the structures of a live patch are laid out",
    hint: "use a kernel with CONFIG_DEBUG_INFO_BTF=y, or make the module with kmend build",
    exitCode: ExitCode.refused,
    cause,
  });
}
