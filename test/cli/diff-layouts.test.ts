import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { compileC } from "../fixtures/compile.ts";
import { hasProgram } from "../fixtures/has-program.ts";
import { kmend } from "./captured.ts";

const folder = mkdtempSync(join(tmpdir(), "kmend-diff-layouts-"));
const at = (name: string): string => join(folder, name);
afterAll(() => rmSync(folder, { recursive: true }));

/** @param member of a struct whose objects live from one call to the next. */
const inFunction = (member: string): string => `
extern void *make(unsigned long);
struct file { void *private_data; };
int cmd(struct file *f, int op)
{
	struct ctx { ${member} int used; char buf[32]; } *c = f->private_data;
	if (op == 0) { c = make(sizeof(*c)); f->private_data = c; c->used = 0; return 0; }
	return take(c->buf[c->used++ & 31]);
}
`;
const inFile = (member: string): string => `
struct state { ${member} int used; };
int reads(struct state *s) { return take(s->used); }
`;

/** Debug information has the same types for both: objects on the stack of a function. Those of the second live on. */
const onStack: Readonly<Record<string, (member: string) => string>> = {
  "only on stacks": (member) => `
int cmd(void *data) { struct ctx { ${member} int used; } c = { .used = take(1) }; outside(&c); return c.used; }
`,
  "on stacks, and behind a cast": (member) => `
int cmd(void *data) { struct ctx { ${member} int used; } c = { .used = take(1) }; outside(&c); return c.used + ((struct ctx *)data)->used++; }
`,
};

/** Paths of both builds. */
function pair(name: string, source: (member: string) => string, flags: readonly string[], compiler = "gcc"): string[] {
  return ["", "int flags;"].map((member, side) => {
    const path = at(`${name}.${side}.o`);
    writeFileSync(path, compileC(source(member), flags, compiler));
    return path;
  });
}

describe.each(["gcc", "clang-14", "clang-19"].filter((name) => hasProgram(name)))("%s", (compiler) => {
  test.each([
    ["of the file", "struct state", inFile],
    ["of a function, whose objects outlive the call", "struct ctx", inFunction],
  ])("a struct %s with another layout is refused", async (_, what, source) => {
    const paths = pair(`${compiler}-${what.slice(7)}`, source, ["-g"], compiler);
    const { exitCode, stdout } = await kmend("diff", ...paths, "--json");
    expect(JSON.parse(stdout)).toMatchObject({ outcome: "refused", refusals: [{ code: "LAYOUT_CHANGED", what }] });
    expect(exitCode).toBe(4);
  });
});

test.each(Object.entries(onStack))(
  "a struct of which debug information shows objects %s is refused, with advice",
  async (name, source) => {
    const paths = pair(name.slice(0, 12).trim(), source, ["-g"]);
    const refused = JSON.parse((await kmend("diff", ...paths, "--json")).stdout) as { refusals: readonly unknown[] };
    expect(refused.refusals).toMatchObject([
      {
        code: "LAYOUT_CHANGED",
        what: "struct ctx",
        hint: expect.stringContaining("objects of struct ctx on stacks only"),
      },
    ]);
    const accepted = await kmend("diff", ...paths, "--json", "--allow-layout", "ctx");
    expect(JSON.parse(accepted.stdout)).toMatchObject({ outcome: "changed" });
  },
);

test("what the user accepts, or does not want to be looked at, is no refusal", async () => {
  const paths = pair("accepted", inFile, ["-g"]);
  for (const options of [
    ["--allow-layout", "state"],
    ["--allow-layout", "*"],
    ["--layouts", "ignore"],
  ]) {
    const { exitCode, stdout } = await kmend("diff", ...paths, "--json", ...options);
    expect(JSON.parse(stdout)).toMatchObject({ outcome: "changed", refusals: [] });
    expect(exitCode).toBe(0);
  }
});

test("a list of pairs is looked at when asked for", async () => {
  writeFileSync(at("list"), pair("listed", inFile, ["-g"]).join(" "));
  const outcome = async (...options: string[]): Promise<unknown> =>
    (JSON.parse((await kmend("diff", "--batch", at("list"), ...options)).stdout) as { outcome: unknown }).outcome;
  expect(await outcome()).toBe("changed");
  expect(await outcome("--layouts", "compare")).toBe("refused");
});

test("without debug information, a note tells that nothing was looked at", async () => {
  const { stdout } = await kmend("diff", ...pair("plain", inFile, []), "--json");
  const { outcome, notes } = JSON.parse(stdout) as { outcome: string; notes: readonly string[] };
  expect(outcome).toBe("changed");
  expect(notes.join()).toContain("layouts of types are not compared: not both objects have debug information");
});
