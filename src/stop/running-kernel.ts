import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Btf } from "../kernel/types/btf.ts";
import { exists } from "../support/cache.ts";
import { ExitCode, KmendError, systemErrorCode } from "../support/errors.ts";
import { buildIdNote, type NamedSymbol, type StopKernel, typesMissing } from "./kernel-parts.ts";

/**
 * What a stop module needs of a kernel, from what the running one shows: its types, notes, symbols and traceable functions. No package, image or header is
 * needed; only its modules have to be in /lib/modules.
 * @param root folder that stands for `/`.
 * @param release as `uname -r` prints it.
 * @throws KmendError `STOP_NO_TYPES`, `STOP_NO_BUILD_ID` (exit 4), `STOP_NO_TRACEFS` (exit 5)
 */
export async function runningKernel(root: string, release: string): Promise<StopKernel> {
  const read = (path: string): Promise<Buffer> => readFile(join(root, path));
  const btfPath = "/sys/kernel/btf/vmlinux";
  const [btf, notes, symbols, traced, modulesDir] = await Promise.all([
    read(btfPath).catch((error: unknown) => {
      throw typesMissing(btfPath, error);
    }),
    read("/sys/kernel/notes").catch(() => new Uint8Array(0)),
    read("/proc/kallsyms"),
    readTraceable(root),
    modulesFolder(root, release),
  ]);
  const { buildId, ...note } = buildIdNote(notes);
  const kallsyms = new SymbolLines(symbols);
  return {
    ...{ release, buildId, note, modulesDir },
    types: new Btf(btf, btfPath),
    symbolsNamed: (name) => {
      const named = kallsyms.named(name);
      const functions = named.filter(({ type }) => /[tTwW]/.test(type)).length;
      const listed = countLines(traced, name);
      // The list has no positions: of equal names it tells only whether all or none of them are in it.
      const all = listed === 0 ? false : listed >= functions ? true : undefined;
      return named.map((symbol): NamedSymbol => ({ ...symbol, traceable: all }));
    },
    *tracedNames() {
      for (const line of traced.toString("latin1").split("\n")) if (line !== "" && !line.includes(" ")) yield line;
    },
  };
}

/** The lines of /proc/kallsyms for the kernel itself: `ADDRESS TYPE NAME`, those of modules and BPF have a tab and their owner behind that. */
class SymbolLines {
  readonly #text: Buffer;

  constructor(text: Buffer) {
    // The kernel's own come first (kernel/kallsyms.c, s_next()).
    const owner = text.indexOf("\t[");
    this.#text = owner < 0 ? text : text.subarray(0, text.lastIndexOf("\n", owner) + 1);
  }

  /** In the order of the table. */
  named(name: string): { readonly type: string; readonly after: string }[] {
    const found: { type: string; after: string }[] = [];
    const wanted = Buffer.from(` ${name}\n`, "latin1");
    for (let at = this.#text.indexOf(wanted); at >= 0; at = this.#text.indexOf(wanted, at + 1)) {
      const start = this.#text.lastIndexOf("\n", at) + 1;
      const before = start === 0 ? 0 : this.#text.lastIndexOf("\n", start - 2) + 1;
      const previous = this.#text.toString("latin1", before, Math.max(0, start - 1)).split(" ")[2] ?? "";
      found.push({ type: String.fromCharCode(this.#text[at - 1] as number), after: previous });
    }
    return found;
  }
}

/** How many lines are exactly this name. */
function countLines(text: Buffer, name: string): number {
  const line = Buffer.from(`${name}\n`, "latin1");
  let count = 0;
  for (let at = text.indexOf(line); at >= 0; at = text.indexOf(line, at + 1))
    if (at === 0 || text[at - 1] === 0x0a) count++;
  return count;
}

/** @throws KmendError `STOP_NO_TRACEFS` (exit 5) */
async function readTraceable(root: string): Promise<Buffer> {
  let problem: unknown;
  for (const folder of ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"]) {
    try {
      return await readFile(join(root, folder, "available_filter_functions"));
    } catch (error) {
      problem = problem === undefined || systemErrorCode(error) !== "ENOENT" ? error : problem;
    }
  }
  throw new KmendError({
    code: "STOP_NO_TRACEFS",
    message: "which functions the running kernel can redirect is not known",
    where: "/sys/kernel/tracing/available_filter_functions",
    why: systemErrorCode(problem) === "ENOENT" ? "tracefs is not mounted" : "it cannot be read",
    hint: "as root: mount -t tracefs tracefs /sys/kernel/tracing; or make the module from the kernel's packages with --kernel and --output",
    exitCode: ExitCode.environment,
    cause: problem,
  });
}

async function modulesFolder(root: string, release: string): Promise<string | undefined> {
  for (const folder of ["/lib/modules", "/usr/lib/modules"]) {
    const path = join(root, folder, release);
    if (await exists(join(path, "modules.order"))) return path;
  }
  return undefined;
}
