import { expect, test } from "vitest";
import { readUnitObject, type UnitObject } from "../../src/diff/unit-object.ts";
import { matchUnit, type Proof } from "../../src/match/match-unit.ts";
import { atom } from "../diff/diff-units.ts";
import { assemble, compileC } from "../fixtures/compile.ts";
import { type LinkedKernel, linkKernel } from "./linked-kernel.ts";

/** As distributions build it: one section for all functions. */
const shipped = ["-fno-function-sections", "-fno-data-sections"];

const source = `
  static int counter;
  int exported = 4;
  static const int squares[] = { 0, 1, 4, 9 };
  static noinline int helper(int x) { counter += x; return squares[x & 3]; }
  int visible(int x) { exported = x; printk("number %d\\n", x); return helper(x) + take(x); }
  int other(int x) { outside(&counter); return helper(x + 1) * 2; }
`;

async function matched(target: LinkedKernel, object: Uint8Array): Promise<{ proof: Proof; unit: UnitObject }> {
  const unit = await readUnitObject(object);
  return { unit, proof: await matchUnit(unit, target) };
}

/** Functions that were not found equal, with the difference. */
function mismatches({ proof, unit }: { proof: Proof; unit: UnitObject }): string[] {
  return unit.atoms
    .filter((candidate) => candidate.kind === "function" && !proof.isMatched(candidate))
    .map((candidate) => {
      const { offset, text } = proof.mismatchOf(candidate) ?? { offset: -1, text: "no reason" };
      return `${candidate.name}+0x${offset.toString(16)}: ${text}`;
    });
}

test("every function is proven, and every address is that of the linked symbol", async () => {
  const target = linkKernel([compileC(source, shipped)]);
  const result = await matched(target, compileC(source));
  expect(mismatches(result)).toEqual([]);
  const { proof, unit } = result;
  expect([proof.matchedCount, proof.functionCount]).toEqual([3, 3]);
  for (const name of ["counter", "exported", "squares", "helper", "visible", "other"])
    expect([name, proof.addressOf(atom(unit, name))]).toEqual([name, target.addressOf(name)]);
  for (const name of ["take", "printk", "outside", "__fentry__"])
    expect(proof.valueOf(name)).toEqual({ kind: "address", address: target.addressOf(name) });
});

test("one flipped byte of code is found at its offset in its function, and nowhere else", async () => {
  const target = linkKernel([compileC(source, shipped)]);
  const unit = await readUnitObject(compileC(source));
  const helper = atom(unit, "helper");
  const isPlace = (offset: number): boolean =>
    helper.references.some((reference) => offset >= reference.offset && offset < reference.offset + 4);
  for (let offset = 0; offset < helper.bytes.length; offset++) {
    if (isPlace(offset)) continue;
    const address = target.addressOf("helper") + offset;
    const byte = target.bytesAt(address, 1)?.[0] ?? 0;
    const proof = await matchUnit(unit, target.with(address, [byte ^ 0x40]));
    expect(proof.isMatched(helper)).toBe(false);
    expect(proof.mismatchOf(helper)?.offset).toBe(offset);
    expect(proof.isMatched(atom(unit, "visible"))).toBe(true);
    expect(proof.isMatched(atom(unit, "other"))).toBe(true);
  }
});

test("the difference names both bytes", async () => {
  const target = linkKernel([compileC(source, shipped)]);
  const last = (await readUnitObject(compileC(source))).atoms.find(({ name }) => name === "helper")?.bytes.length ?? 0;
  const changed = target.with(target.addressOf("helper") + last - 1, [0x90]);
  const found = mismatches(await matched(changed, compileC(source)));
  expect(found).toEqual([
    `helper+0x${(last - 1).toString(16)}: byte 0x${(last - 1).toString(16)} is 90 in the target and c3 here`,
  ]);
});

test("a call that leads elsewhere is found", async () => {
  const target = linkKernel([compileC(source, shipped)]);
  const unit = await readUnitObject(compileC(source));
  const call = atom(unit, "visible").references.find(
    (reference) => reference.target.kind === "external" && reference.target.name === "take",
  );
  const place = target.addressOf("visible") + (call?.offset ?? 0);
  const distance = Buffer.alloc(4);
  distance.writeInt32LE(target.addressOf("outside") - place - 4);
  const found = mismatches(await matched(target.with(place, [...distance]), compileC(source)));
  expect(found).toEqual([`visible+0x${call?.offset.toString(16)}: refers to outside in the target and to take here`]);
});

test("a text of other content is found", async () => {
  const target = linkKernel([compileC(source, shipped)]);
  const file = Buffer.from(target.elf.file);
  const text = target.elf.sections.find(({ data }) => Buffer.from(data).includes("number %d"));
  const at = file.indexOf("number %d", text?.offset) - (text?.offset ?? 0) + (text?.address ?? 0);
  const found = mismatches(await matched(target.with(at, [0x4e]), compileC(source)));
  expect(found).toEqual([
    expect.stringMatching(/^visible\+0x[0-9a-f]+: the text "number %d\\n" is "Number %d\\n" in the target$/),
  ]);
});

