import type { UnitPlan } from "../build/resolve/plan.ts";
import type { ChangedFile } from "../change/change-set.ts";
import { sourceFunctions } from "../change/source-functions.ts";
import { readableEntries } from "../diff/debug-origins.ts";
import { DebugTypes } from "../diff/layout/debug-types.ts";
import { flatMembers } from "../diff/layout/members.ts";
import { typeName } from "../diff/layout/type-text.ts";
import type { UnitObject } from "../diff/unit-object.ts";
import { DebugTag } from "../elf/debug-entry.ts";
import type { Btf } from "../kernel/types/btf.ts";
import { BtfKind } from "../kernel/types/btf-format.ts";
import type { OpenHunk } from "./source-hunks.ts";
import { sourceText } from "./source-hunks.ts";

/** By type (`struct page`), the members that changed lines name. */
export type UsedMembers = Map<string, Set<string>>;

/** A chain such as `file->f_op->open`, in text without comments. */
const chain = /\b([A-Za-z_]\w*)((?:\s*\[[^\]]*\])?(?:\s*(?:->|\.)\s*[A-Za-z_]\w*(?:\s*\[[^\]]*\])?)+)/g;

/**
 * Members that the changed lines of a file use: the unit's debug information says which type each variable has, and its types lead along the chain. A chain
 * that begins with a call or a macro is not followed.
 * @param types of the patched unit.
 */
export function usedMembers(file: ChangedFile, hunks: readonly OpenHunk[], plan: UnitPlan, types: Btf): UsedMembers {
  const used: UsedMembers = new Map();
  for (const side of ["original", "patched"] as const) {
    const variables = variablesOf(plan[side]);
    const functions = sourceFunctions(sourceText(file[side]));
    for (const { lines } of hunks) {
      for (const { kind, text, ...numbers } of lines) {
        const number = side === "original" ? numbers.old : numbers.new;
        if (kind === "context" || number === null) continue;
        const scope = functions.find(({ first, last }) => number >= first && number <= last)?.name ?? "";
        for (const [, name = "", rest = ""] of text.matchAll(chain)) {
          const type = variables.get(`${scope} ${name}`) ?? variables.get(` ${name}`);
          if (type !== undefined) follow(type, rest.match(/(?<=(?:->|\.)\s*)[A-Za-z_]\w*/g) ?? [], types, used);
        }
      }
    }
  }
  return used;
}

const known = new WeakMap<UnitObject, ReadonlyMap<string, string>>();

/** By `function name` (the function is empty for a variable of file scope), the struct or union that a variable is, or points at. */
function variablesOf(unit: UnitObject): ReadonlyMap<string, string> {
  let found = known.get(unit);
  if (found === undefined) {
    found = readVariables(unit);
    known.set(unit, found);
  }
  return found;
}

function readVariables({ elf }: UnitObject): Map<string, string> {
  const entries = readableEntries(elf);
  const types = new DebugTypes(entries);
  const found = new Map<string, string>();
  for (const entry of entries.values()) {
    if ((entry.tag !== DebugTag.variable && entry.tag !== DebugTag.formalParameter) || entry.name === "") continue;
    const type = /^\**((?:struct|union) \w+)$/.exec(types.meaning(entry.type))?.[1];
    if (type !== undefined) found.set(`${types.scopeOf(entry)} ${entry.name}`, type);
  }
  return found;
}

function follow(start: string, members: readonly string[], types: Btf, used: UsedMembers): void {
  let name: string | undefined = start;
  let prefix = "";
  for (const member of members) {
    const type: number | undefined = name === undefined ? undefined : findAggregate(types, name);
    if (name === undefined || type === undefined) return;
    const path = `${prefix}${member}`;
    const all = flatMembers(types, type);
    const found = all.find((each) => each.path === path);
    if (found === undefined) {
      // A member of an unnamed type is part of the path of its own members.
      if (!all.some((each) => each.path.startsWith(`${path}.`) || each.path.startsWith(`${path}[].`))) return;
      prefix = all.some((each) => each.path.startsWith(`${path}.`)) ? `${path}.` : `${path}[].`;
      continue;
    }
    used.set(name, (used.get(name) ?? new Set()).add(found.path));
    prefix = "";
    name = pointedAt(types, found.type);
  }
}

/** The struct or union that a type is, points at, or holds several of. */
function pointedAt(types: Btf, type: number): string | undefined {
  let current = types.resolve(type);
  for (let step = 0; step < 8; step++) {
    const kind = types.kind(current);
    if (kind === BtfKind.ptr) current = types.resolve(types.target(current));
    else if (kind === BtfKind.array) current = types.resolve(types.array(current).element);
    else break;
  }
  const kind = types.kind(current);
  const isAggregate = kind === BtfKind.struct || kind === BtfKind.union;
  return isAggregate && types.name(current) !== "" ? typeName(types, current) : undefined;
}

/** The definition of `struct page` or `union x` in some types. */
export function findAggregate(types: Btf, name: string): number | undefined {
  const [word, tag = ""] = name.split(" ");
  return types.find(word === "union" ? BtfKind.union : BtfKind.struct, tag)[0];
}
