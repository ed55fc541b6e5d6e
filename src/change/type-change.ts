import { type CItem, cItems, cTokens, definedNames, definesType } from "./c-tokens.ts";
import type { ChangedFile } from "./change-set.ts";

/** Files that no compiler takes types from. */
const withoutTypes = /\.(S|rst|txt|md|yaml)$|(^|\/)(MAINTAINERS|Kconfig[^/]*)$/;

/**
 * True unless it is certain that a change leaves all data types and prototypes as they are, because only the bodies of functions change, or
 * functions are added. It is told from the text, so in doubt the answer is true.
 */
export function mayChangeTypes(files: readonly ChangedFile[]): boolean {
  return files.some(({ path, original, patched }) => {
    if (withoutTypes.test(path)) return false;
    // Nobody but the new unit itself sees a new C file, unless an #include line changes too.
    if (path.endsWith(".c") && original === null) return false;
    if (!/\.[ch]$/.test(path) || original === null || patched === null) return true;
    return fileMayChangeTypes(textOf(original), textOf(patched), path.endsWith(".h"));
  });
}

/** Names of structs, unions, enums and typedefs that only one state of the changed files defines. */
export interface TypesOfChange {
  /** Defined by the patch itself. */
  readonly introduced: ReadonlySet<string>;
  /** Defined no longer. */
  readonly removed: ReadonlySet<string>;
}

/** Compares the definitions in the changed files, by name. */
export function typesOfChange(files: readonly ChangedFile[]): TypesOfChange {
  const before = new Set<string>();
  const after = new Set<string>();
  for (const { path, original, patched } of files) {
    if (!/\.[ch]$/.test(path)) continue;
    for (const name of original === null ? [] : definedNames(cTokens(textOf(original)))) before.add(name);
    for (const name of patched === null ? [] : definedNames(cTokens(textOf(patched)))) after.add(name);
  }
  return {
    introduced: new Set([...after].filter((name) => !before.has(name))),
    removed: new Set([...before].filter((name) => !after.has(name))),
  };
}

/** @param isHeader in a header, what looks like a function with a macro for a head may be a macro that makes a type of its body. */
function fileMayChangeTypes(original: string, patched: string, isHeader: boolean): boolean {
  const before = cItems(cTokens(original));
  const after = cItems(cTokens(patched));
  if (before === undefined || after === undefined) return true;
  if (outsideOfFunctions(before) !== outsideOfFunctions(after)) return true;
  const bodies = bodiesByHead(before);
  const newBodies = bodiesByHead(after);
  // A prototype that is gone was removed or changed.
  for (const head of bodies.keys()) if (!newBodies.has(head)) return true;
  for (const [head, body] of newBodies) {
    const old = bodies.get(head);
    if (old === undefined && isMacroCall(head)) return true;
    const joined = (lists: readonly (readonly string[])[]): string => lists.map((list) => list.join(" ")).join("\n");
    if (old !== undefined && joined(old) === joined(body)) continue;
    if (isHeader && isMacroCall(head)) return true;
    if ([...(old ?? []), ...body].some(definesType)) return true;
    const statics = new Set(body.flatMap(staticsOf));
    if ((old ?? []).flatMap(staticsOf).some((declaration) => !statics.has(declaration))) return true;
    if (joined((old ?? []).map(directivesOf)) !== joined(body.map(directivesOf))) return true;
  }
  return false;
}

function outsideOfFunctions(items: readonly CItem[]): string {
  return items.flatMap(({ kind, head }) => (kind === "function" ? [] : [head.join(" ")])).join("\n");
}

/** The same head may stand in two branches of a conditional. */
function bodiesByHead(items: readonly CItem[]): Map<string, (readonly string[])[]> {
  const bodies = new Map<string, (readonly string[])[]>();
  for (const { kind, head, body } of items) {
    if (kind !== "function") continue;
    const key = head.join(" ");
    bodies.set(key, [...(bodies.get(key) ?? []), body]);
  }
  return bodies;
}

/** `SYSCALL_DEFINE1(…) {` and the like may declare more than a function. */
function isMacroCall(head: string): boolean {
  return /^(static |inline )*\w+ \(/.test(head);
}

/** Declarations of static variables in a function, up to their initial values. */
function staticsOf(body: readonly string[]): string[] {
  return body.flatMap((token, index) => {
    if (token !== "static") return [];
    const rest = body.slice(index);
    const end = rest.findIndex((sign) => sign === ";" || sign === "=");
    return [rest.slice(0, end < 0 ? undefined : end).join(" ")];
  });
}

function directivesOf(body: readonly string[]): string[] {
  return body.filter((token) => token.startsWith("#"));
}

function textOf(content: Uint8Array): string {
  return Buffer.from(content).toString("latin1");
}
