import type { ChangedFile } from "../change/change-set.ts";
import { type SourceFunction, sourceFunctions } from "../change/source-functions.ts";
import { type OpenHunk, sourceText } from "./source-hunks.ts";
import { definesName, linesWithoutComments, type SourceType, sourceTypes } from "./source-lines.ts";

/** A function of the source that changed lines are in. */
export interface TouchedFunction {
  readonly name: string;
  /** The patch deletes it. */
  readonly isRemoved: boolean;
}

interface Side {
  readonly lines: readonly string[];
  readonly functions: readonly SourceFunction[];
  readonly types: readonly SourceType[];
}

/** What the changed lines of a file are part of, in the source before and after. */
export class ChangedLines {
  readonly #old: Side;
  readonly #new: Side;

  constructor({ original, patched }: Pick<ChangedFile, "original" | "patched">) {
    this.#old = sideOf(sourceText(original));
    this.#new = sideOf(sourceText(patched));
  }

  /** Functions that changed lines of a hunk are in; comments and empty lines do not count. */
  functionsOf(hunk: OpenHunk): TouchedFunction[] {
    const names = new Set<string>();
    for (const side of ["old", "new"] as const)
      for (const { name } of this.#touched(hunk, side, this.#sideOf(side).functions)) names.add(name);
    const remaining = new Set(this.#new.functions.map(({ name }) => name));
    return [...names].map((name) => ({ name, isRemoved: !remaining.has(name) }));
  }

  /** Types in whose definition changed lines of a hunk are. */
  typesOf(hunk: OpenHunk): string[] {
    return (["old", "new"] as const).flatMap((side) =>
      this.#touched(hunk, side, this.#sideOf(side).types).map(({ name }) => name),
    );
  }

  /** Whether a changed line of a hunk defines a variable or macro of a name. */
  defines(hunk: OpenHunk, name: string): boolean {
    return (["old", "new"] as const).some((side) => {
      const { lines, functions } = this.#sideOf(side);
      return numbersOf(hunk, side).some((number) => {
        const isLocal = functions.some(({ first, last }) => number >= first && number <= last);
        return definesName(lines[number - 1] ?? "", name, isLocal);
      });
    });
  }

  /** Whether changed lines of a hunk are more than comments and empty lines. */
  hasCode(hunk: OpenHunk): boolean {
    return (["old", "new"] as const).some((side) => this.#code(hunk, side).length > 0);
  }

  #sideOf(side: "old" | "new"): Side {
    return side === "old" ? this.#old : this.#new;
  }

  #code(hunk: OpenHunk, side: "old" | "new"): number[] {
    return numbersOf(hunk, side).filter((number) => (this.#sideOf(side).lines[number - 1] ?? "").trim() !== "");
  }

  #touched<Part extends { readonly first: number; readonly last: number }>(
    hunk: OpenHunk,
    side: "old" | "new",
    parts: readonly Part[],
  ): Part[] {
    const numbers = this.#code(hunk, side);
    return parts.filter(({ first, last }) => numbers.some((number) => number >= first && number <= last));
  }
}

function sideOf(text: string): Side {
  return { lines: linesWithoutComments(text), functions: sourceFunctions(text), types: sourceTypes(text) };
}

/** Numbers of the changed lines of one side. */
function numbersOf({ lines }: OpenHunk, side: "old" | "new"): number[] {
  return lines.flatMap((line) => (line.kind === "context" || line[side] === null ? [] : [line[side]]));
}
