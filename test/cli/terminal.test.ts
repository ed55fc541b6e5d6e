import { expect, test } from "vitest";
import { formatProblem } from "../../src/cli/report/problem.ts";
import { Reporter } from "../../src/cli/terminal/reporter.ts";
import { styleFor } from "../../src/cli/terminal/style.ts";
import { formatTable } from "../../src/cli/terminal/table.ts";
import { terminal } from "../../src/cli/terminal/terminal.ts";
import { sanitiseJson } from "../../src/support/sanitise.ts";

/** Clears the screen, sets the window's title, begins a sequence in one byte, writes over the line, turns the direction round. */
const hostile = "\u001b[2J\u001b]0;title\u0007\u009b31m\rover\u202eelif\u007f";

/** What must never be written: control characters but line feeds, and what turns the direction of text round. */
const raw = /[^\P{Cc}\n]|\u202e/u;
const ownSequences = new RegExp(`${"\u001b"}\\[\\d*[AJm]`, "g");

function stream(isTTY: boolean) {
  const written: string[] = [];
  return { isTTY, written, write: (text: string) => void written.push(text), text: () => written.join("") };
}

test("nothing that a terminal obeys comes through, but for line feeds and tabs", () => {
  const out = stream(false);
  terminal(out).write(`a\tb\n${hostile}\r\n`);
  expect(out.text()).toBe("a\tb\n?[2J?]0;title??31m\nover?elif?\n");
});

test("kmend's own colours do, around a text that brings none", () => {
  const out = stream(true);
  const style = styleFor(out, {});
  terminal(out).write(style("red", `x${hostile}`));
  expect(out.text()).toBe("\u001b[31mx?[2J?]0;title??31m\nover?elif?\u001b[39m");
  expect(terminal(terminal(out)).isTTY).toBe(true);
});

test("an error's texts, and lines within them, look like nothing else", () => {
  const out = stream(false);
  const where = `/tmp/${hostile}`;
  const problem = {
    kind: "error",
    code: "X",
    message: "a\nkmend: all is well",
    where,
    why: hostile,
    hint: undefined,
  } as const;
  terminal(out).write(formatProblem(problem, styleFor(out, {})));
  expect(out.text()).not.toMatch(raw);
  expect(out.text()).toMatch(/^error\[X\]: a\n {2}kmend: all is well\n/);
});

test("progress and notes are shown in the same way, live or in a log", async () => {
  for (const isTTY of [true, false]) {
    const out = stream(isTTY);
    const reporter = new Reporter(out, 2);
    reporter.note(`note ${hostile}`);
    await reporter.phase("x", `Load ${hostile}`, async (status) => status(`waiting for ${hostile}`));
    reporter.stop();
    const own = out.text().replaceAll(ownSequences, "");
    expect(own).not.toMatch(raw);
    expect(own).toContain("note ?[2J");
  }
});

test("a cell of a table stays on its line", () => {
  expect(formatTable([["a\nb", "in force"]])).toEqual(["  a?b  in force"]);
});

test("JSON is escaped, and the value is the same", () => {
  const text = sanitiseJson({ name: hostile, lines: ["a\nb"] });
  expect(text).not.toMatch(raw);
  expect(JSON.parse(text)).toEqual({ name: hostile, lines: ["a\nb"] });
});
