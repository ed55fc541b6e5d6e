import { expect, test } from "vitest";
import { compareObjects, type DiffResult } from "../../src/build/compare-objects.ts";
import { SymbolType } from "../../src/elf/constants.ts";
import { compileC, link } from "../fixtures/compile.ts";
import { diffObjects } from "./diff-units.ts";

/** One unit of the object, with statics of names that the other has too. */
const unit = (user: string, sign: string): string => `
  extern void complain(const char *) __attribute__((cold));
  static int count;
  static noinline int step(int x) { if (x == 77) complain("${user}"); count ${sign}= x; return count; }
  int ${user}(int x) { return step(x) + 1; }
`;
const first = (): Uint8Array => compileC(unit("first_user", "+"));
const joined = (sign: string): Uint8Array => link([first(), compileC(unit("second_user", sign))], ["-r"]);

function compare(original: Uint8Array, patched: Uint8Array, object = "vmlinux"): Promise<DiffResult> {
  const names = { originalName: "a.o", patchedName: "b.o" };
  return compareObjects(original, patched, { ...names, object, wantsExtract: false }).then(({ result }) => result);
}

test("two units with statics of one name, joined by ld -r, are compared source by source", async () => {
  const result = await compare(joined("-"), joined("^"));
  expect(result.refusals).toEqual([]);
  expect(result.changedFunctions.map(({ name }) => name).sort()).toEqual(["step", "step.cold"]);
  expect(result.patched).toMatchObject([{ name: "step", sympos: 2 }]);
  const counts = result.klpRelocations.filter(({ symbol }) => symbol === "count");
  expect(counts.length).toBeGreaterThan(0);
  for (const { sympos } of counts) expect(sympos).toBe(2);
  expect(result.notes.join("\n")).toContain("--symtab");
});

test("the same joined object is unchanged", async () => {
  expect((await compare(joined("-"), joined("-"))).outcome).toBe("unchanged");
});

test("the cold part of one does not count as that of the other", async () => {
  const diff = await diffObjects(joined("-"), joined("^"));
  expect(diff.redirected).toEqual(["step"]);
  // Local symbols of the second source stand behind its name.
  const isSecond = (index = 0): boolean =>
    diff.patched.elf.symbols.slice(0, index).filter(({ type }) => type === SymbolType.file).length === 2;
  for (const { symbol } of diff.changes.functions.keys()) expect(isSecond(symbol?.index)).toBe(true);
  const colds = diff.patched.atoms.filter(({ name }) => name === "step.cold");
  expect(colds).toHaveLength(2);
  expect(diff.carried.filter((name) => name === "step.cold")).toHaveLength(1);
});

test("in groups (COMDAT) as well", async () => {
  const grouped = (sign: string): Uint8Array =>
    link(
      [
        first(),
        compileC(
          `${unit("second_user", sign)} __attribute__((section(".text.x,\\"axG\\",@progbits,x,comdat#"))) int in_group(int x) { return take(x); }`,
        ),
      ],
      ["-r"],
    );
  const result = await compare(grouped("-"), grouped("^"));
  expect(result.refusals).toEqual([]);
  expect(result.changedFunctions.map(({ name }) => name).sort()).toEqual(["step", "step.cold"]);
});

test("an indirect function whose resolver changes is refused for that, and so is a use of it", async () => {
  const source = (choice: string, more: string): string => `
    static int plain(int x) { return x + 1; }
    static int quick(int x) { return x + 2; }
    extern int fast;
    static void *choose(void) { return ${choice} ? (void *)plain : (void *)quick; }
    int picked(int x) __attribute__((ifunc("choose")));
    int use(int x) { return picked(x) + ${more}; }
  `;
  const changed = await diffObjects(compileC(source("fast", "1")), compileC(source("!fast", "1")));
  expect(changed.refusals).toEqual(["INDIRECT_FUNCTION picked"]);
  const used = await diffObjects(compileC(source("fast", "1")), compileC(source("fast", "200")));
  expect(used.refusals).toEqual(["INDIRECT_FUNCTION picked"]);
});

test("a changed use of a thread-local variable is refused", async () => {
  const source = (more: string): string => `__thread int mine; int use(int x) { mine += x; return mine + ${more}; }`;
  const diff = await diffObjects(compileC(source("1")), compileC(source("200")));
  expect(diff.refusals).toEqual(["SPECIAL_SECTION mine"]);
});
