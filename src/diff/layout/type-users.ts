import type { Btf } from "../../kernel/types/btf.ts";
import { BtfKind } from "../../kernel/types/btf-format.ts";
import { wordOf } from "./same-types.ts";

/** Functions that are named. */
const shown = 4;

/** Functions of a unit that take or return a type, or a pointer to it: ` (used by f, g and 3 more)`, or nothing when none does. */
export function usersOf(btf: Btf, functions: ReadonlyMap<string, readonly number[]>, title: string): string {
  const users: string[] = [];
  for (const [name, [type]] of functions) {
    if (type === undefined) continue;
    const prototype = btf.target(type);
    const types = [btf.target(prototype), ...btf.parameters(prototype).map((parameter) => parameter.type)];
    if (types.some((each) => titleBehindPointers(btf, each) === title)) users.push(name);
  }
  if (users.length === 0) return "";
  users.sort();
  const rest = users.length - shown;
  return `used by ${users.slice(0, shown).join(", ")}${rest > 0 ? ` and ${rest} more` : ""}`;
}

function titleBehindPointers(btf: Btf, type: number): string {
  let current = btf.resolve(type);
  for (let depth = 0; btf.kind(current) === BtfKind.ptr && depth < 4; depth++)
    current = btf.resolve(btf.target(current));
  return `${wordOf(btf, current)} ${btf.name(current)}`;
}
