import { diffArrays } from "diff";

/**
 * Adds `#line` directives to a patched C file, so that every line which the patch leaves alone keeps its old number. `__LINE__` (in WARN_ON(),
 * lockdep and many others) then has its old value there, and code that merely moved does not count as changed.
 *
 * A directive means nothing inside of a comment or of a macro definition that goes on over several lines, so it waits for the end of those. In a part
 * that `#if` leaves out it is not read, so it is repeated behind the next `#else`, `#elif` or `#endif`.
 */
export function keepLineNumbers(original: Uint8Array, patched: Uint8Array): Uint8Array {
  const before = Buffer.from(original).toString("latin1").split("\n");
  const after = Buffer.from(patched).toString("latin1").split("\n");
  const output = new MarkedText();
  let oldLine = 1;
  let shift = 0;
  for (const part of diffArrays(before, after)) {
    if (part.added) {
      for (const line of part.value) output.add(line);
      shift += part.value.length;
    } else if (part.removed) {
      oldLine += part.value.length;
      shift -= part.value.length;
    } else {
      for (const line of part.value) output.addKept(line, oldLine++, shift);
    }
  }
  return Buffer.from(output.lines.join("\n"), "latin1");
}

/** What the start of a line is part of. */
type Context = "code" | "comment" | "line comment" | '"' | "'";

class MarkedText {
  readonly lines: string[] = [];
  #context: Context = "code";
  /** How many conditionals are open, here and where the last mark stands. */
  #depth = 0;
  #markDepth = 0;
  #shown: number | undefined = 0;

  /** @param shift by how many lines the patch has moved this one. */
  addKept(line: string, oldLine: number, shift: number): void {
    if (this.#shown !== shift && this.#context === "code" && this.lines.at(-1)?.endsWith("\\") !== true) {
      this.lines.push(`#line ${oldLine}`);
      this.#shown = shift;
      this.#markDepth = this.#depth;
    }
    this.add(line);
  }

  add(line: string): void {
    const isContinued = this.lines.at(-1)?.endsWith("\\") === true;
    if (this.#context === "code" && !isContinued) this.#conditional(line);
    this.lines.push(line);
    this.#context = contextBehind(line, this.#context);
  }

  #conditional(line: string): void {
    const word = /^\s*#\s*(if|el|endif)/.exec(line)?.[1];
    if (word === undefined) return;
    if (word === "if") this.#depth++;
    else if (this.#markDepth > 0) this.#shown = undefined;
    if (word === "endif") this.#depth = Math.max(0, this.#depth - 1);
  }
}

/** The context at the start of the next line. */
function contextBehind(line: string, start: Context): Context {
  let context = start;
  for (let at = 0; at < line.length; at++) {
    const two = line.slice(at, at + 2);
    const sign = line[at] as string;
    if (context === "comment") {
      if (two !== "*/") continue;
      context = "code";
      at++;
    } else if (context === "code") {
      if (two === "//") context = "line comment";
      else if (two === "/*") {
        context = "comment";
        at++;
      } else if (sign === '"' || sign === "'") context = sign;
    } else if (context !== "line comment") {
      if (sign === "\\") at++;
      else if (sign === context) context = "code";
    }
  }
  return context === "comment" || line.endsWith("\\") ? context : "code";
}
