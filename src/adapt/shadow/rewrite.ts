import type { Assumption } from "../adaptation.ts";
import { diagnoseAll } from "../diagnose-all.ts";
import { type Creation, type End, lifeOf, type TypeLife } from "../life.ts";
import { type Oracle, SourceFiles, type TextOverlay } from "../oracle.ts";
import { otherChanges, positionalInitialisers, type StructChange } from "../removed-members.ts";
import type { Obstacle } from "../soundness.ts";
import { applyEdits, SourceText, type TextEdit } from "../source-text.ts";
import { findStructs, type MemberText, type StructText } from "../struct-text.ts";
import { accessorText, type ShadowMember, shadowName } from "./accessors.ts";
import { proveUses } from "./proof.ts";
import { findUses, type MemberUse } from "./uses.ts";
import { makeWritable } from "./writable.ts";

/** What a type's new members are made into. */
export interface ShadowRewriting {
  /** The changed files, in place of the patched ones; unchanged where there are obstacles. */
  readonly files: TextOverlay;
  readonly members: readonly ShadowMember[];
  readonly obstacles: readonly Obstacle[];
  readonly assumptions: readonly Assumption[];
}

/** Rounds in which uses within the objects of other uses are found. */
const mostRounds = 8;
/** Stands for the accessors until it is known what they have to do. */
const accessorMark = "/* accessors */";

/**
 * Makes each new member of a struct a shadow variable: the compiler tells where the members are used once they are left out of the struct, and where objects are created
 * and end. What cannot be proven to be sound is an obstacle, and then nothing is changed.
 */
export async function rewriteShadow(request: StructChange): Promise<ShadowRewriting> {
  const { tag, definition, patched, oracle } = request;
  const sources = new SourceFiles(oracle, patched);
  const source = await sources.open(definition);
  const [after] = source === undefined ? [] : findStructs(source, tag);
  const before = new SourceText(definition, request.original);
  const [struct] = findStructs(before, tag);
  if (source === undefined || after === undefined || struct === undefined) return failed(request, [unclear(request)]);
  const { added, obstacles } = newMembers(struct, after, definition, source);
  const life = await lifeOf(tag, definition, oracle, patched);
  obstacles.push(...life.obstacles, ...lifeObstacles(life, definition), ...(await positionalInitialisers(request)));
  obstacles.push(...otherChanges(source, after, before, struct));
  if (obstacles.length > 0) return failed(request, obstacles);
  const kept = before.text.slice(struct.open + 1, struct.close);
  const blank = applyEdits(
    source.text,
    added.map((member) => blankOf(source, member)),
  );
  const names = new Set(added.map(({ name }) => name));
  const state = new Map([...patched, [definition, blank]]);
  const first = await findUses(tag, names, await diagnoseAll(oracle, state), new SourceFiles(oracle, state));
  const edits = new EditsByFile();
  edits.add(definition, { start: after.open + 1, end: after.close, text: kept });
  edits.add(definition, { start: after.end, end: after.end, text: `\n\n${accessorMark}` });
  edits.add(definition, includeEdit(source, after.start, "<linux/livepatch.h>"));
  for (const creation of life.creations) edits.addAll(creation.file, creationEdits(tag, creation));
  for (const end of life.ends) edits.addAll(end.file, endEdits(tag, end));
  for (const use of withoutInner(first.uses)) edits.add(use.source.path, useEdit(tag, use, added));
  let files = await edits.applied(sources, patched);
  const plan = { tag, release: life.creations[0]?.allocator.release, hasEnds: life.ends.length > 0 };
  const shadows = (initial: ReadonlyMap<string, ShadowMember["initial"]>): ShadowMember[] =>
    added.map((member) => ({ tag, definition, member, initial: initial.get(member.name) ?? { kind: "zero" } }));
  const draft = accessorText({ ...plan, members: shadows(new Map()), written: names });
  files = replaced(files, definition, accessorMark, draft);
  let failures = [...first.obstacles];
  for (let round = 0; round < mostRounds && failures.length === 0; round++) {
    const inner = new SourceFiles(oracle, files);
    const found = await findUses(tag, names, await diagnoseAll(oracle, files), inner);
    failures = [...found.obstacles];
    if (found.uses.length === 0) break;
    const more = new EditsByFile();
    for (const use of withoutInner(found.uses)) more.add(use.source.path, useEdit(tag, use, added));
    files = await more.applied(inner, files);
  }
  if (failures.length > 0) return failed(request, failures);
  const writable = await makeWritable(tag, names, oracle, files);
  if (writable.obstacles.length > 0) return failed(request, writable.obstacles);
  files = writable.files;
  const texts = [...files].flatMap(([path, text]) => (text === null ? [] : [new SourceText(path, text)]));
  const proofs = added.map(({ name }) => ({ name, ...proveUses(tag, name, texts) }));
  const open = proofs.flatMap((proof) => proof.obstacles);
  if (open.length > 0) return failed(request, open);
  const initial = new Map(proofs.map((proof) => [proof.name, proof.initial]));
  const members = shadows(initial);
  const written = new Set([...names].filter((name) => texts.some(({ code }) => usesWritable(code, tag, name))));
  files = replaced(files, definition, draft, accessorText({ ...plan, members, written }).trimEnd());
  const wrong = (await diagnoseAll(oracle, files)).filter(
    ({ kind, message }) => kind === "error" || message.includes("kmend_"),
  );
  if (wrong.length > 0) {
    return failed(
      request,
      wrong.slice(0, 5).map(({ file, line, function: name, message }) => ({
        rule: "UNCLEAR",
        file,
        line,
        function: name,
        values: { message },
      })),
    );
  }
  const evidence = proofs.flatMap((proof) =>
    proof.evidence.map((each) => ({ what: `struct ${tag}: ${proof.name}`, ...each })),
  );
  return {
    files,
    members,
    obstacles: [],
    assumptions: [...assumptionsOf(tag, members, life, oracle, definition), ...evidence],
  };
}

