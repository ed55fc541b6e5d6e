import { expect, test } from "vitest";
import { ModuleMutator } from "../../bench/mutants/module-mutations.ts";
import { objectDifference, reachedSections } from "../../bench/mutants/object-difference.ts";
import { patchNear } from "../../bench/mutants/patch-near.ts";
import { mutationsOf } from "../../bench/mutants/text-mutations.ts";
import { compileC } from "../fixtures/compile.ts";

const source = `struct pair {
	long first;
	long second;
};

static int quota = 10;

static int spend(int n)
{
	/* a comment with 77 in it */
	if (n > 3 && n != 5)
		printk("too much %d\\n", n);
	quota -= n;
	return take(quota);
}

static noinline long sum(struct pair *pair)
{
	return pair->first + pair->second;
}

int enter(struct pair *pair)
{
	take(1);
	return spend(4) + sum(pair);
}
`;

test("mutations are of many kinds, one place each, and keep the lines", () => {
  const mutations = mutationsOf(source);
  const shown = mutations.map(({ kind, line, before, after }) => `${kind} ${line}: ${before} → ${after}`);
  expect(shown).toContain("struct 1: struct pair { → struct pair { long kmend_mutant;");
  expect(shown).toContain("initialiser 6: 10 → 11");
  expect(shown).toContain("comparison 11: > → >=");
  expect(shown).toContain("condition 11: && → ||");
  expect(shown).toContain("constant 11: 5 → 6");
  expect(shown).toContain("text 12: t → q");
  expect(shown).toContain("operator 19: + → -");
  expect(shown).toContain("call removed 24: take(1); → ;");
  expect(shown.filter((each) => each.includes("77"))).toEqual([]);
  const lines = source.split("\n");
  for (const { text, line } of mutations) {
    const other = text.split("\n");
    expect(other.length).toBe(lines.length);
    expect(other.flatMap((each, index) => (each === lines[index] ? [] : [index + 1]))).toEqual([line]);
  }
});

test("a patch is put into the function of the mutation, into one that uses it, or behind a pointer to the struct", () => {
  const mutations = mutationsOf(source);
  const quota = mutations.find(({ kind }) => kind === "initialiser");
  const pair = mutations.find(({ kind }) => kind === "struct");
  if (quota === undefined || pair === undefined) throw new Error("no such mutations");
  expect(patchNear(quota, 0)?.patched).toBe("spend");
  expect(patchNear(quota, 0)?.text).toContain('{ asm volatile("nop");\n\t/* a comment');
  expect(patchNear(pair, 0)).toMatchObject({ patched: "sum", usesType: true });
  expect(patchNear(pair, 0)?.text).toContain('asm volatile("" : : "r" (&pair->second));');
});

test("what differs is found in the section of the function, of the variable, and of a table's entry", async () => {
  const difference = async (change: (text: string) => string): Promise<string[]> => {
    const { sections } = await objectDifference(compileC(source), compileC(change(source)));
    return [...sections].sort();
  };
  expect(await difference((text) => text)).toEqual([]);
  expect(await difference((text) => text.replace("quota = 10", "quota = 11"))).toEqual([".data.quota"]);
  expect(await difference((text) => text.replace("->first + ", "->second + "))).toEqual([".text.sum"]);
  const report =
    'asm volatile("1: ud2\\n.pushsection __bug_table,\\"aw\\"\\n.long 1b - .\\n.word 0, FLAGS\\n.popsection");';
  const withFlags = (flags: string): string => source.replace("take(1);", report.replace("FLAGS", flags));
  const { sections } = await objectDifference(compileC(withFlags("1")), compileC(withFlags("3")));
  expect([...sections]).toEqual([".text.enter"]);
});

test("functions reach their data, and the functions that they call, and not what those call", async () => {
  const { mutant } = await objectDifference(compileC(source), compileC(source));
  const reached = [...reachedSections(mutant, new Set(["enter"]))].filter((name) => name.startsWith(".text."));
  expect(reached.sort()).toEqual([".text.enter", ".text.sum"]);
  expect(reachedSections(mutant, new Set(["enter"])).has(".data.quota")).toBe(true);
  expect(reachedSections(mutant, new Set(["sum"])).has(".data.quota")).toBe(false);
});

test("each mutant of a module is another one, and the same for a seed", () => {
  const object = compileC(source);
  const [one, again, other] = ["a", "a", "b"].map((seed) => new ModuleMutator(object, seed));
  for (let number = 0; number < 24; number++) {
    const mutation = one?.mutation(number);
    expect(Buffer.compare(mutation?.module ?? object, object)).not.toBe(0);
    expect(again?.mutation(number)).toEqual(mutation);
  }
  expect(other?.mutation(0)).not.toEqual(one?.mutation(0));
});
