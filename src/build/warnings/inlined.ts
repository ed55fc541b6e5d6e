import type { ChangedFile } from "../../change/change-set.ts";
import { type SourceFunction, touchedFunctions } from "../../change/source-functions.ts";
import { baseName, coldParent } from "../../diff/names.ts";
import { type CodePlace, type SourceLine, sourceLines } from "../../elf/line-table.ts";
import type { ResolvedUnit } from "../resolve/plan.ts";
import { listOf, type Warning } from "./warning.ts";

/** Bytes between the places of a function that are looked up in the line table; instructions that matter are not much shorter. */
const stride = 4;

/** A function that the patch changes, and the file that it is in. */
export interface TouchedFunction extends SourceFunction {
  readonly path: string;
}

/** The functions whose text the files of a change touch. */
export function functionsOf(files: readonly ChangedFile[]): TouchedFunction[] {
  return files
    .filter(({ path }) => /\.[ch]$/.test(path))
    .flatMap((file) => touchedFunctions(file).map((found) => ({ ...found, path: file.path })));
}

/** Warns of functions that the patch changes and that the compiler has put into others: those are replaced too, and all that is said of them counts. */
export function inlinedCopies({ plan }: ResolvedUnit, touched: readonly TouchedFunction[]): Warning[] {
  const names = new Set(touched.map(({ name }) => name));
  const places: (CodePlace & { readonly holder: string })[] = [];
  for (const { atom, original } of plan.changes.functions.values()) {
    const holder = baseName(coldParent(atom.name) ?? atom.name);
    if (original === undefined || names.has(holder)) continue;
    for (let offset = atom.start; offset < atom.end; offset += stride)
      places.push({ section: atom.section.index, offset, holder });
  }
  const holders = new Map<string, Set<string>>();
  for (const [index, found] of sourceLines(plan.patched.elf, places).entries()) {
    const inlined = found === undefined ? undefined : touched.find((each) => covers(each, found));
    if (inlined === undefined) continue;
    const known = holders.get(inlined.name) ?? new Set();
    holders.set(inlined.name, known.add(places[index]?.holder ?? ""));
  }
  return [...holders].map(([name, callers]) => ({
    code: "INLINED",
    function: name,
    unit: plan.pair.source,
    why: `the compiler has inlined it in ${listOf([...callers].sort())}, which ${callers.size === 1 ? "is" : "are"} replaced with it`,
    hint: "each of them switches on its own, when no task is in it: review them as if the patch named them",
  }));
}

function covers({ path, first, last }: TouchedFunction, { file, line }: SourceLine): boolean {
  return line >= first && line <= last && (file === path || file.endsWith(`/${path}`) || path.endsWith(`/${file}`));
}