test("a table of other content is found", async () => {
  const target = linkKernel([compileC(source, shipped)]);
  const found = mismatches(await matched(target.with(target.addressOf("squares") + 8, [5]), compileC(source)));
  expect(found).toHaveLength(1);
  expect(found[0]).toMatch(/^helper\+0x[0-9a-f]+: squares differs at \+0x8: byte 0x8 is 05 in the target and 04 here$/);
});

test("data that begins with another value is found by whoever reaches it", async () => {
  const target = linkKernel([compileC(source, shipped)]);
  const found = mismatches(await matched(target.with(target.addressOf("exported"), [99]), compileC(source)));
  expect(found).toEqual([
    expect.stringMatching(
      /^visible\+0x[0-9a-f]+: exported differs at \+0x0: byte 0x0 is 63 in the target and 04 here$/,
    ),
  ]);
});

test("another source, compiled here, is not the kernel's code", async () => {
  const target = linkKernel([compileC(source, shipped)]);
  const found = mismatches(await matched(target, compileC(source.replace("* 2", "* 3"))));
  expect(found).toHaveLength(1);
  expect(found[0]).toMatch(/^other\+0x/);
});

test("a function that the kernel does not have is named", async () => {
  const target = linkKernel([compileC(source, shipped)]);
  const found = mismatches(await matched(target, compileC(`${source} int extra(int x) { return take(x); }`)));
  expect(found).toEqual(["extra+0x0: vmlinux has no symbol named extra"]);
});

const namesake =
  "static int used; static noinline int helper(int x) { used -= x; return used + 7; } int of_namesake(int x) { return helper(x) + 1; }";

test("equally named functions are told apart by their code", async () => {
  for (const units of [
    [source, namesake],
    [namesake, source],
  ]) {
    const target = linkKernel(units.map((text) => compileC(text, shipped)));
    const { proof, unit } = await matched(target, compileC(source));
    const address = proof.addressOf(atom(unit, "helper"));
    const position = target.symbolsNamed("helper").find((symbol) => symbol.address === address)?.sympos;
    expect(position).toBe(units[0] === source ? 1 : 2);
  }
});

test("equally named functions of equal code are told apart by who calls them", async () => {
  const twin = (name: string): string =>
    `static noinline int show(int x) { return take(x) + 3; } int ${name}(int x) { return show(x) + ${name.length}; }`;
  const target = linkKernel([compileC(twin("first"), shipped), compileC(twin("second"), shipped)]);
  const [one, two] = target.symbolsNamed("show").map(({ address }) => address);
  for (const [name, address] of [
    ["first", one],
    ["second", two],
  ] as const) {
    const result = await matched(target, compileC(twin(name)));
    expect(mismatches(result)).toEqual([]);
    expect(result.proof.addressOf(atom(result.unit, "show"))).toBe(address);
  }
});

test("equal functions that only a table points at are told apart by the table", async () => {
  const twin = (name: string): string =>
    `static int show(int x) { return take(x) + 3; } static struct { int (*show)(int); } ops = { show }; void ${name}(void) { outside(&ops); take(${name.length}); }`;
  const target = linkKernel([compileC(twin("first"), shipped), compileC(twin("second"), shipped)]);
  const [one, two] = target.symbolsNamed("show").map(({ address }) => address);
  for (const [name, address] of [
    ["first", one],
    ["second", two],
  ] as const) {
    const result = await matched(target, compileC(twin(name)));
    expect(mismatches(result)).toEqual([]);
    expect(result.proof.addressOf(atom(result.unit, "show"))).toBe(address);
  }
});

test("equal functions that nothing tells apart stay open, and it is said", async () => {
  const twin = "__attribute__((used)) static int show(int x) { return take(x) + 3; }";
  const target = linkKernel([compileC(twin, shipped), compileC(twin, shipped)]);
  expect(mismatches(await matched(target, compileC(twin)))).toEqual([
    "show+0x0: 2 symbols named show hold equal code, and nothing shows which one this is",
  ]);
});

test("a static that the kernel's build numbered otherwise is found, with the kernel's name", async () => {
  const numbered = "int f(int x) { static int count; outside(&count); return take(x); }";
  const target = linkKernel([
    compileC(`${numbered}\nint behind(int x) { static int a, b; outside(&a); outside(&b); return x; }`, shipped),
  ]);
  const { proof, unit } = await matched(target, compileC(numbered));
  const count = unit.atoms.find(({ base }) => base === "count");
  expect(count?.name).toBe("count.0");
  const address = proof.addressOf(count as never) as number;
  const [symbol] = target.symbolsAt(address);
  expect(symbol?.name).toMatch(/^count\.\d+$/);
  expect(symbol?.name).not.toBe("count.0");
});

