import { diffArrays } from "diff";

/**
 * Adds `#line` directives to a patched C file, so that every line which the patch leaves alone keeps its old number. `__LINE__` (in WARN_ON(),
 * lockdep and many others) then has its old value there, and code that merely moved does not count as changed.
 *
 * A directive cannot stand inside of a macro definition that goes on over several lines, so it waits for the end of one.
 */
export function keepLineNumbers(original: Uint8Array, patched: Uint8Array): Uint8Array {
  const before = Buffer.from(original).toString("latin1").split("\n");
  const after = Buffer.from(patched).toString("latin1").split("\n");
  const output: string[] = [];
  let oldLine = 1;
  let shift = 0;
  let shown = 0;
  for (const part of diffArrays(before, after)) {
    if (part.added) {
      output.push(...part.value);
      shift += part.value.length;
    } else if (part.removed) {
      oldLine += part.value.length;
      shift -= part.value.length;
    } else {
      for (const line of part.value) {
        if (shown !== shift && mayStand(output)) {
          output.push(`#line ${oldLine}`);
          shown = shift;
        }
        output.push(line);
        oldLine++;
      }
    }
  }
  return Buffer.from(output.join("\n"), "latin1");
}

/** False behind a line that ends with a backslash, and for the empty rest behind the last newline. */
function mayStand(output: readonly string[]): boolean {
  return output.at(-1)?.endsWith("\\") !== true;
}
