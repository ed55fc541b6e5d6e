import type { BuildFacts } from "../build/build-facts.ts";
import type { ChangedFile } from "../change/change-set.ts";
import { sourceFunctions } from "../change/source-functions.ts";
import type { FunctionChange } from "../diff/changes.ts";
import { inlinedFunctions } from "../diff/inlined-functions.ts";
import { baseName, coldParent } from "../diff/names.ts";
import type { Refusal } from "../support/refusals.ts";
import { CodeLines } from "./code-lines.ts";
import type { Fate, Hunk, SourceChange } from "./report-types.ts";
import { hunksOf, type OpenHunk, sourceText } from "./source-hunks.ts";

/** A line that only a reader of the source sees. */
const remark = /^\s*(\/\*.*|\*.*|\/\/.*)?\s*$/;

/** The source patch, with what became of each of its parts. */
export function sourceChangesOf(facts: BuildFacts): SourceChange[] {
  const teller = new FateTeller(facts);
  return facts.session.change.files.map((file) => {
    const open = hunksOf(file, facts.result.refusals);
    const hunks = open.map((hunk): Hunk => {
      const { oldStart, newStart, lines } = hunk;
      return { oldStart, newStart, lines, fates: teller.ofHunk(file, hunk) };
    });
    return { path: file.path, kind: file.kind, hunks, fates: teller.ofFile(file, hunks) };
  });
}

/** Name of a function in the source. */
function nameInSource(name: string): string {
  return baseName(coldParent(name) ?? name);
}

class FateTeller {
  readonly #facts: BuildFacts;
  readonly #lines: CodeLines;
  readonly #changes: readonly FunctionChange[];

  constructor(facts: BuildFacts) {
    this.#facts = facts;
    this.#lines = new CodeLines(facts.examination.plans);
    const carried = new Set(facts.examination.plans.flatMap(({ selection }) => selection.atoms));
    this.#changes = facts.examination.plans
      .flatMap(({ changes }) => [...changes.functions.values()])
      .filter(({ atom }) => carried.has(atom));
  }

  /** What holds for a file as a whole. */
  ofFile({ path }: ChangedFile, hunks: readonly Hunk[]): Fate[] {
    const { examination, result } = this.#facts;
    if (examination.units.notBuilt.includes(path))
      return [{ kind: "left-out", text: "this kernel is not built with this file", source: [], functions: [] }];
    const told = new Set(hunks.flatMap(({ fates }) => fates).map(({ text }) => text));
    return result.refusals
      .filter((refusal) => this.#isAbout(refusal, path))
      .map(refusedFate)
      .filter(({ text }) => !told.has(text));
  }

  ofHunk(file: ChangedFile, hunk: OpenHunk): Fate[] {
    const { path } = file;
    if (this.#facts.examination.units.notBuilt.includes(path)) return [];
    const fates: Fate[] = [];
    const around = enclosing(file, hunk);
    const refused = this.#facts.result.refusals.filter((refusal) => this.#isIn(refusal, path, hunk, around));
    fates.push(...refused.map(refusedFate));
    const holders = this.#holders(path, hunk);
    const told = new Set<string>();
    const inlined = new Set<string>();
    for (const change of holders) {
      const name = nameInSource(change.atom.name);
      if (told.has(name)) continue;
      told.add(name);
      const names = [change.atom.name];
      if (!around.has(name)) {
        const from = around.size === 0 ? "the code" : [...around].join(", ");
        const text = `${from} is part of ${name}, which is replaced`;
        for (const source of around) inlined.add(source);
        fates.push({ kind: "inlined", text, source: [...around], functions: names });
      } else if (change.original === undefined)
        fates.push({ kind: "new", text: `${name} is new and comes with the module`, source: [name], functions: names });
      else fates.push({ kind: "edited", text: `${name} is replaced`, source: [name], functions: names });
    }
    fates.push(...this.#carriedData(hunk));
    for (const name of around) {
      if (
        told.has(name) ||
        inlined.has(name) ||
        refused.some((refusal) => refusal.what === name || refusal.function === name)
      )
        continue;
      fates.push(...this.#ofFunction(name, holders));
    }
    if (fates.length > 0) return fates;
    return [ofDeclarations(path, hunk)];
  }

  #holders(path: string, { added, removed }: OpenHunk): FunctionChange[] {
    const found = new Set([
      ...this.#lines.holdersOf(path, added, "patched"),
      ...this.#lines.holdersOf(path, removed, "original"),
    ]);
    return this.#changes.filter((change) => found.has(change));
  }

  /** A function whose lines changed and of which no changed code tells. */
  #ofFunction(name: string, holders: readonly FunctionChange[]): Fate[] {
    const own = this.#changes.find(({ atom }) => nameInSource(atom.name) === name);
    if (own !== undefined) {
      const isNew = own.original === undefined;
      const text = isNew ? `${name} is new and comes with the module` : `${name} is replaced`;
      return [{ kind: isNew ? "new" : "edited", text, source: [name], functions: [own.atom.name] }];
    }
    for (const { patched, changes } of this.#facts.examination.plans) {
      const section = changes.ranAtBoot.get(name);
      if (section !== undefined)
        return [
          {
            kind: "left-out",
            text: `${name} ran once, in ${section}, and its memory is free`,
            source: [],
            functions: [],
          },
        ];
      const users = this.#changes.filter(
        ({ atom }) =>
          changes.functions.has(atom) && inlinedFunctions(patched).get(nameInSource(atom.name))?.has(name) === true,
      );
      if (users.length > 0) {
        const names = users.map(({ atom }) => atom.name);
        const text = `${name} is part of ${names.join(", ")}, which the module replaces`;
        return [{ kind: "inlined", text, source: [name], functions: names }];
      }
    }
    if (holders.length > 0) return [];
    return [
      { kind: "unchanged", text: `${name} has the same code as before in this kernel`, source: [], functions: [] },
    ];
  }

  #carriedData({ lines }: OpenHunk): Fate[] {
    const text = lines.filter(({ kind }) => kind === "added").map((line) => line.text);
    const fates: Fate[] = [];
    for (const { selection, correlation } of this.#facts.examination.plans) {
      for (const atom of selection.atoms) {
        const isData = atom.kind === "data" || atom.kind === "bss" || atom.kind === "rodata";
        if (!isData || atom.symbol === undefined || correlation.originalOf.has(atom) || !/^\w+/.test(atom.base))
          continue;
        const word = new RegExp(`\\b${atom.base.replace(/\W.*$/, "")}\\b`);
        if (!text.some((line) => word.test(line))) continue;
        const bytes = atom.end - atom.start;
        fates.push({
          kind: "carried",
          text: `${atom.base} is new: the module brings its ${bytes} bytes`,
          source: [],
          functions: [],
        });
      }
    }
    return [...new Map(fates.map((fate) => [fate.text, fate])).values()];
  }

