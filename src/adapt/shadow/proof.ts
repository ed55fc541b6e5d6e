import type { Obstacle } from "../soundness.ts";
import { type EnclosingCall, enclosingCall, type SourceText, type Span } from "../source-text.ts";
import { type InitialValue, shadowName } from "./accessors.ts";
import { bodyAround, isPlainStatement, isSetOnce, maySleep } from "./contexts.ts";

/** A place of the adapted source where a value may be changed. */
interface WritePlace {
  readonly source: SourceText;
  /** Offset of the accessor's name. */
  readonly start: number;
  readonly member: string;
  readonly object: string;
  readonly call: EnclosingCall | undefined;
}

/** What is proven of a member's uses. */
export interface UseProof {
  readonly initial: InitialValue;
  readonly obstacles: readonly Obstacle[];
  /** One sentence for each place where a value may be changed: why that cannot fail. */
  readonly evidence: readonly { readonly file: string; readonly line: number; readonly text: string }[];
}

/** Calls that sleep themselves, so that memory can be had for their argument. */
const sleepers =
  /^(?:mutex_lock\w*|down_(?:read|write)\w*|wait_for_completion\w*|cancel_(?:delayed_)?work_sync|flush_(?:delayed_)?work)$/;
/** Calls that come after one which has made the value. */
const followers = /^(?:mutex_unlock|up_(?:read|write)|spin_unlock\w*)$/;
/** Calls that initialise what they get the address of, and know nothing else; those with a number take a constant. */
const initialisers =
  /^(?:mutex_init|spin_lock_init|init_rwsem|init_waitqueue_head|init_completion|INIT_LIST_HEAD|INIT_HLIST_HEAD|kref_init|atomic(?:64|_long)?_set|refcount_set)$/;

/** Proves of each use that may change a value that it finds or makes one, and tells what value objects from before the patch start with. */
export function proveUses(tag: string, member: string, sources: readonly SourceText[]): UseProof {
  const obstacles: Obstacle[] = [];
  const evidence: { file: string; line: number; text: string }[] = [];
  const initials: InitialValue[] = [];
  const reads = sources.flatMap((source) => placesOf(source, shadowName(tag, member), member));
  const writes = sources.flatMap((source) => placesOf(source, `${shadowName(tag, member)}_rw`, member));
  for (const { source, start } of [...reads, ...writes]) {
    const head = bodyAround(source, start)?.head ?? "";
    if (/\b(?:noinstr|__noinstr\w*|__entry_text)\b/.test(head))
      obstacles.push(obstacleAt(source, start, "UNTRACED", { member }));
  }
  for (const place of writes) {
    const { source, start, object, call } = place;
    const tell = (text: string): void => {
      evidence.push({ file: source.path, line: source.lineOf(start), text });
    };
    const init = initialiserOf(place);
    if (isFresh(tag, place)) {
      tell(`${object} was created in this function, and its ${member} with it`);
      const initial = init ?? assignedOf(place);
      if (initial === undefined)
        obstacles.push(obstacleAt(source, start, "DEPENDS", { member, value: statementAt(source, start) }));
      else initials.push(initial);
      continue;
    }
    if (init !== undefined) initials.push(init);
    if (call !== undefined && sleepers.test(call.name))
      tell(`${call.name}() sleeps, so memory for ${member} can be waited for`);
    else if (call !== undefined && followers.test(call.name))
      tell(`${call.name}() comes after what has made ${member}`);
    else if (maySleep(source, start)) tell(`a call before it sleeps, so memory for ${member} can be waited for`);
    else obstacles.push(obstacleAt(source, start, "MAY_NOT_SLEEP", { member }));
  }
  const different = new Map(initials.map((initial) => [JSON.stringify(initial), initial]));
  const [initial = { kind: "zero" } as const, other] = [...different.values()];
  const first = writes[0];
  if (other !== undefined && first !== undefined)
    obstacles.push(obstacleAt(first.source, first.start, "DEPENDS", { member, value: "several values" }));
  return { initial, obstacles, evidence };
}

function placesOf(source: SourceText, accessor: string, member: string): WritePlace[] {
  return [...source.code.matchAll(new RegExp(`\\b${accessor}\\(`, "g"))].flatMap(({ index }) => {
    const open = index + accessor.length;
    const close = source.closing(open);
    // The definition itself names the type of its argument.
    if (/^\((?:const\s+)?struct\s+\w+\s*\*\s*obj\)$/.test(source.code.slice(open, close + 1))) return [];
    const object = source.text.slice(open + 1, close);
    return [{ source, start: index, member, object, call: enclosingCall(source, index) }];
  });
}

function isFresh(tag: string, { source, start, object }: WritePlace): boolean {
  const body = bodyAround(source, start);
  if (body === undefined || !/^\w+$/.test(object)) return false;
  const text = source.code.slice(body.start, start);
  const created = new RegExp(`\\b${object}\\s*=\\s*${shadowName(tag)}_new\\(`).exec(text);
  return created !== null && isSetOnce(source, object, body.start + created.index, start);
}

/** `mutex_init(&ACCESSOR(p)->member)`, as a statement for `shadow`. */
function initialiserOf({ source, start, member, call }: WritePlace): InitialValue | undefined {
  if (call === undefined || !initialisers.test(call.name) || call.argument !== 0) return undefined;
  const rest = call.arguments.slice(1).map((span) => textOf(source, span));
  if (!isWholeMember(source, call.arguments[0], start, member) || !rest.every(isConstant)) return undefined;
  return { kind: "call", text: `${call.name}(${[`&shadow->${member}`, ...rest].join(", ")});` };
}

function isWholeMember(source: SourceText, span: Span | undefined, start: number, member: string): boolean {
  return span !== undefined && span.start < start && source.code.slice(0, span.end).endsWith(`->${member}`);
}

/** `ACCESSOR(p)->member = CONSTANT;` as a statement that is always run. */
function assignedOf({ source, start, member }: WritePlace): InitialValue | undefined {
  if (!isPlainStatement(source, start)) return undefined;
  const close = source.closing(source.code.indexOf("(", start));
  const [, value] = new RegExp(`^->${member}\\s*=(?!=)\\s*([^;]*);`).exec(source.text.slice(close + 1)) ?? [];
  if (value === undefined || !isConstant(value)) return undefined;
  return /^(?:0[uUlL]*|NULL|false)$/.test(value.trim()) ? { kind: "zero" } : { kind: "constant", text: value.trim() };
}

/** Numbers and names in capitals; the compiler has the last word on the adapted source. */
function isConstant(text: string): boolean {
  return /^[\s()|~+*<-]*(?:(?:\d\w*|[A-Z_][A-Z0-9_]*|true|false)[\s()|~+*<-]*)+$/.test(text);
}

function statementAt(source: SourceText, start: number): string {
  const end = source.code.indexOf(";", start);
  return source.text.slice(start, end).replaceAll(/\s+/g, " ").slice(0, 100);
}

function textOf(source: SourceText, { start, end }: Span): string {
  return source.text.slice(start, end);
}

function obstacleAt(
  source: SourceText,
  start: number,
  rule: Obstacle["rule"],
  values: Record<string, string>,
): Obstacle {
  const head = bodyAround(source, start)?.head ?? "";
  const name = /(\w+)\s*\([^()]*(?:\([^()]*\)[^()]*)*\)\s*$/.exec(head.trim())?.[1] ?? "";
  return { rule, file: source.path, line: source.lineOf(start), function: name, values: { function: name, ...values } };
}
