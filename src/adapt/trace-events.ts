import { SourceText, type Span } from "./source-text.ts";

/** Macros that define trace events (include/linux/tracepoint.h, include/trace/define_trace.h). */
const eventMacros = /^[ \t]*(?:TRACE_EVENT|DECLARE_EVENT_CLASS|DEFINE_EVENT|DECLARE_TRACE)(?:_\w+)?\s*(?=\()/gm;

/** What makes a header one of trace events (include/trace/define_trace.h). */
const systemDefinition = /^[ \t]*#[ \t]*define[ \t]+TRACE_SYSTEM\b/m;

/**
 * Names of the trace events that differ between two texts of a header in what they print, or that only one of them has, where nothing else of it differs.
 * @returns undefined for a text that is no such header, or of which something else differs too.
 */
export function changedTraceEvents(original: string, patched: string): readonly string[] | undefined {
  if (!systemDefinition.test(original) || !systemDefinition.test(patched)) return undefined;
  const [before, after] = [eventsOf(original), eventsOf(patched)];
  if (before === undefined || after === undefined || before.rest !== after.rest) return undefined;
  const names = new Set([...before.events.keys(), ...after.events.keys()]);
  const changed = [...names].filter((name) => before.events.get(name) !== after.events.get(name));
  const isPrinted = changed.every((name) => {
    const [old, fresh] = [before.events.get(name), after.events.get(name)];
    return old === undefined || fresh === undefined || withoutPrinting(old) === withoutPrinting(fresh);
  });
  return changed.length === 0 || !isPrinted ? undefined : changed;
}

/** An event without the text that its reader gets. All else of it is code that runs where the event is: it reads, copies and allocates. */
function withoutPrinting(event: string): string {
  const source = new SourceText("", event);
  let text = event;
  for (const match of [...source.code.matchAll(/\bTP_printk\s*(?=\()/g)].reverse()) {
    const close = source.closing(match.index + match[0].length);
    if (close >= 0) text = `${text.slice(0, match.index)}${text.slice(close + 1)}`;
  }
  return text.replaceAll(/\s+/g, " ");
}

interface Events {
  /** Texts by name. */
  readonly events: ReadonlyMap<string, string>;
  /** Everything else, white space made single. */
  readonly rest: string;
}

function eventsOf(text: string): Events | undefined {
  const source = new SourceText("", text);
  const events = new Map<string, string>();
  const spans: Span[] = [];
  for (const match of source.code.matchAll(eventMacros)) {
    const open = match.index + match[0].length;
    const close = source.closing(open);
    // The first argument of those that belong to a class names the class.
    const argument = match[0].trim().startsWith("DEFINE_EVENT") ? /^\(\s*\w+\s*,\s*(\w+)/ : /^\(\s*(\w+)/;
    const name = argument.exec(source.code.slice(open))?.[1];
    if (close < 0 || name === undefined) return undefined;
    const end = source.code[close + 1] === ";" ? close + 2 : close + 1;
    events.set(name, `${events.get(name) ?? ""}${text.slice(match.index, end)}`);
    spans.push({ start: match.index, end });
  }
  let rest = "";
  let at = 0;
  for (const { start, end } of spans) {
    if (start < at) return undefined;
    rest += text.slice(at, start);
    at = end;
  }
  return { events, rest: `${rest}${text.slice(at)}`.replaceAll(/\s+/g, " ") };
}
