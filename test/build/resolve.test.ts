import { expect, test } from "vitest";
import { type Reach, type ResolveContext, resolveExternal, resolveOriginal } from "../../src/build/resolve/resolve.ts";
import { readUnitObject } from "../../src/diff/unit-object.ts";
import type { SymversEntry } from "../../src/kernel/modules/symvers.ts";
import { matchUnit } from "../../src/match/match-unit.ts";
import { ModuleObject } from "../../src/match/module-object.ts";
import type { TargetObject, TargetSymbol } from "../../src/match/target-object.ts";
import { atom } from "../diff/diff-units.ts";
import { assemble, compileC, link } from "../fixtures/compile.ts";
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

/** A target whose symbol table does not tell statics from globals, as that of the per-CPU area. */
function without(target: TargetObject): TargetObject {
  const plain = (symbols: readonly TargetSymbol[]): TargetSymbol[] =>
    symbols.map(({ name, address, sympos }) => ({ name, address, sympos }));
  return {
    ...{ name: target.name, source: target.source },
    symbolsNamed: (name) => plain(target.symbolsNamed(name)),
    symbolsAt: (address) => plain(target.symbolsAt(address)),
    roomAt: (address) => target.roomAt(address),
    bytesAt: (address, length) => target.bytesAt(address, length),
    valueAt: (address, width, pcRelative) => target.valueAt(address, width, pcRelative),
  };
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

test("a new use of a name means the global symbol, whatever statics are called so", async () => {
  const user = "int f(int x) { return take(x) + 5; }";
  const target = linkKernel([compileC(local, shipped), compileC(global, shipped), compileC(user, shipped)]);
  const { context } = await contextOf(target, compileC(user));
  expect(shown(resolveExternal("twin", false, context))).toBe("vmlinux.twin,2");
});

test("a static of another unit is not reached by its name, and the refusal says what it is", async () => {
  const user = "int f(int x) { return take(x) + 5; }";
  const target = linkKernel([compileC(local, shipped), compileC(user, shipped)]);
  const { context } = await contextOf(target, compileC(user));
  const reach = resolveExternal("twin", false, context);
  expect(shown(reach)).toBe("missing twin");
  expect(reach.by === "nothing" && reach.problem.reason).toContain("twin is static in another unit of vmlinux");
  // A weak reference is null then, as the linker makes it.
  expect(shown(resolveExternal("twin", true, context))).toBe("loader twin");
});

test("where the symbol table does not tell statics from globals, a name is open until it is settled", async () => {
  const user = "int f(int x) { return take(x) + 5; }";
  const linked = linkKernel([compileC(global, shipped), compileC(user, shipped)]);
  const target = without(linked);
  const { context } = await contextOf(target, compileC(user));
  expect(shown(resolveExternal("twin", false, context))).toBe("ambiguous twin");
  const settled = new Map([["twin", linked.addressOf("twin")]]);
  expect(shown(resolveExternal("twin", false, { ...context, settled }))).toBe("vmlinux.twin,0");
});

test("a global of the unit is not taken for another unit's static of its name", async () => {
  const target = linkKernel([compileC(local, shipped)]);
  const { unit, context } = await contextOf(target, compileC(global));
  expect(shown(resolveOriginal(atom(unit, "twin"), context))).toBe("ambiguous twin");
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

test("what the kernel image exports is left to the loader; what a module exports cannot be used by the kernel itself", async () => {
  const user = "int f(int x) { return take(x) + 5; }";
  const target = linkKernel([compileC(user, shipped)]);
  const { unit, context } = await contextOf(target, compileC(user), {
    symvers: new Map([exported("take", "vmlinux"), exported("f", "vmlinux"), exported("fuse_get", "fuse")]),
  });
  expect(shown(resolveExternal("take", false, context))).toBe("loader take");
  expect(shown(resolveOriginal(atom(unit, "f"), context))).toBe("loader f");
  expect(shown(resolveExternal("fuse_get", false, context))).toBe("missing fuse_get");
});

test("what another module exports has to be held by the patch module, unless the patched one holds it", async () => {
  const code = assemble(
    ".text\n.globl f\n.type f, @function\nf: ret\n.globl own\n.type own, @function\nown: ret\n.size own, 1",
  );
  const info = (depends: string): Uint8Array =>
    link([code, assemble(`.section .modinfo, "a"\n.asciz "depends=${depends}"`)], ["-r"]);
  const symvers = new Map([exported("fuse_get", "fuse"), exported("own", "vmlinux"), exported("kfree", "vmlinux")]);
  const reach = async (name: string, depends: string): Promise<Reach> => {
    const { context } = await contextOf(new ModuleObject("loop", info(depends), "loop.ko"), code, { symvers });
    return resolveExternal(name, false, context);
  };
  expect(shown(await reach("fuse_get", "other,fuse"))).toBe("fuse.fuse_get,0");
  expect(await reach("fuse_get", "other")).toEqual({
    ...{ by: "loader", name: "fuse_get", proof: "exported by fuse", owner: "fuse" },
  });
  expect(shown(await reach("kfree", ""))).toBe("loader kfree");
  // The linker of the module comes before its loader.
  expect(shown(await reach("own", ""))).toBe("loop.own,0");
});

test("what a module had only while it was loaded is missing, and the refusal says why", async () => {
  const code = assemble(
    '.text\n.globl f\n.type f, @function\nf: ret\n.section .init.text, "ax"\n.globl setup\n.type setup, @function\nsetup: ret',
  );
  const { context } = await contextOf(new ModuleObject("loop", link([code], ["-r"]), "loop.ko"), code);
  const reach = resolveExternal("setup", false, context);
  expect(shown(reach)).toBe("missing setup");
  expect(reach.by === "nothing" && reach.problem.reason).toBe(
    "it was in .init.text, whose memory is freed when the module has been loaded",
  );
});

test("what the patch adds to one object is seen in another only where a linker would see it", async () => {
  const code = assemble(".text\n.globl f\n.type f, @function\nf: ret");
  const loop = new ModuleObject("loop", link([code], ["-r"]), "loop.ko");
  const inVmlinux = { newGlobals: new Map([["fresh", "vmlinux"]]) };
  const { context } = await contextOf(loop, code, inVmlinux);
  expect(shown(resolveExternal("fresh", false, context))).toBe("missing fresh");
  expect(shown(resolveExternal("fresh", false, { ...context, newExports: new Set(["fresh"]) }))).toBe("loader fresh");
  const { context: image } = await contextOf(linkKernel([]), assemble(""), {
    ...{ newGlobals: new Map([["fresh", "loop"]]), newExports: new Set(["fresh"]) },
  });
  const reach = resolveExternal("fresh", false, image);
  expect(reach.by === "nothing" && reach.problem.reason).toContain("the patch adds it to the module loop");
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
