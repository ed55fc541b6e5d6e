import { expect, test } from "vitest";
import { printedTraceEvents } from "../../src/change/trace-events.ts";

const header = `#undef TRACE_SYSTEM
#define TRACE_SYSTEM boxes

#if !defined(_TRACE_BOXES_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_BOXES_H
#include <linux/tracepoint.h>

TRACE_EVENT(box_opened,
	TP_PROTO(int id),
	TP_ARGS(id),
	TP_STRUCT__entry(__field(int, id)),
	TP_fast_assign(__entry->id = id;), /* as ) it is */
	TP_printk("id=%d", __entry->id)
);

DEFINE_EVENT(box_class, box_closed,
	TP_PROTO(int id), TP_ARGS(id));

#endif
#include <trace/define_trace.h>
`;

const printed = (original: string, patched: string): readonly string[] | undefined =>
  printedTraceEvents({
    path: "boxes.h",
    kind: "modified",
    original: Buffer.from(original),
    patched: Buffer.from(patched),
  });

test("only events differ", () => {
  const changed = header.replace("id=%d", "box=%d");
  expect(printed(header, changed)).toEqual(["box_opened"]);
  const added = header.replace(
    "\n#endif",
    "\nDEFINE_EVENT(box_class, box_lost,\n\tTP_PROTO(int id), TP_ARGS(id));\n\n#endif",
  );
  expect(printed(header, added)).toEqual(["box_lost"]);
});

test.each([
  ["nothing", header],
  ["the name of the system", header.replace("SYSTEM boxes", "SYSTEM lids")],
  [
    "another macro too",
    header.replace("id=%d", "box=%d").replace("#include <linux/tracepoint.h>", "#include <linux/mm.h>"),
  ],
  ["a text too", header.replace("id=%d", "box=%d").replace("boxes\n\n", 'boxes\n#define BOX_TEXT "a"\n\n')],
  ["what is recorded", header.replace("__entry->id = id;", "__entry->id = id + 1;")],
  ["what is recorded beside", header.replace("__field(int, id)", "__field(long, id)").replace("id=%d", "id=%ld")],
  ["a function too", header.replace("id=%d", "box=%d").replace("\n#endif", "int f(void);\n\n#endif")],
  [
    "a macro that it uses",
    header.replace("#include <linux/tracepoint.h>", "#include <linux/tracepoint.h>\n#define id other"),
  ],
  ["its condition", header.replace("\nTRACE_EVENT", "\n#ifdef CONFIG_BOX\n#endif\nTRACE_EVENT")],
  ["a parenthesis", header.replace("TP_ARGS(id));", "TP_ARGS(id);")],
])("%s is something else", (_, changed) => {
  expect(printed(header, changed)).toBeUndefined();
});
