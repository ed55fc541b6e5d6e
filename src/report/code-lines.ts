import type { UnitPlan } from "../build/resolve/plan.ts";
import type { Atom } from "../diff/atoms.ts";
import type { FunctionChange } from "../diff/changes.ts";
import type { UnitObject } from "../diff/unit-object.ts";
import { sourceLines } from "../elf/line-table.ts";

/** Bytes between the places of a function that are looked up; instructions that matter are not much shorter. */
const stride = 3;

/** Which changed functions have code of a line of the source. */
export class CodeLines {
  readonly #original = new Map<string, Map<number, Set<FunctionChange>>>();
  readonly #patched = new Map<string, Map<number, Set<FunctionChange>>>();

  readonly #begins = new Map<string, Set<FunctionChange>>();

  constructor(plans: readonly UnitPlan[]) {
    for (const { original, patched, changes } of plans) {
      const all = [...changes.functions.values()];
      const entries = all.map(({ atom }) => ({
        ...{ section: atom.section.index, offset: atom.symbol?.value ?? atom.start },
      }));
      for (const [index, source] of sourceLines(patched.elf, entries, { withFolders: true }).entries()) {
        const change = all[index];
        if (source === undefined || change === undefined) continue;
        this.#begins.set(source.file, (this.#begins.get(source.file) ?? new Set()).add(change));
      }
      note(
        this.#patched,
        patched,
        all.map((change) => [change.atom, change] as const),
      );
      note(
        this.#original,
        original,
        all.flatMap((change) => (change.original === undefined ? [] : [[change.original, change] as const])),
      );
    }
  }

  /** Whether a function of a unit begins in a file. */
  beginsIn(path: string, change: FunctionChange): boolean {
    return [...this.#begins].some(([file, changes]) => changes.has(change) && isFile(file, path));
  }

  /** Whether a changed function has code of a file, before or after. */
  hasCodeOf(path: string, change: FunctionChange): boolean {
    return [this.#original, this.#patched].some((table) =>
      [...table].some(
        ([file, lines]) => isFile(file, path) && [...lines.values()].some((changes) => changes.has(change)),
      ),
    );
  }

  /** Changed functions with code of lines of a file. @param side whose numbers the lines have. */
  holdersOf(path: string, lines: Iterable<number>, side: "original" | "patched"): Set<FunctionChange> {
    const table = side === "original" ? this.#original : this.#patched;
    const found = new Set<FunctionChange>();
    const wanted = [...lines];
    for (const [file, known] of table) {
      if (!isFile(file, path)) continue;
      for (const line of wanted) for (const change of known.get(line) ?? []) found.add(change);
    }
    return found;
  }
}

/** Line tables name files from the folder of the build, or from that of the unit. */
function isFile(file: string, path: string): boolean {
  return file === path || file.endsWith(`/${path}`) || path.endsWith(`/${file.replace(/^(\.\.?\/)+/, "")}`);
}

function note(
  table: Map<string, Map<number, Set<FunctionChange>>>,
  unit: UnitObject,
  atoms: readonly (readonly [Atom, FunctionChange])[],
): void {
  const places = atoms.flatMap(([atom, change]) =>
    Array.from({ length: Math.ceil((atom.end - atom.start) / stride) }, (_, index) => ({
      section: atom.section.index,
      offset: atom.start + index * stride,
      change,
    })),
  );
  for (const [index, source] of sourceLines(unit.elf, places, { withFolders: true }).entries()) {
    const change = places[index]?.change;
    if (source === undefined || change === undefined) continue;
    const lines = table.get(source.file) ?? new Map<number, Set<FunctionChange>>();
    table.set(source.file, lines);
    lines.set(source.line, (lines.get(source.line) ?? new Set()).add(change));
  }
}
