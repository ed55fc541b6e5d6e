import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { changedDeclarations } from "../../src/diff/layout/variable-change.ts";
import { unitDeclarations } from "../../src/diff/layout/variable-types.ts";
import { ElfReader } from "../../src/elf/reader.ts";
import { hasProgram } from "../fixtures/has-program.ts";

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "kmend-variables-"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const source = `
struct node { struct node *next; int (*call)(struct node *, long); };
typedef struct { int a; char b[3]; } pair_t;
typedef unsigned long count_t;
struct node first;
pair_t pairs[4];
volatile count_t counts[2][3];
const char *const names[] = { "a", "b" };
union { long n; void *p; } either;
enum mode { OFF, ON } mode;
_Bool ready;
double ratio;
extern struct node elsewhere;
static inline int often(void) { static int calls; return ++calls; }
long step(int by);
long step(int by)
{
	static long last = 7;
	int local = by + often();
	struct node *p = &elsewhere;

	last += local + counts[0][1] + pairs[1].a + (p->next != 0);
	return last;
}
`;

function compile(program: string, ...flags: readonly string[]): Uint8Array {
  const path = join(root, "unit");
  writeFileSync(`${path}.c`, source);
  execFileSync(program, ["-O2", "-c", "-o", `${path}.o`, ...flags, `${path}.c`]);
  return readFileSync(`${path}.o`);
}

const expected = [
  "step long last",
  "struct node first",
  "pair_t pairs[4]",
  "volatile count_t counts[2][3]",
  "const char *const names[2]",
  "union {…} either",
  "enum mode mode",
  "_Bool ready",
  "double ratio",
  "struct node elsewhere",
];

function shown(object: Uint8Array): string[] {
  return unitDeclarations(new ElfReader(object)).variables.map(({ scope, text }) =>
    `${scope} ${text}`.trim().replace("long int", "long"),
  );
}

const builds: readonly (readonly [string, ...string[]])[] = [
  ["gcc", "-gdwarf-5"],
  ["gcc", "-gdwarf-4"],
  ["gcc", "-gdwarf-5", "-gz"],
  ["clang-14", "-gdwarf-5"],
  ["clang-14", "-gdwarf-4"],
];

test.each(builds.filter(([program]) => hasProgram(program)))(
  "%s %s %s describes every variable that keeps its place, and no other",
  (program, ...flags) => {
    const found = shown(compile(program, ...flags.filter((flag) => flag !== undefined)));
    // clang 14 does not say which inlined function a static variable belongs to, and of other units' variables only those that code uses as a whole.
    const rest = found.filter((text) => !expected.includes(text));
    expect(rest.join()).toMatch(/^(often )?int calls$/);
    expect(expected.filter((text) => !found.includes(text) && text !== "struct node elsewhere")).toEqual([]);
  },
);

test("the meaning of a type is that of its bits", () => {
  const meanings = new Map(
    unitDeclarations(new ElfReader(compile("gcc", "-g"))).variables.map(({ name, meaning }) => [name, meaning]),
  );
  expect(meanings.get("first")).toBe("struct node");
  expect(meanings.get("pairs")).toBe("[4]pair_t");
  expect(meanings.get("counts")).toBe("[2][3]int8");
  expect(meanings.get("mode")).toBe("int4");
  expect(meanings.get("ready")).toBe("bool1");
  expect(meanings.get("either")).toBe("union8{n:int8,p:*void}");
});

test("without debug information there are none", () => {
  expect(unitDeclarations(new ElfReader(compile("gcc", "-g0"))).variables).toEqual([]);
});

test("damaged debug information never crashes the reader, and never takes long", () => {
  const object = compile("gcc", "-g");
  const whole = new ElfReader(object);
  const sections = [".debug_info", ".debug_abbrev", ".debug_str"].map((name) => whole.section(name));
  const byte = fc.record({
    section: fc.nat(2),
    at: fc.double({ min: 0, max: 0.999, noNaN: true }),
    value: fc.nat(255),
  });
  fc.assert(
    fc.property(fc.array(byte, { minLength: 1, maxLength: 6 }), (changes) => {
      const damaged = Uint8Array.from(object);
      for (const { section, at, value } of changes) {
        const found = sections[section];
        if (found !== undefined) damaged[found.offset + Math.floor(at * found.size)] = value;
      }
      const result = changedDeclarations(whole, new ElfReader(damaged));
      expect(result === undefined || Array.isArray(result.variables)).toBe(true);
    }),
    { numRuns: 300 },
  );
});