test("a clone that the kernel's build numbered otherwise is found", async () => {
  const clone = (number: number): Uint8Array =>
    assemble(`
      .section .text.f,"ax",@progbits
      .type f.isra.${number}, @function
      f.isra.${number}: call __fentry__
      call take
      ret
      .size f.isra.${number}, .-f.isra.${number}
    `);
  const target = linkKernel([clone(9)]);
  const result = await matched(target, clone(2));
  expect(mismatches(result)).toEqual([]);
  expect(result.proof.addressOf(atom(result.unit, "f.isra.2"))).toBe(target.addressOf("f.isra.9"));
});

test("jumps that the kernel's build encodes short match, and where they lead is checked", async () => {
  const tail = `
    noinline int last(int x) { return take(x); }
    int f(int x) { if (x == 3) return 5; return last(x + 1); }
    int g(int x) { while (take(x)) x++; return last(x * 3); }
  `;
  const target = linkKernel([compileC(tail, shipped)]);
  const unit = await readUnitObject(compileC(tail));
  const short = target.bytesAt(target.addressOf("f"), target.roomAt(target.addressOf("f")) ?? 0) ?? [];
  expect([...short]).toContain(0xeb);
  const result = await matched(target, compileC(tail));
  expect(mismatches(result)).toEqual([]);
  expect(result.proof.addressOf(atom(result.unit, "last"))).toBe(target.addressOf("last"));
  // The same jump, one byte further.
  const at = target.addressOf("f") + [...short].lastIndexOf(0xeb) + 1;
  const wrong = target.with(at, [((target.bytesAt(at, 1)?.[0] ?? 0) + 1) & 0xff]);
  expect((await matchUnit(unit, wrong)).isMatched(atom(unit, "f"))).toBe(false);
});

test("with short and long jumps apart, a changed instruction is still found", async () => {
  const tail = (number: number): string => `
    noinline int last(int x) { return take(x); }
    int f(int x) { if (x == 3) return ${number}; return last(x + 1); }
  `;
  const target = linkKernel([compileC(tail(5), shipped)]);
  const found = mismatches(await matched(target, compileC(tail(6))));
  expect(found).toHaveLength(1);
  expect(found[0]).toMatch(/^f\+0x/);
});

test("boot code shows where things are, and does not count as proven", async () => {
  const boot = `static int setting = 3; __init int setup(int x) { setting = x; return take(x); } int f(int x) { return take(x) + 1; }`;
  const { proof, unit } = await matched(linkKernel([compileC(boot, shipped)]), compileC(boot));
  expect([proof.matchedCount, proof.functionCount]).toEqual([1, 1]);
  expect(proof.isMatched(atom(unit, "setup"))).toBe(true);
});

/** As BTF_ID_LIST() and BTF_ID() of linux/btf_ids.h write it; `number` is a counter and a line. */
function typeNumbers(number: number): string {
  return `
    asm(".pushsection .BTF_ids,\\"a\\"; .local numbers; numbers:"
        ".local __BTF_ID__struct__module__${number}; .type __BTF_ID__struct__module__${number}, STT_OBJECT;"
        ".size __BTF_ID__struct__module__${number}, 4; __BTF_ID__struct__module__${number}: .zero 4; .popsection");
    extern unsigned int numbers[];
  `;
}

test("numbers of types, which are written after the link, are not compared but found by their name", async () => {
  const use = "int f(int x) { return take(x) + numbers[0]; }";
  const linked = linkKernel([compileC(`${typeNumbers(17)} ${use}`, shipped)]);
  const target = linked.with(linked.addressOf("__BTF_ID__struct__module__17"), [9]);
  const result = await matched(target, compileC(`${typeNumbers(17)} ${use}`));
  expect(mismatches(result)).toEqual([]);
  const number = result.unit.atoms.find(({ section }) => section.name === ".BTF_ids");
  expect(number === undefined ? undefined : result.proof.addressOf(number)).toBe(target.addressOf("numbers"));
});

test("a weak constant that another unit overrides is the one that the kernel has", async () => {
  const unit = compileC(`
    struct proto { int (*call)(int); int number; };
    const struct proto chosen __attribute__((weak));
    const struct proto *get(int x) { return x ? &chosen : 0; }
  `);
  const other = compileC(`
    struct proto { int (*call)(int); int number; };
    static int call(int x) { return x + 7; }
    const struct proto chosen = { call, 3 };
  `);
  const target = linkKernel([unit, other]);
  const result = await matched(target, unit);
  expect(mismatches(result)).toEqual([]);
  expect(result.proof.addressOf(atom(result.unit, "chosen"))).toBe(target.addressOf("chosen"));
});

test("a constant of other content under the same name is a difference, unless it is weak", async () => {
  const text = (number: number): string =>
    `const int chosen[] = { ${number}, 2 }; const int *get(int x) { return x ? chosen : 0; }`;
  const found = mismatches(await matched(linkKernel([compileC(text(5))]), compileC(text(4))));
  expect(found).toEqual([expect.stringContaining("chosen differs at +0x0")]);
});
