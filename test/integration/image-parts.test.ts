import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { all, append, build, type Edit, functionNames, replace, Scratch, stockKernel } from "./stock-kernel.ts";

const scratch = new Scratch();
let tree: string;

beforeAll(async () => {
  tree = (await stockKernel()).tree.path;
});
afterAll(() => scratch.remove());

interface Part {
  readonly title: string;
  readonly edits: Readonly<Record<string, Edit>>;
  readonly what: string;
  readonly why: RegExp;
}

const version = replace("\t\tutsname()->version);\n", '\t\tutsname()->version);\n\tseq_puts(m, "more\\n");\n');

/** What the image contains without being a unit of it. */
const parts: readonly Part[] = [
  {
    title: "the vDSO",
    edits: {
      "arch/x86/entry/vdso/vclock_gettime.c": replace("return __cvdso_time(t);", "return __cvdso_time(t) + 1;"),
    },
    what: "arch/x86/entry/vdso/vclock_gettime.c",
    why: /part of the vDSO/,
  },
  {
    title: "a table that a script makes code of, with a unit",
    edits: {
      "arch/x86/entry/syscalls/syscall_64.tbl": append("999\tcommon\tgettid_again\tsys_gettid\n"),
      "fs/proc/version.c": version,
    },
    what: "arch/x86/entry/syscalls/syscall_64.tbl",
    why: /part of what arch\/x86\/entry\/syscalls\/Makefile makes of it/,
  },
  {
    title: "a new file that a rule takes by a pattern",
    edits: { "net/wireless/certs/kmend.hex": () => "0x30, 0x82, 0x01, 0x02,\n" },
    what: "net/wireless/certs/kmend.hex",
    why: /part of what net\/wireless\/Makefile makes of it/,
  },
  {
    title: "a program that generates a table",
    edits: { "lib/gen_crc32table.c": append("int kmend;\n") },
    what: "lib/gen_crc32table.c",
    why: /part of what the program lib\/gen_crc32table generates/,
  },
  {
    title: "boot code",
    edits: { "arch/x86/boot/compressed/kaslr.c": append("int kmend;\n") },
    what: "arch/x86/boot/compressed/kaslr.c",
    why: /part of the boot code, which unpacked the kernel/,
  },
  {
    title: "the linker script",
    edits: { "arch/x86/kernel/vmlinux.lds.S": append("\n") },
    what: "arch/x86/kernel/vmlinux.lds.S",
    why: /part of a linker script/,
  },
  {
    title: "objtool",
    edits: { "tools/objtool/check.c": append("int kmend;\n") },
    what: "tools/objtool/check.c",
    why: /part of the program of the build tools\/objtool/,
  },
  {
    title: "numbers for assembly",
    edits: {
      "arch/x86/kernel/asm-offsets_64.c": replace("int main(void)\n{\n", "int main(void)\n{\n\tDEFINE(KMEND, 5);\n"),
    },
    what: "arch/x86/kernel/asm-offsets_64.c",
    why: /part of arch\/x86\/kernel\/asm-offsets\.c, which is no C unit/,
  },
  {
    title: "a header that assembly reads too",
    edits: { "arch/x86/kvm/vmx/run_flags.h": replace(/VMX_RUN_VMRESUME_SHIFT\t+0\n/, "VMX_RUN_VMRESUME_SHIFT\t2\n") },
    what: "arch/x86/kvm/vmx/run_flags.h",
    why: /part of arch\/x86\/kvm\/vmx\/vmenter\.S, which is no C unit and comes out otherwise with it/,
  },
  {
    title: "a source that a Makefile elsewhere compiles too",
    edits: { "lib/crypto/sha256.c": replace("\tsctx->count += len;\n", "\tsctx->count += len + (len == 12345);\n") },
    what: "lib/crypto/sha256.c",
    why: /part of the purgatory of kexec, .*\(arch\/x86\/purgatory\/sha256\.o, by a rule of arch\/x86\/purgatory\/Makefile\)/,
  },
  {
    title: "a comment that a generator reads",
    edits: { "include/linux/oid_registry.h": replace("/* 1.2.840.10040.4.1 */", "/* 1.2.840.10040.4.2 */") },
    what: "include/linux/oid_registry.h",
    why: /part of what lib\/Makefile makes of it \(lib\/oid_registry_data\.c\)/,
  },
  {
    title: "a header of half of the kernel that a generator reads",
    edits: { "include/uapi/linux/capability.h": append("#define CAP_KMEND 63\n") },
    what: "include/uapi/linux/capability.h",
    why: /part of what security\/apparmor\/Makefile makes of it \(security\/apparmor\/capability_names\.h\)/,
  },
];

describe("refused is a change of", () => {
  test.each(parts)("$title", async ({ edits, what, why }) => {
    const { exitCode, result, stderr } = await build([scratch.patch(tree, edits)], scratch.folder());
    expect(exitCode, stderr).toBe(4);
    expect(result.refusals.map(({ code, what: name }) => `${code} ${name}`)).toEqual([`IMAGE_PART ${what}`]);
    expect(result.refusals[0]?.why).toMatch(why);
    expect(result.notes.filter((note) => note.includes("is not built"))).toEqual([]);
  });
});

