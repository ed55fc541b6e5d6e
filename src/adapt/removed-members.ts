import type { Assumption } from "./adaptation.ts";
import { diagnoseAll } from "./diagnose-all.ts";
import { type Diagnostic, outermostPlace } from "./diagnostics.ts";
import { lifeOf } from "./life.ts";
import { type Oracle, SourceFiles, type TextOverlay } from "./oracle.ts";
import type { Obstacle } from "./soundness.ts";
import { applyEdits, SourceText } from "./source-text.ts";
import { findStructs, type MemberText, type StructText } from "./struct-text.ts";

/** A struct before and after a patch. */
export interface StructChange {
  readonly tag: string;
  /** File that defines it. */
  readonly definition: string;
  /** Text of that file without the patch. */
  readonly original: string;
  /** All files of the patch. */
  readonly patched: TextOverlay;
  readonly oracle: Oracle;
}

/** What becomes of members that a patch removes. */
export interface Restoring {
  readonly files: TextOverlay;
  /** Names of the members that stay. */
  readonly members: readonly string[];
  readonly obstacles: readonly Obstacle[];
  readonly assumptions: readonly Assumption[];
}

/**
 * Keeps the members that a patch removes from a struct where they are: the patched code does not name them, or it would not compile, and every object stays as large as
 * the kernel made it. Objects that are copied, or measured with sizeof, are refused: bytes that nobody sets any more would go with them.
 * @returns undefined for a struct of which the patch changes more, or nothing.
 */
export async function restoreMembers(change: StructChange): Promise<Restoring | undefined> {
  const { tag, definition, original, patched, oracle } = change;
  const source = await new SourceFiles(oracle, patched).open(definition);
  const [after, ...others] = source === undefined ? [] : findStructs(source, tag);
  const [before] = findStructs(new SourceText(definition, original), tag);
  if (source === undefined || after === undefined || before === undefined || others.length > 0) return undefined;
  const removed = missingFrom(before.members, after.members);
  const isMore = after.members.some((member) => {
    const old = before.members.find(({ name }) => name === member.name);
    return old === undefined || old.declaration !== member.declaration;
  });
  if (removed.length === 0 || isMore || removed.some(({ name }) => name === "")) return undefined;
  const life = await lifeOf(tag, definition, oracle, patched);
  const obstacles = [
    ...life.obstacles,
    ...otherChanges(source, after, new SourceText(definition, original), before),
    ...(await positionalInitialisers(change)),
  ];
  if (obstacles.length > 0) return { files: patched, members: [], obstacles, assumptions: [] };
  const body = original.slice(before.open + 1, before.close);
  const text = applyEdits(source.text, [{ start: after.open + 1, end: after.close, text: body }]);
  const members = removed.map(({ name }) => name);
  return {
    files: new Map([...patched, [definition, text]]),
    members,
    obstacles: [],
    assumptions: members.map((name) => ({
      ...{ what: `struct ${tag}: ${name}`, file: definition, line: source.lineOf(after.start) },
      text: "stays in its place; the patched code does not read or write it, and code that is not part of the kernel's source may",
    })),
  };
}

/** What changes in the braces of a struct besides its members: the value of a macro that is defined there, a conditional. */
export function otherChanges(
  source: SourceText,
  after: StructText,
  original: SourceText,
  before: StructText,
): Obstacle[] {
  if (restOf(source, after) === restOf(original, before)) return [];
  const message = `the patch changes more between the braces of struct ${after.tag} than its members`;
  const place = { file: source.path, line: source.lineOf(after.start), function: "" };
  return [{ rule: "UNCLEAR", ...place, values: { message } }];
}

/** The text between the braces without members and comments; the literals stay. */
function restOf({ text, code }: SourceText, { open, close, members }: StructText): string {
  let rest = "";
  let at = open + 1;
  const add = (end: number): void => {
    const piece = text.slice(at, end);
    rest += /["']/.test(piece) ? piece : code.slice(at, end);
  };
  for (const { start, end } of members) {
    add(start);
    at = end;
  }
  add(close);
  return rest.replaceAll(/\s+/g, " ").trim();
}

/** The members of one list whose names another one does not have. */
function missingFrom(members: readonly MemberText[], others: readonly MemberText[]): MemberText[] {
  const known = new Set(others.map(({ name }) => name));
  return members.filter(({ name }) => !known.has(name));
}

/**
 * Initialisers of a struct that go by the order of its members: with members that the patch does not have, or without some that it has, their values would go to others.
 * The compiler tells them once the type asks for names (attribute designated_init of gcc and clang).
 */
export async function positionalInitialisers({
  tag,
  definition,
  patched,
  oracle,
}: Pick<StructChange, "tag" | "definition" | "patched" | "oracle">): Promise<Obstacle[]> {
  const source = await new SourceFiles(oracle, patched).open(definition);
  const [struct] = source === undefined ? [] : findStructs(source, tag);
  if (source === undefined || struct === undefined) return [];
  const at = struct.start + "struct".length;
  const named = applyEdits(source.text, [{ start: at, end: at, text: " __attribute__((designated_init))" }]);
  const state = new Map([...patched, [definition, named]]);
  const sources = new SourceFiles(oracle, state);
  const found = new Map<string, Obstacle>();
  for (const each of await diagnoseAll(oracle, state)) {
    if (!each.message.includes("designated_init") || (await isZero(each, sources))) continue;
    const { file, line } = outermostPlace(each);
    found.set(`${file}:${line}`, { rule: "POSITIONAL", file, line, function: each.function, values: {} });
  }
  return [...found.values()];
}

/** `{ 0 }` is zero in every order. */
async function isZero({ file, line, column }: Diagnostic, sources: SourceFiles): Promise<boolean> {
  const text = (await sources.open(file))?.text.split("\n")[line - 1] ?? "";
  return /\{\s*$/.test(text.slice(0, column - 1)) && /^0\s*,?\s*\}/.test(text.slice(column - 1));
}
