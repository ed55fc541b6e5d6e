import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeEach, expect, test, vi } from "vitest";
import { AnsweredQuestions, askOnly, RecordedQuestions } from "../../src/build/repro/questions.ts";
import { repeatRun } from "../../src/build/repro/repeat.ts";
import { LazyFile } from "../../src/kernel/image/lazy-file.ts";
import { KmendError } from "../../src/support/errors.ts";
import { type Captured, kmend } from "../cli/captured.ts";
import { Scratch } from "../integration/stock-kernel.ts";

const scratch = new Scratch();
afterAll(() => {
  vi.unstubAllEnvs();
  scratch.remove();
});

let folder: string;
let objects: string;

/** Compiles two versions of a unit of our own. */
function compile(name: string, text: string): string {
  const [source, object] = [join(objects, `${name}.c`), join(objects, `${name}.o`)];
  writeFileSync(source, text);
  execFileSync("gcc", ["-O2", "-g", "-ffunction-sections", "-pg", "-mfentry", "-c", source, "-o", object]);
  return object;
}

const unit = (step: number): string => `int f(int a) { return a * ${step}; }\nint g(int a) { return f(a) + 2; }\n`;

beforeEach(() => {
  objects = scratch.folder();
  folder = join(scratch.folder(), "repro");
});

async function saved(): Promise<Captured> {
  return kmend("diff", compile("a", unit(3)), compile("b", unit(5)), "--save-repro", folder);
}

const record = (): Record<string, unknown> => JSON.parse(readFileSync(join(folder, "repro.json"), "utf8"));
const rewrite = (change: (text: string) => string): void => {
  const path = join(folder, "repro.json");
  writeFileSync(path, change(readFileSync(path, "utf8")));
};

test("a comparison is repeated from its folder alone, wherever that is", async () => {
  expect((await saved()).exitCode).toBe(0);
  const elsewhere = join(scratch.folder(), "moved");
  renameSync(folder, elsewhere);
  const { exitCode, stdout } = await kmend("repeat", elsewhere);
  expect([exitCode, stdout]).toEqual([0, expect.stringMatching(/^same: diff, as kmend \S+ did it\n$/)]);
});

test("another outcome is told field by field, with exit code 1", async () => {
  await saved();
  rewrite((text) => text.replace('"outcome": "changed"', '"outcome": "unchanged"'));
  const { outcome, differences } = await repeatRun({ folder });
  expect(outcome).toBe("different");
  expect(differences).toEqual([{ field: "outcome", before: "unchanged", now: "changed" }]);
  const { exitCode, stdout } = await kmend("repeat", folder);
  expect([exitCode, stdout.split("\n").slice(0, 3)]).toEqual([
    1,
    ["outcome:", '  before: "unchanged"', '  now:    "changed"'],
  ]);
});

test("an error is repeated as well, in the names of the run", async () => {
  const damaged = join(objects, "damaged.o");
  writeFileSync(damaged, readFileSync(compile("a", unit(3))).subarray(0, 900));
  const { exitCode } = await kmend("diff", damaged, compile("b", unit(5)), "--save-repro", folder);
  expect(exitCode).toBe(1);
  expect(record()["error"]).toMatchObject({ code: "ELF_FORMAT" });
  expect((await repeatRun({ folder })).outcome).toBe("same");
});

test("a record whose values are within each other without end is none", async () => {
  await saved();
  rewrite((text) => text.replace('"result": {', `"result": { "deep": ${"[".repeat(100_000)}${"]".repeat(100_000)},`));
  const { exitCode, stderr } = await kmend("repeat", folder);
  expect(exitCode).toBe(2);
  expect(stderr).toMatch(/^error\[NOT_A_REPRO\][\s\S]*lists in lists without end/);
});

test("nothing is written for what cannot be read", async () => {
  expect((await kmend("diff", join(objects, "none.o"), "/dev/null", "--save-repro", folder)).exitCode).not.toBe(0);
  expect(readdirSync(folder)).toEqual([]);
});

test("a folder with something in it is left alone", async () => {
  mkdirSync(folder);
  writeFileSync(join(folder, "mine"), "");
  const { exitCode, stderr } = await saved();
  expect([exitCode, stderr]).toEqual([2, expect.stringContaining("error[REPRO_EXISTS]")]);
  expect(readdirSync(folder)).toEqual(["mine"]);
});

