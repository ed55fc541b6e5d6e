import type { Target } from "../../diff/atoms.ts";
import type { ChangedValue, ChangedVariable, HeldValue } from "../../diff/layout/changed-values.ts";
import type { Obstacle, SoundnessRule } from "../soundness.ts";
import { beginningMembers, endingMembers, type InPlaceType, inPlaceTypes } from "./in-place-types.ts";
import type { LiveValue } from "./values-text.ts";

/** Where a variable is, and what its source still names. */
export interface VariablePlace {
  /** Source file. */
  readonly file: string;
  readonly isReadOnly: boolean;
  /** Why code that ran when the kernel or module was set up may have gone by the value; undefined where none did. */
  readonly usedAtStart?: string | undefined;
}

/** What can be done about a variable's new initial value. */
export interface JudgedVariable {
  readonly values: readonly LiveValue[];
  readonly obstacles: readonly Obstacle[];
  /** Why code that reads it finds the new value. */
  readonly reason: string;
}

/** Decides whether the values of a live variable can be written while the kernel runs, and how. */
export function judgeVariable(variable: ChangedVariable, place: VariablePlace): JudgedVariable {
  const obstacles: Obstacle[] = [];
  const refuse = (rule: SoundnessRule, values: Readonly<Record<string, string>>): void => {
    obstacles.push({ rule, file: place.file, line: variable.line, function: "", values });
  };
  for (const { expression, problem } of variable.untold) refuse("VALUE_FORM", { what: expression, problem });
  if (variable.untold.length === 0 && variable.values.length === 0)
    refuse("VALUE_FORM", { what: variable.name, problem: "the difference is not in its values" });
  const known = inPlaceTypes.find(({ title }) => title === variable.type);
  const isNumber = variable.type === undefined && !variable.isArray && !variable.values.some(isAddress);
  if (known === undefined && !isNumber) refuse("READERS", { what: describe(variable) });
  if (isNumber && place.usedAtStart !== undefined) refuse("SET_UP", { what: variable.name, reason: place.usedAtStart });
  if (known !== undefined)
    for (const value of variable.values) for (const found of tableObstacles(value, known)) refuse(...found);
  for (const [value, other] of tornPairs(variable)) refuse("TORN", { what: value.expression, other: other.expression });
  const when = variable.values.some(({ isFunction }) => isFunction) ? "late" : "early";
  const values = variable.values.flatMap((value): LiveValue[] => {
    const [before, after] = [textOf(value.before), textOf(value.after)];
    // Another text of the same letters has another address: the live one would never be recognised.
    if (isText(value.before))
      refuse("VALUE_FORM", { what: value.expression, problem: "it points at a text without a name" });
    if (isZero(value.after) && isAddress({ ...value, after: value.before }))
      refuse("POINTER_CLEARED", { what: value.expression });
    else if ("missing" in before || "missing" in after) {
      const missing = "missing" in before ? before.missing : "missing" in after ? after.missing : "";
      refuse("VALUE_FORM", { what: value.expression, problem: `${missing} has no name at the end of the file` });
    } else {
      const { expression, size } = value;
      return [{ expression, size, when, isReadOnly: place.isReadOnly, before: before.text, after: after.text }];
    }
    return [];
  });
  return { values, obstacles, reason: known?.reason ?? "a number, which code reads where it is" };
}

function describe({ name, type, isArray }: ChangedVariable): string {
  const what = type ?? "a pointer or an array";
  return `${name} is ${isArray && type !== undefined ? `an array of ${type}` : what}`;
}

function isAddress({ after, before }: Pick<ChangedValue, "after" | "before">): boolean {
  return after.kind === "address" || before.kind === "address";
}

function isText(value: HeldValue): boolean {
  return value.kind === "address" && value.target.kind === "atom" && value.target.atom.kind === "string";
}

function isZero(value: HeldValue): boolean {
  return value.kind === "number" && value.value === 0n;
}

type Found = [SoundnessRule, Readonly<Record<string, string>>];

function tableObstacles(value: ChangedValue, { title, may, added, except = [] }: InPlaceType): Found[] {
  const { expression, member, isFunction } = value;
  if (except.includes(member)) return [["READERS", { what: `${expression} of ${title} is copied or passed over` }]];
  if (may === "functions" && !isFunction) return [["READERS", { what: `${expression} is no function of ${title}` }]];
  if (!isFunction || !isZero(value.before)) return [];
  if (added === "none") return [["READERS", { what: `${expression} of ${title} was not set` }]];
  const isBoundary = endingMembers.test(member) || beginningMembers.test(member);
  return isBoundary ? [["OLD_OBJECTS", { what: expression }]] : [];
}

/** A pointer and a number of one object that change together: how much there is behind a pointer, or of what kind it is. */
function tornPairs({ type, values }: ChangedVariable): [ChangedValue, ChangedValue][] {
  // Its kind is read once for an attribute, and what belongs to the kind after it, without a pause.
  if (type === "struct nla_policy") return [];
  return values.flatMap((value): [ChangedValue, ChangedValue][] => {
    if (!isAddress(value) || value.isFunction) return [];
    const other = values.find((each) => each !== value && each.object === value.object);
    return other === undefined ? [] : [[value, other]];
  });
}

/** A constant expression for a value; what has no name where it is not one. Whether the source knows the name at its end, the compiler tells. */
function textOf(value: HeldValue): { readonly text: string } | { readonly missing: string } {
  if (value.kind === "number") return { text: `0x${value.value.toString(16)}UL` };
  return addressText(value.target);
}

function addressText(target: Target): ReturnType<typeof textOf> {
  if (target.kind === "external" || target.kind === "atom") {
    if (target.kind === "atom" && target.atom.kind === "string") {
      const text = Buffer.from(target.atom.bytes.subarray(target.addend)).toString("latin1").replace(/\0.*$/s, "");
      return { text: `"${[...text].map(escaped).join("")}"` };
    }
    const symbol = target.kind === "atom" ? target.atom.symbol : undefined;
    const name = target.kind === "atom" ? (symbol?.name ?? "") : target.name;
    const addend =
      target.addend - (target.kind === "atom" && symbol !== undefined ? symbol.value - target.atom.start : 0);
    const isInside = addend !== 0 && target.kind === "atom" && target.atom.kind === "function";
    if (isInside) return { missing: `a place in ${name}()` };
    if (/^[A-Za-z_]\w*$/.test(name)) return { text: addend === 0 ? `&${name}` : `(char *)&${name} + ${addend}` };
    return { missing: name === "" ? "a constant" : name };
  }
  return { missing: "an address" };
}

function escaped(letter: string): string {
  if (/[\w .,:;()[\]{}<>+*/=!&|^~-]/.test(letter)) return letter;
  return `\\${letter.charCodeAt(0).toString(8).padStart(3, "0")}`;
}