test("what no kernel is made of goes along with a patch", async () => {
  const edits = {
    "fs/proc/version.c": version,
    "tools/testing/selftests/lib.mk": append("\n"),
    "scripts/checkpatch.pl": append("\n"),
    "arch/arm64/kernel/vdso.c": append("int kmend;\n"),
    "Documentation/index.rst": append("\n"),
  };
  const { result, exitCode, stderr } = await build([scratch.patch(tree, edits)], scratch.folder());
  expect(exitCode, stderr).toBe(0);
  expect(functionNames(result)).toEqual(["version_proc_show"]);
  expect(result.notes).toContain("tools/testing/selftests/lib.mk is not built for this kernel");
});

test("a comment in a source of the vDSO changes nothing that the image contains", async () => {
  const patch = scratch.patch(tree, { "lib/vdso/gettimeofday.c": append("/* The end. */\n") });
  const { result, exitCode, stderr } = await build([patch], scratch.folder());
  expect(exitCode, stderr).toBe(3);
  expect(result.notes).toEqual(["lib/vdso/gettimeofday.c: all that this kernel makes of it stays as it is"]);
});

test("what rules of Makefiles make of a file may stay as it is, and boot code is told of", async () => {
  const patch = scratch.patch(tree, {
    "include/linux/oid_registry.h": append("/* The end. */\n"),
    "include/linux/net.h": append("/* The end. */\n"),
    "lib/crypto/sha256.c": append("/* The end. */\n"),
    "lib/ctype.c": append("/* The end. */\n"),
  });
  const { result, exitCode, stderr } = await build([patch], scratch.folder());
  expect(exitCode, stderr).toBe(3);
  expect(result.refusals).toEqual([]);
  expect(result.notes).toEqual([
    "lib/ctype.c: drivers/firmware/efi/libstub/Makefile compiles it for drivers/firmware/efi/libstub/lib-ctype.o too, which ran before the kernel and stays as it is until a new one boots",
  ]);
});

test("a new trace event is refused before anything is compiled", async () => {
  const event = [
    "TRACE_EVENT(sched_kmend,\n\tTP_PROTO(int error),\n\tTP_ARGS(error),",
    "\tTP_STRUCT__entry(\n\t\t__field(int, error)\n\t),",
    '\tTP_fast_assign(\n\t\t__entry->error = error;\n\t),\n\tTP_printk("error=%d", __entry->error)\n);\n\n',
  ].join("\n");
  const edits = {
    "include/trace/events/sched.h": replace(/^TRACE_EVENT\(sched_process_exec,/m, (found) => `${event}${found}`),
    "fs/proc/version.c": all(
      replace("#include <linux/seq_file.h>\n", "#include <linux/seq_file.h>\n#include <trace/events/sched.h>\n"),
      replace("\t\tutsname()->version);\n", "\t\tutsname()->version);\n\ttrace_sched_kmend(1);\n"),
    ),
  };
  const { result, exitCode, stderr } = await build([scratch.patch(tree, edits)], scratch.folder());
  expect(exitCode, stderr).toBe(4);
  expect(result.refusals.map(({ code, what, where }) => [code, what, where])).toEqual([
    ["TRACE_EVENT", "sched_kmend", "include/trace/events/sched.h"],
  ]);
  expect(result.units).toEqual([]);
});

test("a function that an init function has inlined is patched, and its effect at boot is not repeated", async () => {
  const edits = {
    "kernel/user.c": replace(
      "\thlist_add_head(&up->uidhash_node, hashent);\n",
      "\thlist_add_head(&up->uidhash_node, hashent);\n\tup->uidhash_node.next = READ_ONCE(hashent->first)->next;\n",
    ),
  };
  const { result, exitCode, stderr } = await build([scratch.patch(tree, edits)], scratch.folder());
  expect(exitCode, JSON.stringify(result.refusals) + stderr).toBe(0);
  expect(functionNames(result)).toEqual(["alloc_uid"]);
  expect(result.notes).toContain(
    "kernel/user.c: uid_cache_init ran at boot with the old code (.init.text), and the patch does not repeat it",
  );
});

test.each([
  ["renamed", null, "the patch removes a source file whose code stays in the running kernel"],
  [
    "changed and no longer built",
    version,
    "with the patch its Makefile no longer builds it, and its code stays in the running kernel",
  ],
])("a unit that is %s is no part of something embedded", async (_, edit, why) => {
  const source = readFileSync(join(tree, "fs/proc/version.c"), "utf8");
  const patch = scratch.patch(tree, {
    "fs/proc/Makefile": replace("version.o", "versionx.o"),
    "fs/proc/version.c": edit ?? ((): null => null),
    "fs/proc/versionx.c": append(source),
  });
  const { exitCode, result, stderr } = await build([patch], scratch.folder());
  expect(exitCode, stderr).toBe(4);
  const old = result.refusals.filter(({ what }) => what === "fs/proc/version.c");
  expect(old.map(({ code, why: reason }) => [code, reason])).toEqual([["NEW_UNIT", why]]);
});
