import type { BuildFacts } from "../build/build-facts.ts";
import type { UnitPlan } from "../build/resolve/plan.ts";
import type { ChangedFile } from "../change/change-set.ts";
import type { FunctionChange } from "../diff/changes.ts";
import { inlinedFunctions } from "../diff/inlined-functions.ts";
import type { Refusal } from "../refusals/refusals.ts";
import { ChangedLines } from "./changed-lines.ts";
import { CodeLines } from "./code-lines.ts";
import type { Fate, FateFunction, Hunk, SourceChange } from "./report-types.ts";
import { hunksOf, type OpenHunk } from "./source-hunks.ts";

/** Anchor in the page of a function; null where the page does not show it. */
type IdOf = (change: FunctionChange) => string | null;

/** The source patch, with what became of each of its parts. */
export function sourceChangesOf(facts: BuildFacts, idOf: IdOf): SourceChange[] {
  const teller = new FateTeller(facts, idOf);
  const files = facts.session.change.files.map((file) => {
    const lines = new ChangedLines(file);
    const hunks = hunksOf(file, facts.result.refusals).map((hunk): Hunk => {
      const { oldStart, newStart } = hunk;
      return { oldStart, newStart, lines: hunk.lines, fates: teller.ofHunk(file, hunk, lines) };
    });
    return { path: file.path, kind: file.kind, hunks };
  });
  const told = new Set(files.flatMap(({ hunks }) => hunks.flatMap(({ fates }) => fates.map(({ text }) => text))));
  return files.map((file) => ({ ...file, fates: teller.ofFile(file.path, told) }));
}

/** Name of a function in the source: what follows a point comes from the compiler. */
function nameInSource(name: string): string {
  return name.replace(/\..*$/, "");
}

/** A changed function, and the unit that it is of. */
interface Changed {
  readonly change: FunctionChange;
  readonly plan: UnitPlan;
}

class FateTeller {
  readonly #facts: BuildFacts;
  readonly #idOf: IdOf;
  readonly #lines: CodeLines;
  readonly #changed: readonly Changed[];
  readonly #isRefused: boolean;

