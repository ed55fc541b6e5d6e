import { sourceFunctions } from "../../change/source-functions.ts";
import type { SourceText, Span } from "../source-text.ts";

/** The body of the function around an offset, from its opening brace; undefined outside of functions that are written in the kernel's way. */
export function bodyAround(source: SourceText, offset: number): (Span & { readonly head: string }) | undefined {
  const line = source.lineOf(offset);
  const found = sourceFunctions(source.text).find(({ first, last }) => first <= line && line <= last);
  if (found === undefined) return undefined;
  const first = source.offsetOf({ line: found.first, column: 1 });
  const open = openingBrace(source, first);
  const close = source.closing(open);
  return open < 0 || close < offset ? undefined : { start: open, end: close, head: source.code.slice(first, open) };
}

function openingBrace(source: SourceText, from: number): number {
  return source.code.indexOf("{", from);
}

/** Calls that sleep whenever they are made, so that code which has come past one may sleep too. */
const sleepingCalls =
  /\b(?:might_sleep|mutex_lock(?:_nested|_interruptible|_killable)?|down_(?:read|write)(?:_nested|_killable|_interruptible)?|msleep|ssleep|schedule_timeout_\w+|wait_for_completion|flush_work|flush_workqueue|flush_delayed_work|cancel_work_sync|cancel_delayed_work_sync|synchronize_rcu|synchronize_net|kthread_stop|lock_sock|rtnl_lock|k[vmz]\w*alloc\w*)\s*\(/g;

/** Calls after which code may not sleep, as far as their names tell; any other lock counts as one too. */
const atomicCalls =
  /\b\w*(?:lock|irq|preempt_disable|local_bh_disable|kmap_atomic|get_cpu|this_cpu_ptr|raw_smp)\w*\s*\(/g;
const sleepableLocks =
  /^(?:mutex_\w+|(?:un)?lock_sock|rtnl_(?:un)?lock|inode_(?:un)?lock\w*|device_(?:un)?lock|\w*[bc]lock(?:_?(?:dev|size|count|s|get|put)\w*)?|blk_\w+|\w*block\w*|\w*_lock_(?:init|is_held)|spin_lock_init|init_\w*lock\w*)$/;

/**
 * True when code at an offset certainly may sleep: the function has come past a call that always sleeps, on every way to it, and has not taken a lock or switched
 * anything off since it began.
 */
export function maySleep(source: SourceText, offset: number): boolean {
  const body = bodyAround(source, offset);
  if (body === undefined) return false;
  const before = source.code.slice(body.start, offset);
  // A label may be jumped to from before the call that sleeps.
  if (/\bgoto\b|^\s*\w+:(?!:)/m.test(before) || /\b(?:for|while|do)\b/.test(before)) return false;
  for (const [found] of before.matchAll(atomicCalls))
    if (!sleepableLocks.test(found.replace(/\s*\($/, ""))) return false;
  for (const match of before.matchAll(sleepingCalls)) {
    const at = body.start + match.index;
    if (depthAt(source, body.start, at) !== 1 || !isUnconditional(source, at)) continue;
    const close = source.closing(source.code.indexOf("(", at));
    if (/alloc/.test(match[0]) && !/\bGFP_(?:KERNEL|USER)\b/.test(source.code.slice(at, close))) continue;
    if (close < offset) return true;
  }
  return false;
}

/** Braces that are open at an offset. */
function depthAt(source: SourceText, start: number, offset: number): number {
  let depth = 0;
  for (let at = start; at < offset; at++) {
    if (source.code[at] === "{") depth++;
    else if (source.code[at] === "}") depth--;
  }
  return depth;
}

/** True for the first thing that a statement does: `f()`, `x = f()`, `if (f())`, `if (!f())`. */
function isUnconditional(source: SourceText, offset: number): boolean {
  const before = source.code.slice(Math.max(0, offset - 300), offset);
  const start = /(?:^|[;{}])(\s*(?:[\w\s*>.[\]-]+=(?!=)\s*)?(?:if\s*\(\s*!?\s*)?)$/.exec(before)?.[1];
  return start !== undefined && !/\belse\b/.test(start);
}

/** True for a statement that the function always comes to, as far as its braces tell. */
export function isPlainStatement(source: SourceText, start: number): boolean {
  const body = bodyAround(source, start);
  const sign = source.code[source.before(start)] ?? "";
  return body !== undefined && depthAt(source, body.start, start) === 1 && /[;{}]/.test(sign);
}

/** True when a variable of a function gets a value at one place only, before an offset, and nobody else can set it. */
export function isSetOnce(source: SourceText, name: string, at: number, offset: number): boolean {
  const body = bodyAround(source, offset);
  if (body === undefined || at < body.start || at > offset || !/^\w+$/.test(name)) return false;
  const text = source.code.slice(body.start, body.end);
  const assignments = [...text.matchAll(new RegExp(`\\b${name}\\s*(?:[-+*/%&|^]|<<|>>)?=(?!=|\\s*NULL\\b)`, "g"))];
  const isTaken = new RegExp(
    `&\\s*${name}\\b(?!\\s*(?:->|\\.|\\[))|\\b${name}\\s*(?:\\+\\+|--)|(?:\\+\\+|--)\\s*${name}\\b`,
  ).test(text);
  const isParameter = new RegExp(`\\b${name}\\b`).test(body.head);
  return assignments.length === 1 && !isTaken && !isParameter;
}