test("--save-repro takes one comparison, and no --adapt", async () => {
  for (const words of [
    ["diff", "--batch", "list", "--save-repro", folder],
    ["diff", "a.o", "b.o", "--explain", "f", "--save-repro", folder],
    ["build", "a.patch", "--adapt", "--save-repro", folder],
  ]) {
    const { exitCode, stderr } = await kmend(...words);
    expect([exitCode, stderr]).toEqual([2, expect.stringContaining("--save-repro")]);
  }
});

test.each<[string, () => void]>([
  ["is missing", () => renameSync(join(folder, "repro.json"), join(folder, "other"))],
  ["is no JSON", () => rewrite((text) => text.slice(0, -9))],
  ["is of another kind", () => rewrite((text) => text.replace('"diff"', '"load"'))],
  ["names a file elsewhere", () => rewrite((text) => text.replaceAll("original-a.o", "../original-a.o"))],
  ["names an absolute path", () => rewrite((text) => text.replaceAll("original-a.o", "/etc/passwd"))],
  ["does not list a file", () => rewrite((text) => text.replace(/"original-a.o": "[0-9a-f]{64}",/, ""))],
  ["has a file that was changed", () => writeFileSync(join(folder, "original-a.o"), "x")],
  [
    "has a link in place of a file",
    () => {
      renameSync(join(folder, "original-a.o"), join(objects, "moved.o"));
      symlinkSync(join(objects, "moved.o"), join(folder, "original-a.o"));
    },
  ],
])("a folder whose record %s is refused", async (_, damage) => {
  await saved();
  damage();
  await expect(repeatRun({ folder })).rejects.toMatchObject({ code: "NOT_A_REPRO", exitCode: 2 });
});

test("answers are given again, errors too, and other questions have none", async () => {
  const recorded = new RecordedQuestions();
  expect(await recorded.ask("one", async () => [1])).toEqual([1]);
  const failure = new KmendError({ code: "PROGRAM_FAILED", message: "gcc failed", hint: "look", exitCode: 1 });
  await expect(recorded.ask("two", () => Promise.reject(failure))).rejects.toBe(failure);
  const answered = new AnsweredQuestions(new Map(JSON.parse(JSON.stringify([...recorded.answers]))));
  expect(await answered.ask("one")).toEqual([1]);
  await expect(answered.ask("two")).rejects.toMatchObject({ code: "PROGRAM_FAILED", hint: "look" });
  await expect(answered.ask("three")).rejects.toMatchObject({ code: "REPRO_INCOMPLETE", exitCode: 5 });
  expect(await askOnly.ask("one", async () => 2)).toBe(2);
});

test("of exports those are kept that were asked for", () => {
  const recorded = new RecordedQuestions();
  const entry = { name: "f", crc: 0xabc, owner: "wifi", namespace: "NS", exportType: "EXPORT_SYMBOL_GPL" };
  const symbols = recorded.symbols(
    new Map([
      ["f", entry],
      ["g", { ...entry, name: "g" }],
    ]),
  );
  expect([symbols.get("f"), symbols.get("h")]).toEqual([entry, undefined]);
  expect(recorded.symversText()).toBe("0x00000abc\tf\twifi\tEXPORT_SYMBOL_GPL\tNS\n");
});

test("of a file the parts are kept that were looked at", () => {
  const size = 3 << 20;
  const whole = LazyFile.of(Buffer.alloc(size, 7));
  whole.view(10, 4);
  whole.view((1 << 20) - 2, 4);
  const slices = whole.slices();
  expect(slices.map(({ offset, content }) => [offset, content.length])).toEqual([
    [0, 1 << 18],
    [3 << 18, 2 << 18],
  ]);
  const partial = LazyFile.partial(size, slices, (offset) => new Error(`nothing at ${offset}`));
  expect(partial.view((1 << 20) - 2, 4)).toEqual(Buffer.alloc(4, 7));
  expect(() => partial.view(2 << 20, 1)).toThrow(`nothing at ${2 << 20}`);
});
