import type { NumberLoad } from "../arch/operands.ts";
import type { Atom } from "../atoms.ts";
import type { UnitObject } from "../unit-object.ts";
import { FunctionCode, type NumberUse } from "./function-code.ts";
import {
  type Bits,
  isFileName,
  isLineParameter,
  isMessageFunction,
  isWrittenBehindText,
  textOf,
} from "./line-places.ts";

/**
 * What tells that a number of a call is a line:
 * - `known`  the parameter is one in the kernel
 * - `printed` it goes into a message; only its own line tells that it is one
 * - `named`  it stands beside the name of its file, or in a message beside the name of its function
 * - `written` a message writes it right behind some text, as it does with a line behind the name of its file
 * - `calls`  nothing but the other calls of the function: all have to give their own line
 */
type Evidence = "known" | "named" | "written" | "printed" | "calls";

/** A number in both builds of a function that goes to a call, where a line may belong. */
export interface LineOperand {
  readonly from: number;
  readonly to: number;
  /** Offsets in the function: of the instructions that hold it, and of the call. */
  readonly parts: readonly number[];
  readonly call: number;
  readonly evidence: Evidence;
  /** The function that is called, and which of its parameters it is. */
  readonly callee: string;
  readonly parameter: number;
  /** An argument beside it names a function. */
  readonly isBesideName: boolean;
  /** The file, where an argument beside it names one. */
  readonly file: string | undefined;
  /** The bits of its instructions, by their offset in the function. */
  readonly bits: Bits;
}

/** A line is a small number. */
const largestLine = 1 << 24;

/**
 * Finds the operands by which two builds of a function differ and that may be lines, and lines of known parameters that are equal. Numbers that anything but
 * one call can see are none.
 */
export function findLineOperands(
  [a, original]: readonly [Atom, UnitObject],
  [b, patched]: readonly [Atom, UnitObject],
): LineOperand[] {
  const [left, right] = [new FunctionCode(a, original), new FunctionCode(b, patched)];
  const operands: LineOperand[] = [];
  for (const [at, load] of left.loads) {
    const other = right.loads.get(at);
    if (other === undefined || !isSameLoad(load, other)) continue;
    const [use, otherUse] = [left.useOf(at), right.useOf(at)];
    if (use === undefined || otherUse === undefined || !isSameUse(use, otherUse)) continue;
    const operand = judge(use, patched, Math.min(load.value, other.value));
    if (operand === undefined || (load.value === other.value && operand.evidence !== "known")) continue;
    operands.push({ ...operand, from: load.value, to: other.value, parts: load.parts, bits: right.bitsOf(load.parts) });
  }
  return operands;
}

function isSameLoad(a: NumberLoad, b: NumberLoad): boolean {
  const isLine = ({ value }: NumberLoad): boolean => value > 0 && value < largestLine;
  const areParts = a.parts.length === b.parts.length && a.parts.every((part, at) => part === b.parts[at]);
  return a.register === b.register && a.kind === b.kind && areParts && isLine(a) && isLine(b);
}

function isSameUse(a: NumberUse, b: NumberUse): boolean {
  const areTexts = a.texts.length === b.texts.length && a.texts.every((text, at) => text === b.texts[at]);
  const isFormat = a.format?.text === b.format?.text && a.format?.distance === b.format?.distance;
  return a.call === b.call && a.name === b.name && a.isOutside === b.isOutside && areTexts && isFormat;
}

function judge(
  { call, name: callee, isOutside, parameter, texts, format }: NumberUse,
  unit: UnitObject,
  value: number,
): Omit<LineOperand, "from" | "to" | "parts" | "bits"> | undefined {
  const file = texts.find(isFileName);
  const isBesideName = texts.some((text) => functionNames(unit).has(text));
  const found = { call, callee, parameter, isBesideName, file };
  if (isLineParameter(callee, parameter, value)) return { ...found, evidence: "known" };
  // Which registers a function of the unit leaves alone, the compiler knows, and may use the number again behind its call.
  if (!isOutside) return undefined;
  const isPrinted = isMessageFunction(callee);
  const isBehindText = format !== undefined && isWrittenBehindText(format.text, format.distance - 1);
  if (file !== undefined || (isPrinted && isBesideName)) return { ...found, evidence: "named" };
  if (!isPrinted) return { ...found, evidence: "calls" };
  return { ...found, evidence: isBehindText ? "written" : "printed" };
}

const known = new WeakMap<UnitObject, ReadonlySet<string>>();

/** Names of the functions of a unit, those included that only `__func__` of inlined code still names. */
function functionNames(unit: UnitObject): ReadonlySet<string> {
  let names = known.get(unit);
  if (names === undefined) {
    names = new Set(
      unit.atoms.flatMap((atom) => {
        if (atom.kind === "function") return [atom.name.split(".")[0] as string];
        const isName = atom.kind === "rodata" && /(^|\.)__(func__|FUNCTION__)$/.test(atom.base);
        return isName ? [textOf({ kind: "atom", atom, addend: 0 }) ?? ""] : [];
      }),
    );
    known.set(unit, names);
  }
  return names;
}
