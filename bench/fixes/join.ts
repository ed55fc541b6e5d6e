import { readFile } from "node:fs/promises";
import { dirname } from "node:path";
import type { Corpus } from "./corpus.ts";
import { addedWords } from "./hunks.ts";

/** Which changed files add a word: where a name that the compiler misses may come from. */
export class Joiner {
  readonly #headers = new Map<string, string[]>();
  readonly #sources = new Map<string, string[]>();
  readonly #changed: ReadonlySet<string>;
  readonly #new = new Set<string>();

  private constructor(changed: ReadonlySet<string>) {
    this.#changed = changed;
  }

  static async of(corpus: Corpus): Promise<Joiner> {
    const joiner = new Joiner(new Set(corpus.patches.keys()));
    for (const [path, patch] of corpus.patches) {
      const index = path.endsWith(".h") ? joiner.#headers : path.endsWith(".c") ? joiner.#sources : undefined;
      if (index === undefined) continue;
      const text = await readFile(patch, "latin1");
      if (text.startsWith("--- /dev/null")) joiner.#new.add(path);
      for (const word of addedWords(text)) {
        const files = index.get(word);
        if (files === undefined) index.set(word, [path]);
        else files.push(path);
      }
    }
    return joiner;
  }

  /**
   * Files to add to a patch that does not compile: changed files that the errors are in, then the changed headers nearest to `home` that add the names
   * in the errors.
   * @param errors lines of the compiler.
   */
  forErrors(errors: string, files: readonly string[], home: string): string[] {
    const found = new Set<string>();
    for (const line of errors.split("\n")) {
      const match = /^(?:\.\/)?([^\s:]+):\d+(?::\d+)?: (?:fatal )?error: (.*)$/.exec(line);
      if (match === null) continue;
      const [, place, message] = match as unknown as [string, string, string];
      if (this.#changed.has(place) && !files.includes(place)) found.add(place);
      const missing = /^(\S+\.h): No such file/.exec(message)?.[1];
      const header = missing === undefined ? undefined : this.#nearest(this.#endingWith(missing), files, home);
      if (header !== undefined) found.add(header);
      for (const word of quotedWords(message)) {
        const nearest = this.#nearest(this.#headers.get(word) ?? [], files, home);
        if (nearest !== undefined) found.add(nearest);
      }
    }
    return this.#withMakefiles([...found], files);
  }

  /** Changed C files that may define names which the kernel does not have. */
  forSymbols(names: readonly string[], files: readonly string[], home: string): string[] {
    const found = new Set<string>();
    for (const name of names) {
      const nearest = this.#nearest(this.#sources.get(name) ?? [], files, home);
      if (nearest !== undefined) found.add(nearest);
    }
    return this.#withMakefiles([...found], files);
  }

  /** Of the files that are not in the patch yet: one of the same folder, else the one with the longest way in common, `include/` before others. */
  #nearest(candidates: readonly string[], files: readonly string[], home: string): string | undefined {
    const rank = (path: string): number =>
      (dirname(path) === dirname(home) ? 1000 : 0) + (path.startsWith("include/") ? 10 : 0) + commonParts(path, home);
    return candidates.filter((path) => !files.includes(path)).sort((a, b) => rank(b) - rank(a) || (a < b ? -1 : 1))[0];
  }

  #endingWith(name: string): string[] {
    return [...this.#changed].filter((path) => path === name || path.endsWith(`/${name}`));
  }

  /** A new unit is built only when its Makefile says so. */
  #withMakefiles(found: readonly string[], files: readonly string[]): string[] {
    const folders = found.filter((path) => path.endsWith(".c") && this.#new.has(path)).map((path) => dirname(path));
    const makefiles = folders.flatMap((folder) => [`${folder}/Makefile`, `${folder}/Kbuild`]);
    const wanted = makefiles.filter((path) => this.#changed.has(path) && !files.includes(path));
    return [...new Set([...found, ...wanted])].sort();
  }
}

/** Names in the quotation marks of a compiler message, without the words of the language. */
function quotedWords(message: string): Set<string> {
  const words = new Set<string>();
  for (const [, quoted] of message.matchAll(/['‘]([^'’]+)['’]/g)) {
    for (const [word] of (quoted as string).matchAll(/[A-Za-z_]\w+/g)) if (!keywords.has(word)) words.add(word);
  }
  return words;
}

const keywords = new Set(
  "struct union enum const static inline int long short char void unsigned signed bool u8 u16 u32 u64 size_t".split(
    " ",
  ),
);

function commonParts(a: string, b: string): number {
  const left = a.split("/");
  const right = b.split("/");
  const differs = left.findIndex((part, index) => part !== right[index]);
  return differs < 0 ? left.length : differs;
}