/** Uses beyond the definition of the accessor. */
function usesWritable(code: string, tag: string, member: string): boolean {
  return new RegExp(`\\b${shadowName(tag, member)}_rw\\((?!struct ${tag} \\*obj\\))`).test(code);
}

function failed({ patched }: StructChange, obstacles: readonly Obstacle[]): ShadowRewriting {
  return { files: patched, members: [], obstacles, assumptions: [] };
}

function unclear({ tag, definition }: StructChange): Obstacle {
  const message = `the definition of struct ${tag} is not to be found`;
  return { rule: "UNCLEAR", file: definition, line: 0, function: "", values: { message } };
}

function newMembers(
  before: StructText,
  after: StructText,
  file: string,
  source: SourceText,
): { readonly added: readonly MemberText[]; readonly obstacles: Obstacle[] } {
  const obstacles: Obstacle[] = [];
  const known = new Map(before.members.map((member) => [member.name, member]));
  const fail = (rule: Obstacle["rule"], member: MemberText): void => {
    obstacles.push({ rule, file, line: source.lineOf(member.start), function: "", values: { member: member.name } });
  };
  const added = after.members.filter(({ name }) => !known.has(name));
  for (const member of added) if (!member.isPlain) fail("MEMBER_FORM", member);
  for (const member of after.members) {
    const old = known.get(member.name);
    if (old !== undefined && old.declaration !== member.declaration) fail("MEMBER_CHANGED", member);
  }
  if (added.length === 0 && obstacles.length === 0)
    obstacles.push({
      rule: "MEMBER_FORM",
      file,
      line: source.lineOf(after.start),
      function: "",
      values: { member: `struct ${after.tag}` },
    });
  return { added, obstacles };
}

