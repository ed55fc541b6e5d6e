/** A place in a source file, as the compiler counts: line and column in bytes, both from 1. */
export interface SourcePlace {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** One error or warning of gcc. */
export interface Diagnostic extends SourcePlace {
  readonly kind: "error" | "warning";
  readonly message: string;
  /** Function that it is in; empty at file scope. */
  readonly function: string;
  /** Macros around the place, innermost first: where each is used, or the line of its definition that has the place. */
  readonly macros: readonly (SourcePlace & { readonly name: string; readonly isUse: boolean })[];
}

/**
 * Flags that make gcc print one line for each diagnostic and each macro around it. Its JSON names, for a place in the argument of a macro, only the
 * macro; the text names the place itself.
 */
export const diagnosticFlags: readonly string[] = [
  "-fno-diagnostics-show-caret",
  "-fdiagnostics-color=never",
  "-fdiagnostics-column-unit=byte",
  "-fmax-errors=0",
  "-ftrack-macro-expansion=2",
  "-fno-diagnostics-show-option",
  "-Wno-error",
];

const linePattern = /^(.+?):(\d+):(\d+): (fatal error|error|warning|note): (.*)$/;

/** Reads what gcc printed with {@link diagnosticFlags} and `LC_ALL=C`. */
export function readDiagnostics(text: string): Diagnostic[] {
  const found: Diagnostic[] = [];
  let scope = "";
  let macros: Diagnostic["macros"][number][] = [];
  for (const line of text.split("\n")) {
    const entered = /^.+: (?:In function '(.+)':|At top level:)$/.exec(line);
    if (entered !== null) {
      scope = entered[1] ?? "";
      continue;
    }
    const parts = linePattern.exec(line);
    if (parts === null) continue;
    const [, file = "", row = "", column = "", kind = "", message = ""] = parts;
    const place = { file: normalise(file), line: Number(row), column: Number(column) };
    if (kind === "note") {
      const [, how, name = ""] = /^in (definition|expansion) of macro '(.+)'$/.exec(message) ?? [];
      if (how !== undefined) macros.push({ ...place, name, isUse: how === "expansion" });
      continue;
    }
    macros = [];
    found.push({ ...place, kind: kind === "warning" ? "warning" : "error", message, function: scope, macros });
  }
  return found;
}

/** The place in the file that a person wrote: of a place in the body of a macro, where the outermost macro is used. */
export function outermostPlace(diagnostic: Diagnostic): SourcePlace {
  const use = diagnostic.macros.findLast(({ isUse }) => isUse);
  return use ?? diagnostic;
}

function normalise(file: string): string {
  return file.replace(/^(?:\.\/)+/, "");
}
