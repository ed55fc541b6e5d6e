import { SectionFlag } from "../../elf/constants.ts";
import { ElfFormatError } from "../../elf/format-error.ts";
import { type ElfReader, isDefined } from "../../elf/reader.ts";
import { type UnitVariable, unitDeclarations } from "./variable-types.ts";

/** A variable of the running kernel that the two builds of a unit take for different things. */
export interface VariableChange {
  readonly name: string;
  /** One clause. */
  readonly problem: string;
}

/** What the declarations of the two builds of a unit tell together. */
export interface DeclarationChanges {
  readonly variables: readonly VariableChange[];
  /** Types that are defined in functions only, in both builds, and that no variable keeps: `struct name`. */
  readonly localTypes: ReadonlySet<string>;
}

/**
 * Finds variables whose type changes, and pointers to objects of a type without a name that does. Of variables that a patch may change, the content stays: what the old code has put into them, the new code would take for
 * something else. Constants are left out, since changed code brings its own.
 * @returns undefined when the debug information of a unit cannot be read.
 */
export function changedDeclarations(original: ElfReader, patched: ElfReader): DeclarationChanges | undefined {
  try {
    const [before, after] = [unitDeclarations(original), unitDeclarations(patched)];
    const kept = [...before.variables, ...after.variables].map(({ meaning }) => meaning);
    const isLocal = (title: string): boolean =>
      after.localTypes.has(title) && !kept.some((meaning) => new RegExp(`\\b${title}\\b`).test(meaning));
    return {
      variables: compare(liveVariables(original, before.variables), liveVariables(patched, after.variables)),
      localTypes: new Set([...before.localTypes].filter(isLocal)),
    };
  } catch (error) {
    if (error instanceof ElfFormatError) return undefined;
    throw error;
  }
}

function compare(before: readonly UnitVariable[], after: readonly UnitVariable[]): VariableChange[] {
  const known = new Map<string, UnitVariable[]>();
  for (const variable of before) known.set(keyOf(variable), [...(known.get(keyOf(variable)) ?? []), variable]);
  const changes = new Map<string, VariableChange>();
  for (const variable of after) {
    const old = known.get(keyOf(variable));
    if (old === undefined || old.some((known) => isSame(known, variable))) continue;
    // A pointer to something else altogether says nothing about those objects.
    if (variable.isOnlyWay !== old.some(({ isOnlyWay }) => isOnlyWay)) continue;
    const [first] = old as [UnitVariable];
    const isTypedef = first.text === variable.text;
    const [from, to] = isTypedef ? [first.plainText, variable.plainText] : [first.text, variable.text];
    const where = variable.scope === "" ? "" : ` in ${variable.scope}()`;
    changes.set(keyOf(variable), {
      name: variable.name,
      problem: first.isOnlyWay
        ? `what the variable${where} points to has no name and changes its members, and such objects may outlive the calls`
        : `the variable${where} changes its type from \`${from}\` to \`${to}\`, and keeps what the old code has put into it`,
    });
  }
  return [...changes.values()];
}

function keyOf({ scope, name }: UnitVariable): string {
  return `${scope} ${name}`;
}

/** A pointer to anything goes with every pointer; arrays of unknown length with those of a known one. Enums are compared on their own. */
function isSame({ meaning: before, text }: UnitVariable, { meaning: after, text: newText }: UnitVariable): boolean {
  if (before === after || (text === newText && text.startsWith("enum "))) return true;
  if (before.startsWith("*") && after.startsWith("*") && (before === "*void" || after === "*void")) return true;
  const isOpen = before.startsWith("[]") || after.startsWith("[]");
  return isOpen && before.replace(/^\[\d*\]/, "") === after.replace(/^\[\d*\]/, "");
}

/** Variables that are not constants: those of other units by their declaration, those of this unit by the section they are in. */
function liveVariables(elf: ElfReader, variables: readonly UnitVariable[]): UnitVariable[] {
  const writable = new Set<string>();
  for (const symbol of elf.symbols) {
    const section = isDefined(symbol) ? elf.sections[symbol.section] : undefined;
    if (section !== undefined && (section.flags & SectionFlag.write) !== 0)
      writable.add(symbol.name.replace(/\.\d+$/, ""));
  }
  return variables.filter(
    ({ name, isConst, isDeclaration, isOnlyWay }) => isOnlyWay || (!isConst && (isDeclaration || writable.has(name))),
  );
}