  constructor(facts: BuildFacts, idOf: IdOf) {
    this.#facts = facts;
    this.#idOf = idOf;
    const { plans } = facts.examination;
    this.#lines = new CodeLines(plans);
    this.#isRefused = facts.result.outcome !== "built" && facts.result.refusals.length > 0;
    this.#changed = plans.flatMap((plan) => {
      const carried = new Set(plan.selection.atoms);
      const changes = [...plan.changes.functions.values()].filter(({ atom }) => carried.has(atom));
      return changes.map((change) => ({ change, plan }));
    });
  }

  /** What holds for a file as a whole. @param told what hunks say of refusals. */
  ofFile(path: string, told: ReadonlySet<string>): Fate[] {
    if (this.#facts.examination.units.notBuilt.includes(path))
      return [plain("left-out", "this kernel is not built with this file")];
    const refused = this.#facts.result.refusals.filter((refusal) => isAbout(refusal, path)).map(refusedFate);
    return refused.filter(({ text }) => !told.has(text));
  }

  ofHunk({ path }: ChangedFile, hunk: OpenHunk, lines: ChangedLines): Fate[] {
    const { examination, result } = this.#facts;
    if (examination.units.notBuilt.includes(path)) return [];
    const functions = lines.functionsOf(hunk);
    const names = new Set(functions.map(({ name }) => name));
    const refused = result.refusals.filter((refusal) => isIn(refusal, path, hunk, names, lines));
    const fates = refused.map(refusedFate);
    for (const { name, isRemoved } of functions) {
      if (refused.some((refusal) => refusal.what === name || refusal.function === name)) continue;
      fates.push(...(isRemoved ? this.#ofRemoved(path, name) : this.#ofFunction(path, name)));
    }
    fates.push(...this.#carriedData(path, hunk, lines));
    if (fates.length > 0) return fates;
    const byLines = this.#byLines(path, hunk);
    if (byLines !== undefined) return byLines;
    if (names.size === 0) return [ofDeclarations(path, hunk, lines)];
    const list = [...names].join(", ");
    return [
      plain("unknown", `nothing named ${list} is in the units that were compared: not built, or made by a macro`),
    ];
  }

  /** Units that the code of a file may be in: its own, or any for a file that others include. */
  #plansOf(path: string): readonly UnitPlan[] {
    const { plans } = this.#facts.examination;
    const own = plans.filter(({ pair }) => pair.source === path);
    return own.length > 0 ? own : plans;
  }

  /** Changed functions of the units of a file. */
  #candidates(path: string): readonly Changed[] {
    const plans = new Set(this.#plansOf(path));
    return this.#changed.filter(({ plan }) => plans.has(plan));
  }

  #ofFunction(path: string, name: string): Fate[] {
    const candidates = this.#candidates(path);
    const isOwn = ({ change, plan }: Changed): boolean =>
      nameInSource(change.atom.name) === name && (plan.pair.source === path || this.#lines.beginsIn(path, change));
    const own = candidates.filter(isOwn);
    const users = this.#usersOf(path, name, "patched").filter((one) => !own.includes(one));
    const fates: Fate[] = [];
    const replaced = own.filter(({ change }) => change.original !== undefined);
    const brought = own.filter(({ change }) => change.original === undefined);
    if (replaced.length > 0)
      fates.push(this.#fate("edited", `${name} ${this.#isRefused ? "would be" : "is"} replaced`, [name], replaced));
    if (brought.length > 0) {
      const comes = this.#isRefused ? "would come" : "comes";
      fates.push(this.#fate("new", `${name} is new and ${comes} with the module`, [name], brought));
    }
    if (users.length > 0) fates.push(...this.#inlinedIn(`${name} is part of`, name, users));
    if (fates.length > 0) return fates;
    const other = this.#withoutChange(path, name);
    return other === undefined ? [] : [other];
  }

  /** Changed functions into which the compiler has put one of the source. */
  #usersOf(path: string, name: string, side: "original" | "patched"): Changed[] {
    return this.#candidates(path).filter(({ change, plan }) => {
      const atom = side === "patched" ? change.atom : change.original;
      if (atom === undefined || nameInSource(atom.name) === name) return false;
      const isPart = inlinedFunctions(plan[side]).get(nameInSource(atom.name))?.has(name) === true;
      // A static of an including file may have the name of one of this file.
      return isPart && (plan.pair.source === path || this.#lines.hasCodeOf(path, change));
    });
  }

  #inlinedIn(start: string, name: string, users: readonly Changed[]): Fate[] {
    const isNew = ({ change }: Changed): boolean => change.original === undefined;
    const groups = [users.filter((one) => !isNew(one)), users.filter(isNew)] as const;
    return groups.flatMap((group, index) => {
      if (group.length === 0) return [];
      const holders = group.map(({ change }) => change.atom.name).join(", ");
      const [verb, would] = [group.length === 1 ? "is" : "are", this.#isRefused];
      const become = index === 0 ? `${would ? "would be" : verb} replaced` : `${verb} new`;
      return [this.#fate("inlined", `${start} ${holders}, which ${become}`, [name], group)];
    });
  }

  /** A function that the patch deletes. */
  #ofRemoved(path: string, name: string): Fate[] {
    const users = this.#usersOf(path, name, "original");
    if (users.length > 0) return this.#inlinedIn(`${name} is deleted; the kernel has its code in`, name, users);
    return [
      plain("left-out", `${name} is deleted: nothing takes its place, and the kernel keeps the code it has`, name),
    ];
  }

  /** A function of which no changed code tells. */
  #withoutChange(path: string, name: string): Fate | undefined {
    const plans = this.#plansOf(path);
    for (const { changes } of plans) {
      const section = changes.ranAtBoot.get(name);
      if (section !== undefined) return plain("left-out", `${name} ran once, in ${section}, and its memory is free`);
    }
    const isThere = plans.some(
      ({ original, patched }) =>
        [original, patched].some(({ atoms }) =>
          atoms.some((atom) => atom.kind === "function" && nameInSource(atom.name) === name),
        ) || [original, patched].some((unit) => [...inlinedFunctions(unit).values()].some((set) => set.has(name))),
    );
    if (isThere) return plain("unchanged", `${name} has the same code as before in this kernel`, name);
    // A macro makes functions of other names, and what is not configured is not there.
    return undefined;
  }

  /** Lines that are in no function that can be seen in the source, such as one that a macro makes: their numbers in the objects tell. */
  #byLines(path: string, { added, removed, shared }: OpenHunk): Fate[] | undefined {
    const own = [...added].filter((line) => !shared.has(line));
    const sure = new Set([
      ...this.#lines.holdersOf(path, own, "patched"),
      ...this.#lines.holdersOf(path, removed, "original"),
    ]);
    const holders = this.#candidates(path).filter(({ change }) => sure.has(change));
    if (holders.length > 0) {
      return holders.map((one) => {
        const { atom, original } = one.change;
        const word = this.#isRefused ? "would be" : "is";
        const become = original === undefined ? "is new" : `${word} replaced`;
        return this.#fate("edited", `code of these lines is in ${atom.name}, which ${become}`, [], [one]);
      });
    }
    const maybe = this.#lines.holdersOf(path, shared, "patched");
    const others = this.#candidates(path).filter(({ change }) => maybe.has(change));
    if (others.length === 0) return undefined;
    const names = others.map(({ change }) => change.atom.name).join(", ");
    const text = `code of these lines, or of those that follow them, is in ${names}: their numbers are the same`;
    return [this.#fate("unknown", text, [], others)];
  }

  /** New variables and constants that lines of the hunk define. */
  #carriedData(path: string, hunk: OpenHunk, lines: ChangedLines): Fate[] {
    const fates = new Map<string, Fate>();
    for (const { selection, correlation, pair } of this.#plansOf(path)) {
      if (pair.source !== path && !path.endsWith(".h")) continue;
      for (const atom of selection.atoms) {
        const isData = atom.kind === "data" || atom.kind === "bss" || atom.kind === "rodata";
        const name = nameInSource(atom.base);
        if (!isData || atom.symbol === undefined || correlation.originalOf.has(atom) || !/^\w+$/.test(name)) continue;
        if (!lines.defines(hunk, name)) continue;
        const bytes = atom.end - atom.start;
        const brings = this.#isRefused ? "would bring" : "brings";
        const text = `${name} is new: the module ${brings} its ${bytes === 1 ? "1 byte" : `${bytes} bytes`}`;
        fates.set(text, plain("carried", text));
      }
    }
    return [...fates.values()];
  }

  #fate(kind: Fate["kind"], text: string, source: readonly string[], changed: readonly Changed[]): Fate {
    const functions = changed.map(
      ({ change, plan }): FateFunction => ({
        ...{ id: this.#idOf(change), name: change.atom.name, object: plan.pair.object, unit: plan.pair.source },
      }),
    );
    return { kind, text, source, functions };
  }
}

function plain(kind: Fate["kind"], text: string, source?: string): Fate {
  return { kind, text, source: source === undefined ? [] : [source], functions: [] };
}

function refusedFate({ code, what, why }: Refusal): Fate {
  return plain("refused", `${code}: ${what}: ${why}`);
}

function isAbout({ unit, where, what }: Refusal, path: string): boolean {
  return unit === path || what === path || where === path || where.startsWith(`${path}:`);
}

/** Whether a refusal is about what a hunk changes. @param functions that its changed lines are in. */
function isIn(
  refusal: Refusal,
  path: string,
  hunk: OpenHunk,
  functions: ReadonlySet<string>,
  lines: ChangedLines,
): boolean {
  const { what, unit, code } = refusal;
  if (what === path) return true;
  const isNamed = hunk.lines.some(({ refused }) => refused.some((text) => text.startsWith(`${code}: ${what}:`)));
  if (isNamed) return true;
  const isHeader = path.endsWith(".h");
  if (unit !== undefined && unit !== path && !isHeader) return false;
  const name = nameInSource(refusal.function ?? what);
  if (functions.has(name)) return true;
  if (/^(struct|union|enum) /.test(what)) return lines.typesOf(hunk).includes(what);
  return (
    /^\w+$/.test(what) && (lines.typesOf(hunk).some((type) => type.endsWith(` ${what}`)) || lines.defines(hunk, what))
  );
}

function ofDeclarations(path: string, hunk: OpenHunk, lines: ChangedLines): Fate {
  if (!/\.[chS]$/.test(path)) return plain("left-out", "no source of code");
  if (!lines.hasCode(hunk))
    return plain("lines", "comments and empty lines only: the code that follows has other line numbers");
  if (path.endsWith(".S")) return plain("unknown", "assembly code, which was not compared");
  return plain("unchanged", "declarations only: no code of this kernel is made of these lines alone");
}
