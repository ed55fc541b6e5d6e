/** What is left of each line of C or preprocessed assembly without comments; blanks at both ends are gone, and what is in quotes is kept. */
export function linesWithoutComments(text: string): string[] {
  let isOpen = false;
  return text.split("\n").map((line) => {
    let kept = "";
    let quote = "";
    for (let at = 0; at < line.length; at++) {
      const sign = line[at] as string;
      const two = sign + (line[at + 1] ?? "");
      if (isOpen) {
        if (two !== "*/") continue;
        isOpen = false;
        at++;
        kept += " ";
      } else if (quote !== "") {
        kept += sign;
        if (sign === "\\") kept += line[++at] ?? "";
        else if (sign === quote) quote = "";
      } else if (two === "//") break;
      else if (two === "/*") {
        isOpen = true;
        at++;
      } else {
        if (sign === '"' || sign === "'") quote = sign;
        kept += sign;
      }
    }
    return kept.trimEnd();
  });
}

/** A struct, union or enum that a file defines, by the numbers of its lines. */
export interface SourceType {
  /** With `struct`, `union` or `enum`. */
  readonly name: string;
  readonly first: number;
  readonly last: number;
}

/** Types of a file that are written as the kernel does: the head begins in the first column, and so does the closing brace. */
export function sourceTypes(text: string): SourceType[] {
  const found: SourceType[] = [];
  let open: { readonly name: string; readonly first: number } | undefined;
  for (const [index, line] of text.split("\n").entries()) {
    const name = /^(?:typedef )?((?:struct|union|enum) \w+)\s*\{/.exec(line)?.[1];
    if (open === undefined && name !== undefined) open = { name, first: index + 1 };
    if (open === undefined || !(line.startsWith("}") || (index + 1 === open.first && line.includes("}")))) continue;
    found.push({ ...open, last: index + 1 });
    open = undefined;
  }
  return found;
}

/**
 * Whether a line of C, without its comments, defines a variable or a macro of a name.
 * @param isLocal for a static variable within a function.
 */
export function definesName(line: string, name: string, isLocal: boolean): boolean {
  const directive = /^\s*#\s*define\s+(\w+)/.exec(line);
  if (directive !== null) return directive[1] === name;
  const isDeclaration = isLocal ? /^\s+static\b/.test(line) : /^[A-Za-z_}]/.test(line) && !/^extern\b/.test(line);
  if (!isDeclaration) return false;
  const value = line.indexOf("=");
  const at = new RegExp(`\\b${name}\\b\\s*(?:\\[|=|;|,|\\)|$)`).exec(line)?.index ?? -1;
  // Behind the first value, only what follows a comma is another variable.
  return at >= 0 && (value < 0 || at < value || /,\s*\**$/.test(line.slice(0, at)));
}
