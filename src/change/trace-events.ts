import { cTokens } from "./c-tokens.ts";
import type { ChangedFile } from "./change-set.ts";

/** A trace event that a change brings, or of which it changes more than white space and comments. */
export interface TraceEventChange {
  /** Header that defines it, relative to the tree. */
  readonly path: string;
  readonly name: string;
  /** The macro that defines it. */
  readonly macro: string;
  readonly kind: "new" | "changed";
  /** The preprocessor conditions that it stands under, outermost first, as they are written. */
  readonly conditions: readonly string[];
}

/**
 * Macros that make entries of the kernel's tables of trace events (include/linux/tracepoint.h, include/trace/trace_events.h and
 * kernel/trace/trace_entries.h, Linux 5.4 to 6.18), and which of their arguments is the name.
 */
const eventMacros: ReadonlyMap<string, number> = new Map([
  ["TRACE_EVENT", 0],
  ["TRACE_EVENT_CONDITION", 0],
  ["TRACE_EVENT_FN", 0],
  ["TRACE_EVENT_FN_COND", 0],
  ["TRACE_EVENT_SYSCALL", 0],
  ["TRACE_EVENT_RCU", 0],
  ["DECLARE_EVENT_CLASS", 0],
  ["DECLARE_EVENT_SYSCALL_CLASS", 0],
  ["DEFINE_EVENT", 1],
  ["DEFINE_EVENT_FN", 1],
  ["DEFINE_EVENT_PRINT", 1],
  ["DEFINE_EVENT_CONDITION", 1],
  ["DEFINE_EVENT_RCU", 1],
  ["DEFINE_EVENT_SYSCALL", 1],
  ["DECLARE_TRACE", 0],
  ["DECLARE_TRACE_CONDITION", 0],
  ["DECLARE_TRACE_SYSCALL", 0],
  ["TRACE_DEFINE_ENUM", 0],
  ["TRACE_DEFINE_SIZEOF", 0],
  ["FTRACE_ENTRY", 0],
  ["FTRACE_ENTRY_DUP", 0],
  ["FTRACE_ENTRY_REG", 0],
  ["FTRACE_ENTRY_PACKED", 0],
]);

interface EventText {
  readonly name: string;
  readonly macro: string;
  /** Between its parentheses. */
  readonly tokens: readonly string[];
  /** With the header's own macros that it uses. */
  readonly text: string;
  readonly conditions: readonly string[];
}

/**
 * Finds new and changed trace events in the text of changed headers. An event changes too when a macro of its own header that it uses does.
 * A removed event stays in the kernel, and is nobody's concern.
 */
export function changedTraceEvents(files: readonly ChangedFile[]): TraceEventChange[] {
  return files.flatMap(({ path, original, patched }) => {
    if (!path.endsWith(".h") || patched === null || !mayHaveEvents(patched)) return [];
    const { events: old } = eventsOf(original === null ? "" : textOf(original));
    const before = new Map(old.map((event) => [keyOf(event), event]));
    return eventsOf(textOf(patched)).events.flatMap((event): TraceEventChange[] => {
      const { name, macro, conditions } = event;
      const old = before.get(keyOf(event));
      if (old?.text === event.text) return [];
      return [{ path, name, macro, conditions, kind: old === undefined ? "new" : "changed" }];
    });
  });
}

/**
 * Names of the trace events that a change of a header adds, takes away, or lets print something else, where it changes nothing but that. Everything else of an event is code
 * that runs where the event is.
 * @returns undefined for every other change.
 */
export function printedTraceEvents({ path, original, patched }: ChangedFile): readonly string[] | undefined {
  if (!path.endsWith(".h") || original === null || patched === null) return undefined;
  const [before, after] = [eventsOf(textOf(original)), eventsOf(textOf(patched))];
  if (before.rest !== after.rest) return undefined;
  const [old, fresh] = [byKey(before.events), byKey(after.events)];
  const changed: string[] = [];
  for (const key of new Set([...old.keys(), ...fresh.keys()])) {
    const [a, b] = [old.get(key), fresh.get(key)];
    const isSame = a?.map(({ text }) => text).join("\n") === b?.map(({ text }) => text).join("\n");
    if (isSame) continue;
    const isPrinted = a === undefined || b === undefined || recorded(a) === recorded(b);
    if (!isPrinted) return undefined;
    changed.push((a ?? b)?.[0]?.name ?? key);
  }
  return changed.length === 0 ? undefined : changed;
}

