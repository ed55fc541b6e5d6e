import { readFile } from "node:fs/promises";
import { basename, join, normalize } from "node:path";
import type { ChangedFile } from "../change/change-set.ts";
import type { SourceLine } from "../elf/line-table.ts";
import type { CodeRow, CodeSource } from "./report-types.ts";
import { hunksOf, sourceText } from "./source-hunks.ts";

/** Characters of a line that are shown. */
const longest = 160;

/** Texts of lines of the source, as compilers number them. */
export class SourceTexts {
  readonly #tree: string;
  readonly #changed: ReadonlyMap<string, ChangedFile>;
  readonly #lines = new Map<string, Promise<readonly string[]>>();
  readonly #added = new Map<string, Map<number, string>>();

  /** @param tree the kernel's source without the patch. */
  constructor(tree: string, files: readonly ChangedFile[]) {
    this.#tree = tree;
    this.#changed = new Map(files.map((file) => [file.path, file]));
    for (const file of files) {
      const added = new Map<number, string>();
      for (const hunk of hunksOf(file, [])) {
        const texts = hunk.lines.filter(({ kind }) => kind === "added").map(({ text }) => text);
        for (const [index, line] of [...hunk.added].entries()) added.set(line, texts[index] ?? "");
      }
      this.#added.set(file.path, added);
    }
  }

  /**
   * Says at which rows the code of another line begins, and what that line is.
   * @param isNew the function comes with the patch: where a line of it has the number, no other is meant.
   */
  async withSources(
    rows: readonly (CodeRow & { readonly from: SourceLine | undefined })[],
    isNew: boolean,
  ): Promise<CodeRow[]> {
    const found: CodeRow[] = [];
    let last = "";
    for (const { from, ...row } of rows) {
      const place = from === undefined ? last : `${from.file}:${from.line}`;
      if (from === undefined || place === last) found.push(row);
      else
        found.push({
          ...row,
          source: await this.#sourceOf(from, isNew ? "new" : row.shipped === null || row.differs ? "both" : "old"),
        });
      last = place;
    }
    return found;
  }

  async #sourceOf({ file, line }: SourceLine, side: "old" | "new" | "both"): Promise<CodeSource> {
    const path = this.#pathOf(file);
    const lines = await this.#linesOf(path);
    const found = side === "old" ? undefined : this.#added.get(path)?.get(line);
    const added = found?.trim() === "" ? undefined : found;
    const text = added !== undefined && side === "new" ? undefined : lines[line - 1];
    return {
      place: `${basename(file)}:${line}`,
      text: text === undefined ? null : shortened(text),
      added: added === undefined ? null : shortened(added),
    };
  }

  /** Relative to the tree. */
  #pathOf(file: string): string {
    const path = normalize(file);
    if (this.#changed.has(path)) return path;
    return [...this.#changed.keys()].find((known) => path.endsWith(`/${known}`)) ?? path;
  }

  #linesOf(path: string): Promise<readonly string[]> {
    let lines = this.#lines.get(path);
    if (lines === undefined) {
      const changed = this.#changed.get(path);
      // What is outside of the tree, such as a file that the build made, has no text here.
      const isInside = !path.startsWith("/") && !path.startsWith("..");
      const content =
        changed !== undefined
          ? Promise.resolve(changed.original)
          : isInside
            ? readFile(join(this.#tree, path)).catch(() => null)
            : Promise.resolve(null);
      lines = content.then((bytes) => (bytes === null ? [] : sourceText(bytes).split("\n")));
      this.#lines.set(path, lines);
    }
    return lines;
  }
}

function shortened(text: string): string {
  const line = text.trim();
  return line.length > longest ? `${line.slice(0, longest - 1)}…` : line;
}
