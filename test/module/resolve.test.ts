import { expect, test } from "vitest";
import { readUnitObject } from "../../src/diff/unit-object.ts";
import { matchUnit } from "../../src/match/match-unit.ts";
import type { TargetObject } from "../../src/match/target-object.ts";
import { type Reach, type ResolveContext, resolveExternal, resolveOriginal } from "../../src/module/resolve.ts";
import type { SymversEntry } from "../../src/target/symvers.ts";
import { atom } from "../diff/diff-units.ts";
import { assemble, compileC } from "../fixtures/compile.ts";
import { linkKernel } from "../match/linked-kernel.ts";

const shipped = ["-fno-function-sections", "-fno-data-sections"];

async function contextOf(target: TargetObject, object: Uint8Array, more: Partial<ResolveContext> = {}) {
  const unit = await readUnitObject(object);
  const proof = await matchUnit(unit, target);
  const context: ResolveContext = {
    target,
    proof,
    symvers: new Map(),
    newGlobals: new Map(),
    settled: new Map(),
    ...more,
  };
  return { unit, context };
}

function exported(name: string, owner: string): [string, SymversEntry] {
  return [name, { name, crc: 0, owner, namespace: "", exportType: "EXPORT_SYMBOL" }];
}

/** `how name,position`, or what is wrong. */
function shown(reach: Reach): string {
  if (reach.by === "nothing") return `${reach.problem.kind} ${reach.problem.name}`;
  return reach.by === "loader"
    ? `loader ${reach.name}`
    : `${reach.symbol.object}.${reach.symbol.name},${reach.symbol.sympos}`;
}

const local =
  "static noinline int twin(int x) { return take(x) * 9; } int user_of_local(int x) { return twin(x) - 1; }";
const global = "noinline int twin(int x) { return take(x) + 3; } int user_of_global(int x) { return twin(x) + 1; }";

test("a local function behind a global namesake gets the position that counts both", async () => {
  // The global one has the lower address, so the kernel counts it first; kpatch counts local symbols only.
  const target = linkKernel([compileC(global, shipped), compileC(local, shipped)]);
  const { unit, context } = await contextOf(target, compileC(local));
  expect(shown(resolveOriginal(atom(unit, "twin"), context))).toBe("vmlinux.twin,2");
});

test("a global function with a local namesake gets its position too, or the kernel would refuse the name", async () => {
  const target = linkKernel([compileC(local, shipped), compileC(global, shipped)]);
  const { unit, context } = await contextOf(target, compileC(global));
  expect(shown(resolveOriginal(atom(unit, "twin"), context))).toBe("vmlinux.twin,2");
  const user = "extern int twin(int); int f(int x) { return twin(x) + 5; }";
  const other = linkKernel([compileC(local, shipped), compileC(global, shipped), compileC(user, shipped)]);
  const { context: outside } = await contextOf(other, compileC(user));
  expect(shown(resolveExternal("twin", false, outside))).toBe("vmlinux.twin,2");
});

test("a unique name has position 0", async () => {
  const target = linkKernel([compileC(local, shipped)]);
  const { unit, context } = await contextOf(target, compileC(local));
  expect(shown(resolveOriginal(atom(unit, "twin"), context))).toBe("vmlinux.twin,0");
});

test("a new use of a name that several symbols have is open until it is settled", async () => {
  const user = "int f(int x) { return take(x) + 5; }";
  const target = linkKernel([compileC(local, shipped), compileC(global, shipped), compileC(user, shipped)]);
  const { context } = await contextOf(target, compileC(user));
  expect(shown(resolveExternal("twin", false, context))).toBe("ambiguous twin");
  const address = target.symbolsNamed("twin")[1]?.address ?? 0;
  expect(shown(resolveExternal("twin", false, { ...context, settled: new Map([["twin", address]]) }))).toBe(
    "vmlinux.twin,2",
  );
});

test("a static takes the name and number that the running kernel gives it", async () => {
  const source = "int f(int x) { static int count; outside(&count); return take(x); }";
  const target = linkKernel([
    compileC(`${source}\nint behind(int x) { static int a, b; outside(&a); outside(&b); return x; }`, shipped),
  ]);
  const { unit, context } = await contextOf(target, compileC(source));
  const count = unit.atoms.find(({ base }) => base === "count");
  const reach = shown(resolveOriginal(count as never, context));
  expect(reach).toMatch(/^vmlinux\.count\.\d,0$/);
  expect(reach).not.toContain(`${count?.name},`);
});

test("the number of a static alone proves nothing: another unit may have a static of that name and number", async () => {
  const other = "int g(int x) { static int count; outside(&count); return take(x + 1); }";
  const target = linkKernel([compileC(other, shipped)]);
  const { unit, context } = await contextOf(
    target,
    compileC("int f(int x) { static int count; outside(&count); return take(x); }"),
  );
  const count = unit.atoms.find(({ base }) => base === "count");
  expect(target.symbolsNamed(count?.name ?? "")).toHaveLength(1);
  expect(shown(resolveOriginal(count as never, context))).toBe(`ambiguous ${count?.name}`);
});

test("what the kernel image exports is left to the loader, what a module exports is not", async () => {
  const user = "int f(int x) { return take(x) + 5; }";
  const target = linkKernel([compileC(user, shipped)]);
  const { unit, context } = await contextOf(target, compileC(user), {
    symvers: new Map([exported("take", "vmlinux"), exported("f", "vmlinux"), exported("fuse_get", "fuse")]),
  });
  expect(shown(resolveExternal("take", false, context))).toBe("loader take");
  expect(shown(resolveOriginal(atom(unit, "f"), context))).toBe("loader f");
  expect(shown(resolveExternal("fuse_get", false, context))).toBe("fuse.fuse_get,0");
});

test("a symbol that another unit of the patch brings is left to the loader", async () => {
  const target = linkKernel([]);
  const { context } = await contextOf(target, assemble(""), { newGlobals: new Map([["fresh", "vmlinux"]]) });
  expect(shown(resolveExternal("fresh", false, context))).toBe("loader fresh");
});

test("a name that nobody has is missing, a weak one is null as the linker would make it", async () => {
  const { context } = await contextOf(linkKernel([]), assemble(""));
  expect(shown(resolveExternal("nobody", false, context))).toBe("missing nobody");
  expect(shown(resolveExternal("nobody", true, context))).toBe("loader nobody");
});
