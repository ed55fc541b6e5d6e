import { readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { missedNames } from "./compiler-errors.ts";
import type { Corpus } from "./corpus.ts";
import { addedWords, type Hunk, hunksOf, patchOf, wordsOf } from "./hunks.ts";

/** What a joined patch holds of one file: `path`, all that differs, or `path#1,4`, these hunks of it. */
export type Part = string;

/** One hunk of a file that differs. */
interface Place {
  readonly path: string;
  /** From 1. */
  readonly number: number;
  readonly hunk: Hunk;
}

/** Finds the parts of other files that a patch needs before it compiles: the hunks that add the names which the compiler or the linker misses, and no more. */
export class Joiner {
  readonly #headers = new Map<string, Place[]>();
  /** Hunks of headers by the words of all their lines. */
  readonly #mentions = new Map<string, Place[]>();
  readonly #definitions = new Map<string, Place[]>();
  readonly #corpus: Corpus;
  readonly #new = new Set<string>();

  private constructor(corpus: Corpus) {
    this.#corpus = corpus;
  }

  static async of(corpus: Corpus): Promise<Joiner> {
    const joiner = new Joiner(corpus);
    for (const [path, patch] of corpus.patches) {
      const isHeader = path.endsWith(".h");
      if (!isHeader && !path.endsWith(".c")) continue;
      const text = await readFile(patch, "latin1");
      if (text.startsWith("--- /dev/null")) joiner.#new.add(path);
      const index = isHeader ? joiner.#headers : joiner.#definitions;
      for (const [at, hunk] of hunksOf(text).hunks.entries()) {
        const place = { path, number: at + 1, hunk };
        for (const word of addedWords(hunk, !isHeader)) addTo(index, word, place);
        if (isHeader) for (const word of wordsOf(hunk)) addTo(joiner.#mentions, word, place);
      }
    }
    return joiner;
  }

  /**
   * The parts with what the compiler missed: of the files that the errors are in and of the changed headers nearest to `home`.
   * @param errors lines of the compiler.
   * @returns equal parts when nothing was found.
   */
  async forErrors(errors: string, parts: readonly Part[], home: string): Promise<Part[]> {
    const chosen = new Selection(parts);
    for (const { place, names, isDeclared, within, header } of missedNames(errors)) {
      if (header !== undefined) {
        const path = nearest(
          this.#endingWith(header).filter((candidate) => !chosen.hasAll(candidate)),
          home,
        );
        if (path !== undefined) chosen.addAll(path);
      }
      const index = isDeclared === true ? this.#mentions : this.#headers;
      for (const name of names) this.#add(chosen, index.get(name) ?? [], home, within);
      if (this.#corpus.patches.has(place) && !chosen.hasAll(place)) await this.#addTouching(chosen, place, names);
    }
    return this.#withMakefiles(chosen).parts();
  }

  /** The parts with the changed C files' definitions of names that the kernel does not have. */
  forSymbols(names: readonly string[], parts: readonly Part[], home: string): Part[] {
    const chosen = new Selection(parts);
    for (const name of names) this.#add(chosen, this.#definitions.get(name) ?? [], home);
    return this.#withMakefiles(chosen).parts();
  }

  /** The text of a part. */
  async patch(part: Part): Promise<string> {
    const { path, numbers } = readPart(part);
    const text = await readFile(this.#corpus.patches.get(path) as string, "latin1");
    if (numbers === undefined) return text;
    const { head, hunks } = hunksOf(text);
    return patchOf(
      head,
      numbers.map((number) => hunks[number - 1] as Hunk),
    );
  }

  /** Adds those of the places that are in the nearest file of them. */
  #add(chosen: Selection, places: readonly Place[], home: string, within?: string): void {
    const left = places.filter(({ path, number }) => !chosen.has(path, number));
    const among = within === undefined ? left : left.filter(({ hunk }) => isAbout(hunk, within));
    const path = nearest(
      among.map((place) => place.path),
      home,
    );
    for (const place of among) {
      if (place.path !== path) continue;
      if (this.#new.has(path)) chosen.addAll(path);
      else chosen.add(path, place.number);
    }
  }

  /** A file in which an error is: its hunks with one of the names, on whatever line, else all of them. */
  async #addTouching(chosen: Selection, path: string, names: readonly string[]): Promise<void> {
    const { hunks } = hunksOf(await readFile(this.#corpus.patches.get(path) as string, "latin1"));
    const touching = [...hunks.keys()].filter((at) =>
      hunks[at]?.lines.some((line) => names.some((name) => new RegExp(`\\b${name}\\b`).test(line))),
    );
    const left = touching.filter((at) => !chosen.has(path, at + 1));
    if (left.length === 0) chosen.addAll(path);
    else for (const at of left) chosen.add(path, at + 1);
  }

  #endingWith(name: string): string[] {
    return [...this.#corpus.patches.keys()].filter((path) => path === name || path.endsWith(`/${name}`));
  }

  /** A new unit is built only when its Makefile says so. */
  #withMakefiles(chosen: Selection): Selection {
    const folders = chosen
      .paths()
      .filter((path) => path.endsWith(".c") && this.#new.has(path))
      .map(dirname);
    for (const folder of folders)
      for (const path of [`${folder}/Makefile`, `${folder}/Kbuild`])
        if (this.#corpus.patches.has(path)) chosen.addAll(path);
    return chosen;
  }
}

function addTo(index: Map<string, Place[]>, word: string, place: Place): void {
  const places = index.get(word);
  if (places === undefined) index.set(word, [place]);
  else places.push(place);
}

/** Parts while they grow. */
class Selection {
  /** Undefined stands for all of a file. */
  readonly #chosen: Map<string, Set<number> | undefined>;

  constructor(parts: readonly Part[]) {
    this.#chosen = new Map(
      parts.map(readPart).map(({ path, numbers }) => [path, numbers === undefined ? undefined : new Set(numbers)]),
    );
  }

  hasAll(path: string): boolean {
    return this.#chosen.has(path) && this.#chosen.get(path) === undefined;
  }

  has(path: string, number: number): boolean {
    return this.hasAll(path) || this.#chosen.get(path)?.has(number) === true;
  }

  addAll(path: string): void {
    this.#chosen.set(path, undefined);
  }

  add(path: string, number: number): void {
    if (this.hasAll(path)) return;
    this.#chosen.set(path, (this.#chosen.get(path) ?? new Set()).add(number));
  }

  paths(): string[] {
    return [...this.#chosen.keys()];
  }

  parts(): Part[] {
    const parts = [...this.#chosen].map(([path, numbers]) =>
      numbers === undefined ? path : `${path}#${[...numbers].sort((a, b) => a - b).join(",")}`,
    );
    return parts.sort();
  }
}

function readPart(part: Part): { readonly path: string; readonly numbers: readonly number[] | undefined } {
  const [path, numbers] = part.split("#") as [string, string | undefined];
  return { path, numbers: numbers?.split(",").map(Number) };
}

/** Whether a hunk is of a structure: by the line that `diff -p` shows, or by its own lines. */
function isAbout({ within, lines }: Hunk, structure: string): boolean {
  const pattern = new RegExp(`\\b${structure}\\b`);
  return pattern.test(within) || lines.some((line) => pattern.test(line));
}

/** One of the same folder as `home`, else the one with the longest way in common, `include/` before others. */
function nearest(paths: readonly string[], home: string): string | undefined {
  const rank = (path: string): number =>
    (dirname(path) === dirname(home) ? 1000 : 0) + (path.startsWith("include/") ? 10 : 0) + commonParts(path, home);
  return [...paths].sort((a, b) => rank(b) - rank(a) || (a < b ? -1 : 1))[0];
}

function commonParts(a: string, b: string): number {
  const left = a.split("/");
  const right = b.split("/");
  const differs = left.findIndex((part, index) => part !== right[index]);
  return differs < 0 ? left.length : differs;
}
