import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Btf } from "../../src/kernel/types/btf.ts";
import { BtfKind, IntEncoding } from "../../src/kernel/types/btf-format.ts";
import { buildIdNote, type NamedSymbol, type StopKernel } from "../../src/stop/kernel-parts.ts";
import { assemble } from "../fixtures/compile.ts";
import { type EncodedType, encodeBtf } from "../kernel/btf-encoder.ts";

/** How functions of the made-up kernel look; the default is that of Linux 6.12 with all its mitigations. */
export interface ShippedStyle {
  readonly landingPads?: boolean;
  readonly padding?: boolean;
  readonly fentry?: "call" | "nop" | "none";
  readonly returnThunk?: boolean;
  readonly callSites?: boolean;
  readonly versions?: boolean;
  /** Where the instruction with the type hash is in the preamble, whether `.cfi_sites` lists it, and forms that no kernel has. */
  readonly cfi?: "listed" | "last" | "no hash" | "unmarked";
  readonly exit?: boolean;
  readonly release?: string;
}

/** Bytes of its `struct module`, and where name, init and exit are. */
const structModule = { size: 896, name: 24, init: 312, exit: 848 } as const;

/** A module as the made-up kernel ships it. */
export function shippedModule(style: ShippedStyle = {}): Uint8Array {
  const { landingPads = true, padding = true, fentry = "call", returnThunk = true } = style;
  const { callSites = true, versions = true, cfi, exit = true } = style;
  const start = { call: "call __fentry__", nop: ".byte 0x0f,0x1f,0x44,0,0", none: "" }[fentry];
  const nops = (count: number): string => `.rept ${count}\nnop\n.endr`;
  const preamble = (name: string): string => {
    const hash = `mov $${name === "init_module" ? "0x36b1c5a6" : "0x1a540b33"},%eax`;
    if (cfi === undefined) return padding ? `__pfx_${name}: ${nops(16)}` : "";
    const mark = cfi === "unmarked" ? "" : `__cfi_${name}:`;
    if (cfi === "last") return `${mark}\n${nops(11)}\n${hash}`;
    return `${mark}\n${cfi === "no hash" ? nops(5) : hash}\n__pfx_${name}: ${nops(11)}`;
  };
  const code = (name: string): string => `
.p2align 4
${preamble(name)}
.globl ${name}
.type ${name},@function
${name}: ${landingPads ? "endbr64" : ""}
${start}
xor %eax,%eax
${returnThunk ? "jmp __x86_return_thunk" : "ret"}
.L${name}_end:
`;
  return assemble(
    `
.section .init.text,"ax"
.Linit:
${code("init_module")}
.section .exit.text,"ax"
.Lexit:
${code(exit ? "cleanup_module" : "other")}
.section .orc_unwind_ip,"a"
.long .Lexit - ., .Lother_end - .
.long .Linit - ., .Linit_module_end - .
.section .orc_unwind,"a"
.byte 8,0,0,0,5,2, 0,0,0,0,0,0
.byte 8,0,0,0,5,2, 0,0,0,0,0,0
.section .orc_header,"a"
.byte 1,2,3,4
${cfi === "listed" || cfi === "unmarked" ? '.section .cfi_sites,"a"\n.long .Linit - ., .Lexit - .' : ""}
${callSites ? '.section .call_sites,"a"\n.long .Linit - .' : ""}
.section .modinfo,"a"
.asciz "name=loop"
.asciz "retpoline=Y"
.asciz "vermagic=${style.release ?? "9.9.0-test"} SMP mod_unload ${versions ? "modversions " : ""}"
${versions ? '.section __versions,"a"\n.quad 0xabcd1234\n.asciz "module_layout"\n.fill 42' : ""}
.section .note.Linux,"a",@note
.byte 6,0,0,0,4,0,0,0,0,1,0,0
.asciz "Linux"
.byte 0,0,1,0,0,0
.section .gnu.linkonce.this_module,"aw"
.globl __this_module
__this_module: .fill ${structModule.name}
.asciz "loop"
.fill ${structModule.init - structModule.name - 5}
.quad init_module
.fill ${structModule.exit - structModule.init - 8}
.quad ${exit ? "cleanup_module" : "0"}
.fill ${structModule.size - structModule.exit - 8}
`.replaceAll(".Lother_end", exit ? ".Lcleanup_module_end" : ".Lother_end"),
  );
}

const member = (name: string, bytes: number): [string, number, number] => [name, 1, bytes * 8];
const struct = (name: string, word: number, ...tail: [string, number, number][]): EncodedType => {
  return { kind: BtfKind.struct, name, word, tail };
};

/** Numbers of the types that functions of the made-up kernel return. */
const returned = { int: 1, char: 2, void: 0, long: 3, bool: 4, pointer: 5, u32: 6, enum: 7, pair: 8 } as const;

