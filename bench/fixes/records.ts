import { appendFile, readFile } from "node:fs/promises";
import type { Refusal } from "../../src/refusals/refusals.ts";

/** What became of one fix. */
export type FixOutcome =
  /** A proven patch module was written. */
  | "built"
  /** Nothing that the kernel runs changes: comments, debug code, other configurations. */
  | "unchanged"
  /** The kernel does not build the file, although its Makefile suggested so. */
  | "not-built"
  /** It does not compile by itself, and no patch of a few more files was found that does. */
  | "incomplete"
  /** It does not compile by itself; the patch of the files that it needs is another case, see `joinedAs`. */
  | "joined"
  | "refused"
  /** A defect of kmend. */
  | "failed";

/** One line of the results. */
export interface FixRecord {
  readonly id: string;
  readonly outcome: FixOutcome;
  /** Files of the patch; more than one when others had to be joined, of which a part may do: `path#1,4` are two hunks. */
  readonly files: readonly string[];
  readonly joinedAs?: string | undefined;
  /** Present when more files were tried, or looked for in vain. */
  readonly hasEnded?: true | undefined;
  /** It became a module after `--adapt` had rewritten it. */
  readonly adapted?: true | undefined;
  /** Code, message and reason of an error. */
  readonly error?: { readonly code: string; readonly message: string; readonly why: string } | undefined;
  readonly refusals: readonly Refusal[];
  /** `object function`, with `+` before new functions. */
  readonly functions: readonly string[];
  readonly units: readonly { readonly path: string; readonly object: string }[];
  readonly notes: readonly string[];
  /** File name of the module, and its SHA-256. */
  readonly module?: { readonly name: string; readonly sha256: string; readonly bytes: number } | undefined;
  /** By phase; `total` is the wall time of the last build. */
  readonly milliseconds: Readonly<Record<string, number>>;
  /** Whether the cache already had an original of one of the units. */
  readonly warm: boolean;
  /** Wall time of the bare compilers for the same units, both builds; measured for a sample. */
  readonly bareMilliseconds?: number | undefined;
  /** Memory of this process after it, in MiB. */
  readonly residentMegabytes: number;
}

/** What a virtual machine said about one module. */
export interface TryRecord {
  readonly id: string;
  readonly verdict: "passed" | "failed";
  readonly failure: string | null;
  /** Modules of the kernel that the patch is for: which of them could be loaded without their hardware. */
  readonly targets: Readonly<Record<string, boolean>>;
  readonly transitionMilliseconds: number | null;
  readonly kernelLog: readonly string[];
}

/** Reads what an earlier run wrote; a last line that a kill cut off is left out. */
export async function readRecords<Kind>(path: string): Promise<Kind[]> {
  const text = await readFile(path, "utf8").catch(() => "");
  return text.split("\n").flatMap((line) => {
    try {
      return line === "" ? [] : [JSON.parse(line) as Kind];
    } catch {
      return [];
    }
  });
}

/** Adds one line; an unfinished last line of a killed run is closed first by the line break that each record begins with. */
export async function appendRecord(path: string, record: unknown): Promise<void> {
  await appendFile(path, `\n${JSON.stringify(record)}`);
}
