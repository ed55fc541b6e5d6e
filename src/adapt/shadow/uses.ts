import type { Diagnostic } from "../diagnostics.ts";
import { outermostPlace } from "../diagnostics.ts";
import type { SourceFiles } from "../oracle.ts";
import type { Obstacle } from "../soundness.ts";
import { enclosingCall, postfixBefore, type SourceText, type Span } from "../source-text.ts";

/** One use of a member that the kernel's objects do not have. */
export interface MemberUse {
  readonly source: SourceText;
  readonly member: string;
  readonly function: string;
  readonly line: number;
  /** The expression that names the object, or points to it. */
  readonly object: Span;
  readonly operator: "->" | ".";
  /** The name of the member. */
  readonly name: Span;
  /** What is done with it; an address may be kept and written to. */
  readonly kind: "read" | "write" | "address";
  /** True unless an index or a member of the member follows. */
  readonly isWhole: boolean;
}

/** What the compiler says of a member that is not there. */
const missing = /^'(?:const |volatile )*struct (\w+)' has no member named '(\w+)'$/;

/** Macros that take the place of a member in its type. */
const offsets = /^(?:offsetof|offsetofend|container_of|container_of_const|sizeof_field|struct_group)$/;

/** Finds the uses of members that diagnostics tell of, each once. */
export async function findUses(
  tag: string,
  members: ReadonlySet<string>,
  diagnostics: readonly Diagnostic[],
  sources: SourceFiles,
): Promise<{ readonly uses: readonly MemberUse[]; readonly obstacles: readonly Obstacle[] }> {
  const uses = new Map<string, MemberUse>();
  const obstacles: Obstacle[] = [];
  for (const found of diagnostics) {
    const [, type, member = ""] = missing.exec(found.message) ?? [];
    if (type !== tag || !members.has(member)) continue;
    const place = found.file;
    const source = await sources.open(place);
    const outer = outermostPlace(found);
    const fail = (rule: Obstacle["rule"]): void => {
      obstacles.push({ rule, file: outer.file, line: outer.line, function: found.function, values: { member } });
    };
    if (found.macros.some(({ name }) => offsets.test(name))) fail("OFFSET");
    else if (source === undefined) fail("IN_MACRO");
    else {
      const use = readUse(source, member, found);
      if (typeof use === "string") fail(use);
      else uses.set(`${place}:${use.name.start}`, use);
    }
  }
  return { uses: [...uses.values()], obstacles };
}

function readUse(source: SourceText, member: string, found: Diagnostic): MemberUse | Obstacle["rule"] {
  const at = source.offsetOf(found);
  if (source.isDirective(at)) return "IN_MACRO";
  const sign = source.code.slice(at, at + 2);
  // A designator, or the argument of offsetof(): the place is the name itself.
  if (/^\w/.test(sign)) return "INITIALISER";
  const operator = sign === "->" ? "->" : sign.startsWith(".") ? "." : undefined;
  if (operator === undefined) return "INITIALISER";
  const start = source.after(at + operator.length);
  if (source.code.slice(start, start + member.length) !== member) return "IN_MACRO";
  const object = postfixBefore(source, at);
  if (object === undefined) return operator === "." ? "INITIALISER" : "NO_OBJECT";
  const name = { start, end: start + member.length };
  const how = purposeOf(source, object, name);
  return { source, member, function: found.function, line: found.line, object, operator, name, ...how };
}

/** What stands around a use tells what it is for; what a macro makes of it, only the compiler can tell. */
function purposeOf(source: SourceText, object: Span, name: Span): Pick<MemberUse, "kind" | "isWhole"> {
  const { code } = source;
  const before = source.before(object.start);
  const pair = code.slice(Math.max(0, before - 1), before + 1);
  const end = behindParts(source, name.end);
  const isWhole = end === name.end;
  const rest = code.slice(source.after(end), source.after(end) + 3);
  const isStep = pair === "++" || pair === "--" || /^(?:\+\+|--)/.test(rest);
  if (isStep || /^(?:=(?!=)|[-+*/%&|^]=|<<=|>>=)/.test(rest)) return { kind: "write", isWhole };
  // An `&` behind a name, a number or a parenthesis is the operation of two values.
  const isUnary = code[before] === "&" && pair !== "&&" && !/[\w)\]]/.test(code[source.before(before)] ?? "");
  if (!isUnary) return { kind: "read", isWhole };
  const call = enclosingCall(source, before);
  return { kind: call !== undefined && readers.test(call.name) ? "read" : "address", isWhole };
}

/** Functions that take the address of what they only read. */
const readers =
  /^(?:atomic(?:64|_long)?_read(?:_acquire)?|refcount_read|kref_read|list_empty|mutex_is_locked|spin_is_locked)$/;

/** Offset behind the indices and inner members that follow a name. */
function behindParts(source: SourceText, from: number): number {
  for (let end = from; ; ) {
    const next = source.after(end);
    const inner = /^\.\s*\w+/.exec(source.code.slice(next, next + 100))?.[0];
    if (source.code[next] === "[") end = source.closing(next) + 1;
    else if (inner !== undefined) end = next + inner.length;
    else return end;
  }
}