/** Functions of the made-up kernel with what they return; `...` behind the type: they take any number of arguments. */
const functions: readonly (readonly [name: string, type: keyof typeof returned, variadic?: true])[] = [
  ["int_call", "int"],
  ["long_call", "long"],
  ["bool_call", "bool"],
  ["pointer_call", "pointer"],
  ["void_call", "void"],
  ["bits_call", "u32"],
  ["verdict_call", "enum"],
  ["pair_call", "pair"],
  ["twin_call", "int"],
  ["untraced_call", "int"],
  ["format_call", "int", true],
  ["mutex_lock", "void"],
  ["schedule", "void"],
  ["__x64_sys_frob", "long"],
  ["__x64_sys_exit", "long"],
  ["frob_get", "pointer"],
  ["frob_put", "void"],
];

/** The types of the made-up kernel. */
export function kernelTypes(further: readonly EncodedType[] = []): Btf {
  const int = (bits: number, encoding: number): [number][] => [[(encoding << 24) | bits]];
  const types: EncodedType[] = [
    { kind: BtfKind.int, name: "int", word: 4, tail: int(32, IntEncoding.signed) },
    { kind: BtfKind.int, name: "char", word: 1, tail: int(8, IntEncoding.signed) },
    { kind: BtfKind.int, name: "long int", word: 8, tail: int(64, IntEncoding.signed) },
    { kind: BtfKind.int, name: "_Bool", word: 1, tail: int(8, IntEncoding.bool) },
    { kind: BtfKind.ptr, word: 2 },
    { kind: BtfKind.int, name: "unsigned int", word: 4, tail: int(32, 0) },
    {
      kind: BtfKind.enum,
      name: "verdict",
      word: 4,
      tail: [
        ["DROP", 0],
        ["ACCEPT", 1],
      ],
    },
    struct("pair", 16, member("first", 0), member("second", 8)),
    struct("klp_patch", 200, member("mod", 0), member("objs", 8), member("replace", 24)),
    struct("klp_object", 168, member("name", 0), member("funcs", 8)),
    struct("klp_func", 152, member("old_name", 0), member("new_func", 8), member("old_sympos", 16)),
    struct(
      ...(["module", structModule.size, member("name", structModule.name)] as const),
      ...[member("init", structModule.init), member("exit", structModule.exit)],
    ),
    { kind: BtfKind.union, word: 8, tail: [["arg", 5, 0]] },
    struct(
      ...(["kernel_param", 40, member("name", 0), member("mod", 8), member("ops", 16)] as const),
      ...[member("perm", 24), member("level", 26), ["", 13, 256] as [string, number, number]],
    ),
    ...further,
  ];
  for (const [name, type, variadic] of functions) {
    types.push({
      kind: BtfKind.funcProto,
      word: returned[type],
      tail:
        variadic === true
          ? [
              ["x", 1],
              ["", 0],
            ]
          : [],
    });
    types.push({ kind: BtfKind.func, name, word: types.length, count: 1 });
  }
  return new Btf(encodeBtf(types), "made-up kernel");
}

/** Notes of a kernel with that build id, which is behind another note. */
export function kernelNotes(buildId = "ab".repeat(20)): Buffer {
  return Buffer.concat([
    Buffer.from([4, 0, 0, 0, 4, 0, 0, 0, 7, 0, 0, 0, 0x58, 0x65, 0x6e, 0, 1, 2, 3, 4]),
    Buffer.from([4, 0, 0, 0, 20, 0, 0, 0, 3, 0, 0, 0, 0x47, 0x4e, 0x55, 0]),
    Buffer.from(buildId, "hex"),
  ]);
}

/** A made-up kernel whose folder of modules has one module. */
export function stopKernel(
  style: ShippedStyle & { readonly buildId?: string } = {},
  types = kernelTypes(),
): StopKernel {
  const modulesDir = mkdtempSync(join(tmpdir(), "kmend-stop-"));
  mkdirSync(join(modulesDir, "kernel"));
  writeFileSync(join(modulesDir, "modules.order"), "kernel/loop.ko\n");
  writeFileSync(join(modulesDir, "modules.builtin"), "kernel/fixed.ko\n");
  writeFileSync(join(modulesDir, "kernel/loop.ko"), shippedModule(style));
  const { buildId, ...note } = buildIdNote(kernelNotes(style.buildId));
  const named = (name: string, type = "T"): NamedSymbol => ({
    type,
    traceable: !name.startsWith("untraced"),
    after: "x",
  });
  const table = new Map<string, NamedSymbol[]>(functions.map(([name]) => [name, [named(name)]]));
  table.set("twin_call", [named("a", "t"), named("b", "d"), named("c", "t")]);
  table.set("frob.isra.0", [named("frob", "t")]);
  table.set("frob.part.0", [named("frob", "t")]);
  for (const name of [
    ...["__start_notes", "__stop_notes", "klp_enable_patch", "_printk", "__printk_ratelimit"],
    "__fentry__",
  ])
    table.set(name, [named(name)]);
  for (const name of ["__x86_return_thunk", "param_ops_ulong"]) table.set(name, [named(name)]);
  table.set("jiffies", [named("jiffies", "D")]);
  return {
    ...{ release: style.release ?? "9.9.0-test", buildId, note, types, modulesDir },
    symbolsNamed: (name) => table.get(name) ?? [],
    tracedNames: () => table.keys(),
  };
}