  #isAbout({ unit, where, what }: Refusal, path: string): boolean {
    return unit === path || what === path || where === path || where.startsWith(`${path}:`);
  }

  #isIn(refusal: Refusal, path: string, { lines }: OpenHunk, around: ReadonlySet<string>): boolean {
    if (lines.some(({ refused }) => refused.some((text) => text.startsWith(`${refusal.code}: ${refusal.what}:`))))
      return true;
    const name = nameInSource(refusal.function ?? refusal.what);
    if (around.has(name) && (refusal.unit === undefined || refusal.unit === path || path.endsWith(".h"))) return true;
    const what = refusal.what.replace(/^(struct|union|enum) /, "");
    if (!/^\w+$/.test(what) || around.size > 0) return false;
    const word = new RegExp(`\\b${what}\\b`);
    return lines.some(({ text }) => word.test(text));
  }
}

function refusedFate({ code, what, why }: Refusal): Fate {
  return { kind: "refused", text: `${code}: ${what}: ${why}`, source: [], functions: [] };
}

/** Functions of the source that the changed lines of a hunk are in. */
function enclosing(file: ChangedFile, hunk: OpenHunk): Set<string> {
  const names = new Set<string>();
  const look = (content: Uint8Array | null, numbers: readonly number[]): void => {
    if (numbers.length === 0) return;
    for (const { name, first, last } of sourceFunctions(sourceText(content)))
      if (numbers.some((line) => line >= first && line <= last)) names.add(name);
  };
  const changed = (side: "old" | "new"): number[] =>
    hunk.lines.flatMap((line) =>
      line.kind !== "context" && line[side] !== null && !remark.test(line.text) ? [line[side]] : [],
    );
  look(file.original, changed("old"));
  look(file.patched, changed("new"));
  return names;
}

function ofDeclarations(path: string, { lines }: OpenHunk): Fate {
  const changed = lines.filter(({ kind }) => kind !== "context");
  if (!/\.[chS]$/.test(path)) return { kind: "left-out", text: "no source of code", source: [], functions: [] };
  if (changed.every(({ text }) => remark.test(text)))
    return {
      kind: "lines",
      text: "comments and empty lines only: the code that follows has other line numbers",
      source: [],
      functions: [],
    };
  return {
    kind: "unchanged",
    text: "declarations only: no code of this kernel is made of these lines alone",
    source: [],
    functions: [],
  };
}