function byKey(events: readonly EventText[]): Map<string, readonly EventText[]> {
  const found = new Map<string, readonly EventText[]>();
  for (const event of events) found.set(keyOf(event), [...(found.get(keyOf(event)) ?? []), event]);
  return found;
}

/** What events are without the text that their reader gets. */
function recorded(events: readonly EventText[]): string {
  return events
    .map(({ tokens, conditions }) => {
      const at = tokens.indexOf("TP_printk");
      const end = at < 0 || tokens[at + 1] !== "(" ? -1 : closing(tokens, at + 1);
      const kept = end < 0 ? tokens : [...tokens.slice(0, at), ...tokens.slice(end + 1)];
      return [...conditions, ...kept].join(" ");
    })
    .join("\n");
}

function mayHaveEvents(content: Uint8Array): boolean {
  return /\b(TRACE_EVENT|EVENT_CLASS|DEFINE_EVENT|DECLARE_TRACE|TRACE_DEFINE|FTRACE_ENTRY)/.test(textOf(content));
}

function keyOf({ macro, name }: EventText): string {
  return `${macro} ${name}`;
}

interface HeaderText {
  readonly events: readonly EventText[];
  /** Everything that is no event: what a preprocessor is told, and other declarations. */
  readonly rest: string;
}

/** All events of a header, with the text of the header's own macros that they use. */
function eventsOf(source: string): HeaderText {
  const tokens = cTokens(source);
  const macros = macrosOf(tokens);
  const events: EventText[] = [];
  const rest: string[] = [];
  const conditions: string[] = [];
  for (let at = 0; at < tokens.length; at++) {
    const token = tokens[at] as string;
    if (token.startsWith("#")) follow(token, conditions);
    const position = eventMacros.get(token);
    if (position === undefined || tokens[at + 1] !== "(") {
      rest.push(token);
      continue;
    }
    const end = closing(tokens, at + 1);
    const inner = tokens.slice(at + 2, end);
    const name = argument(inner, position);
    if (name !== undefined) {
      events.push({ name, macro: token, tokens: inner, text: expanded(inner, macros), conditions: [...conditions] });
    } else rest.push(token, ...inner);
    at = tokens[end + 1] === ";" ? end + 1 : end;
  }
  return { events, rest: rest.join(" ") };
}

/** Keeps account of the conditions that are open. */
function follow(directive: string, conditions: string[]): void {
  if (/^# ?if/.test(directive)) conditions.push(directive);
  else if (/^# ?el/.test(directive)) conditions.push(`${directive} of ${conditions.pop() ?? ""}`);
  else if (/^# ?endif/.test(directive)) conditions.pop();
}

/** The one word that an argument consists of. */
function argument(tokens: readonly string[], position: number): string | undefined {
  let depth = 0;
  let count = 0;
  for (const token of tokens) {
    if (depth === 0 && token === ",") count++;
    else if (depth === 0 && count === position && /^\w+$/.test(token)) return token;
    if (token === "(" || token === "{" || token === "[") depth++;
    else if (token === ")" || token === "}" || token === "]") depth--;
  }
  return undefined;
}

/** Macros that a header defines, by name. */
function macrosOf(tokens: readonly string[]): Map<string, string> {
  const macros = new Map<string, string>();
  for (const token of tokens) {
    const name = /^# ?define (\w+)/.exec(token)?.[1];
    if (name !== undefined && !eventMacros.has(name)) macros.set(name, `${macros.get(name) ?? ""}${token}`);
  }
  return macros;
}

/** Tokens, and the definitions that they lead to. */
function expanded(tokens: readonly string[], macros: ReadonlyMap<string, string>): string {
  const used = new Set<string>();
  const queue = [...tokens];
  for (let word = queue.pop(); word !== undefined; word = queue.pop()) {
    const definition = macros.get(word);
    if (definition === undefined || used.has(word)) continue;
    used.add(word);
    queue.push(...cTokens(definition.replace(/^# ?define/, "")));
  }
  return [tokens.join(" "), ...[...used].sort().map((name) => macros.get(name))].join("\n");
}

function closing(tokens: readonly string[], open: number): number {
  let depth = 0;
  for (let at = open; at < tokens.length; at++) {
    if (tokens[at] === "(") depth++;
    else if (tokens[at] === ")" && --depth === 0) return at;
  }
  return tokens.length;
}

function textOf(content: Uint8Array): string {
  return Buffer.from(content).toString("latin1");
}
