import { expect, test } from "vitest";
import { changedTraceEvents } from "../../src/change/trace-events.ts";

const header = `#undef TRACE_SYSTEM
#define TRACE_SYSTEM lamp
#define show_state(s) __print_symbolic(s, { 0, "off" }, { 1, "on" })

DECLARE_EVENT_CLASS(lamp_class,
	TP_PROTO(int id, int state),
	TP_ARGS(id, state),
	TP_STRUCT__entry(__field(int, id) __field(int, state)),
	TP_fast_assign(__entry->id = id; __entry->state = state;),
	TP_printk("%d %s", __entry->id, show_state(__entry->state))
);

DEFINE_EVENT(lamp_class, lamp_lit,
	TP_PROTO(int id, int state), TP_ARGS(id, state));

#ifdef CONFIG_LAMP_DIMMER
TRACE_EVENT(lamp_dimmed, /* by hand */
	TP_PROTO(int id),
	TP_ARGS(id),
	TP_STRUCT__entry(__field(int, id)),
	TP_fast_assign(__entry->id = id;),
	TP_printk("%d", __entry->id)
);
#endif
`;

function found(from: string | RegExp, to: string): string[] {
  const patched = header.replace(from, to);
  expect(patched).not.toBe(header);
  const [original, after] = [Buffer.from(header), Buffer.from(patched)];
  return changedTraceEvents([{ path: "include/trace/events/lamp.h", kind: "modified", original, patched: after }]).map(
    ({ kind, macro, name, conditions }) => [kind, macro, name, ...conditions].join(" "),
  );
}

test("a new event, and a new event of a class", () => {
  expect(found("#ifdef", "TRACE_EVENT(lamp_broken, TP_PROTO(int id), TP_ARGS(id));\n#ifdef")).toEqual([
    "new TRACE_EVENT lamp_broken",
  ]);
  expect(found("#ifdef", "DEFINE_EVENT(lamp_class, lamp_out, TP_PROTO(int id, int state));\n#ifdef")).toEqual([
    "new DEFINE_EVENT lamp_out",
  ]);
  expect(found("#ifdef", "DECLARE_TRACE(lamp_bare, TP_PROTO(int id), TP_ARGS(id));\n#ifdef")).toEqual([
    "new DECLARE_TRACE lamp_bare",
  ]);
});

test("a changed event, with the conditions that it stands under", () => {
  expect(found('TP_printk("%d", ', 'TP_printk("lamp %d", ')).toEqual([
    "changed TRACE_EVENT lamp_dimmed #ifdef CONFIG_LAMP_DIMMER",
  ]);
  expect(found("__field(int, id) __field(int, state)", "__field(long, id) __field(int, state)")).toEqual([
    "changed DECLARE_EVENT_CLASS lamp_class",
  ]);
});

test("a macro that an event prints with changes the event", () => {
  expect(found('{ 1, "on" }', '{ 1, "on" }, { 2, "dim" }')).toEqual(["changed DECLARE_EVENT_CLASS lamp_class"]);
});

test("comments, white space, other lines and events that go are no change", () => {
  expect(found("/* by hand */", "")).toEqual([]);
  expect(found("	TP_ARGS(id),\n", "\t  TP_ARGS(id),\n")).toEqual([]);
  expect(found("#undef TRACE_SYSTEM\n", "#undef TRACE_SYSTEM\n#define unused 1\nint lamp_count(void);\n")).toEqual([]);
  expect(found(/DEFINE_EVENT[\s\S]*?\)\);\n/, "")).toEqual([]);
});

test("a new header", () => {
  const events = changedTraceEvents([{ path: "a.h", kind: "added", original: null, patched: Buffer.from(header) }]);
  expect(events.map(({ name, kind }) => `${kind} ${name}`)).toEqual([
    "new lamp_class",
    "new lamp_lit",
    "new lamp_dimmed",
  ]);
});