/** What of the life of objects is fine for padding, and not for a value that is kept beside the object. */
function lifeObstacles({ creations, ends, statics, clears }: TypeLife, definition: string): Obstacle[] {
  const obstacles: Obstacle[] = [];
  const fail = (rule: Obstacle["rule"], site: Pick<Creation, "file" | "line" | "function" | "call">): void => {
    const { file, line, function: name, call } = site;
    obstacles.push({ rule, file, line, function: name, values: { call: call.name } });
  };
  for (const creation of creations) {
    const { allocator } = creation;
    if (allocator.count !== undefined) fail("ARRAY", creation);
    else if (allocator.release === undefined) fail("MANAGED", creation);
    else if (allocator.release !== creations[0]?.allocator.release) fail("MIXED_RELEASE", creation);
    if (!/^[\w\s|&~()]*$/.test(creation.gfp) || /\w\s*\(/.test(creation.gfp)) fail("GFP_COMPUTED", creation);
  }
  for (const clear of clears) fail("CLEARED", clear);
  for (const end of ends) if (end.isLate) fail("LATE_END", end);
  const nowhere = { file: definition, line: 0, function: "", values: {} };
  if (creations.length + statics.length === 0) obstacles.push({ rule: "NO_CREATION", ...nowhere });
  if (creations.length > 0 && ends.length === 0) obstacles.push({ rule: "NO_END", ...nowhere });
  return obstacles;
}

function blankOf(source: SourceText, { start, end }: MemberText): TextEdit {
  return { start, end, text: source.text.slice(start, end).replaceAll(/[^\n]/g, " ") };
}

/** Puts a line behind the last #include before an offset, or there. */
export function includeEdit(source: SourceText, before: number, header: string): TextEdit {
  const last = [...source.code.slice(0, before).matchAll(/^[ \t]*#[ \t]*include\b.*\n/gm)].at(-1);
  const at = last === undefined ? before : last.index + last[0].length;
  return { start: at, end: at, text: source.text.includes(`#include ${header}`) ? "" : `#include ${header}\n` };
}

function creationEdits(tag: string, { call, gfp }: Creation): TextEdit[] {
  return [
    { start: call.nameStart, end: call.nameStart, text: `${shadowName(tag)}_new(` },
    { start: call.close + 1, end: call.close + 1, text: `, ${gfp})` },
  ];
}

function endEdits(tag: string, { call }: End): TextEdit[] {
  const object = call.arguments[call.name === "devm_kfree" || call.name === "kmem_cache_free" ? 1 : 0];
  if (object === undefined) return [];
  return [
    { start: object.start, end: object.start, text: `${shadowName(tag)}_end(` },
    { start: object.end, end: object.end, text: ")" },
  ];
}

/** Uses in the object of another one wait for the next round. */
function withoutInner(uses: readonly MemberUse[]): MemberUse[] {
  return uses.filter(
    (use) =>
      !uses.some(
        (other) =>
          other !== use &&
          other.source.path === use.source.path &&
          use.object.start <= other.name.start &&
          other.name.end <= use.name.start,
      ),
  );
}

function useEdit(
  tag: string,
  { source, object, operator, name, member, kind, isWhole }: MemberUse,
  added: readonly MemberText[],
): TextEdit {
  const isArray = added.find((each) => each.name === member)?.declaration.endsWith("]") === true;
  const accessor = `${shadowName(tag, member)}${kind === "read" && !(isArray && isWhole) ? "" : "_rw"}`;
  const text = source.text.slice(object.start, object.end);
  return { start: object.start, end: name.start, text: `${accessor}(${operator === "." ? "&" : ""}${text})->` };
}

function replaced(files: TextOverlay, path: string, from: string, to: string): TextOverlay {
  const text = files.get(path) ?? "";
  if (text.split(from).length !== 2) throw new Error(`${path} does not have its accessors once`);
  return new Map([...files, [path, text.replace(from, () => to)]]);
}

function assumptionsOf(
  tag: string,
  members: readonly ShadowMember[],
  { creations, ends, statics }: TypeLife,
  oracle: Oracle,
  definition: string,
): Assumption[] {
  const what = `struct ${tag}`;
  const units = oracle.units.length === 1 ? "one unit sees" : `${oracle.units.length} units see`;
  return [
    ...members.map(({ member, initial }) => ({
      ...{ what: `${what}: ${member.name}`, file: definition, line: 0 },
      text: `objects from before the patch start with ${initial.kind === "zero" ? "zero" : initial.text}, whatever has happened to them so far`,
    })),
    ...creations.map(({ file, line, call }) => ({
      what,
      file,
      line,
      text: `${call.name}() creates an object, which gets new values or does not come into being`,
    })),
    ...ends.map(({ file, line, call }) => ({
      what,
      file,
      line,
      text: `${call.name}() frees an object, and its values with it`,
    })),
    ...statics.map((name) => ({
      what,
      file: definition,
      line: 0,
      text: `${name} is static: its values are freed when the patch is disabled`,
    })),
    {
      what,
      file: definition,
      line: 0,
      text: `${units} the type, and modules from outside of the kernel's source create no objects of it`,
    },
    {
      ...{ what, file: definition, line: 0 },
      text: "while the transition lasts, an object that the old code frees leaves its values behind: the next object that the old code creates at that address gets them",
    },
  ];
}

/** Edits of several files. */
class EditsByFile {
  readonly #edits = new Map<string, TextEdit[]>();

  add(path: string, edit: TextEdit): void {
    const known = this.#edits.get(path);
    if (known === undefined) this.#edits.set(path, [edit]);
    else known.push(edit);
  }

  addAll(path: string, edits: readonly TextEdit[]): void {
    for (const edit of edits) this.add(path, edit);
  }

  async applied(sources: SourceFiles, files: TextOverlay): Promise<TextOverlay> {
    const result = new Map(files);
    for (const [path, edits] of this.#edits) {
      const source = await sources.open(path);
      if (source !== undefined) result.set(path, applyEdits(source.text, edits));
    }
    return result;
  }
}
