import { describe, expect, test } from "vitest";
import { x86_64 } from "../../src/diff/arch/x86-64.ts";
import { ElfReader } from "../../src/elf/reader.ts";
import { BtfKind } from "../../src/kernel/types/btf-format.ts";
import type { NamedSymbol, StopKernel } from "../../src/stop/kernel-parts.ts";
import { makeStop } from "../../src/stop/make-stop.ts";
import { neverStoppedBecause } from "../../src/stop/never-stopped.ts";
import { parseWanted } from "../../src/stop/request.ts";
import type { ReturnType } from "../../src/stop/return-type.ts";
import { firstUse } from "../../src/stop/trusted-result.ts";
import { assemble } from "../fixtures/compile.ts";
import type { EncodedType } from "../kernel/btf-encoder.ts";
import { kernelTypes, stopKernel } from "./stop-kernel.ts";

const int: ReturnType = { kind: "integer", text: "int", bytes: 4, signed: true };
const nothing: ReturnType = { kind: "void" };
const pointer: ReturnType = { kind: "pointer", text: "void *" };

describe("by their names", () => {
  test("functions that the life of a stop, or a machine without work, goes through are refused", () => {
    for (const name of [
      // Linux 6.1: a random run ended in a panic with the first of these.
      ...[
        "get_nohz_timer_target",
        "get_vfs_caps_from_disk",
        "synchronize_net",
        "idle_cpu",
        "account_process_tick",
        "psi_task_switch",
        "run_ksoftirqd",
      ],
      ...["flat_send_IPI_mask", "perf_event_task_tick", "__text_poke", "kernel_text_address", "insn_decode"],
      ...["find_module_all", "module_enforce_rwx_sections", "set_memory_x", "copy_from_kernel_nofault", "d_alloc"],
      ...["alloc_fd", "generic_perform_write", "pid_revalidate", "proc_fill_cache", "chrdev_open", "exit_rcu"],
      ...["fpregs_mark_activate", "futex_hash", "set_cred_ucounts", "inc_rlimit_ucounts", "pgd_alloc", "map_vdso"],
      ...["__check_object_size", "vm_normal_page", "policy_node", "crng_make_state", "msg_add_dict_text"],
      ...[
        "notifier_call_chain",
        "__traceiter_sched_switch",
        "param_get_ulong",
        "smpboot_thread_fn",
        "__kthread_parkme",
      ],
      // Linux 7.3.
      ...[
        "__klp_sched_try_switch",
        "raw_irqentry_exit_cond_resched",
        "__alloc_frozen_pages_noprof",
        "tmigr_cpu_activate",
      ],
      ...["idempotent_init_module", "do_file_open", "anon_pipe_read", "execmem_alloc_rw", "task_exec_state_copy"],
      ...[
        "do_vmi_align_munmap",
        "vms_gather_munmap_vmas",
        "pidfs_add_pid",
        "barn_replace_empty_sheaf",
        "__file_ref_put",
      ],
      // What kmend itself calls.
      ...["__x64_sys_readlink", "__x64_sys_eventfd2", "__x64_sys_newuname", "__x64_sys_clock_nanosleep"],
    ])
      expect(neverStoppedBecause(name, int), name).toBeTypeOf("string");
  });

  test("functions without a result that end something or wake who waits are refused, and others of such names are not", () => {
    for (const name of ["foo_detach_all", "foo_net_exit", "foo_end_io", "foo_work_fn", "foo_done"]) {
      expect(neverStoppedBecause(name, nothing), name).toContain("cannot report a failure");
      expect(neverStoppedBecause(name, int), name).toBeUndefined();
    }
    for (const name of ["css_task_iter_advance", "sock_init_data", "mpi_addm", "foo_list_add"])
      expect(neverStoppedBecause(name, nothing), name).toContain("what its caller uses next");
    expect(neverStoppedBecause("xen_write_cr4", nothing)).toContain("privileged");
    // Not even root may take the stop back without it.
    for (const name of ["capable", "ns_capable_noaudit", "has_capability"])
      expect(neverStoppedBecause(name, { kind: "bool", text: "bool" }), name).toContain("decides what is allowed");
    for (const name of ["foo_release", "foo_unregister_notifier", "foo_remove"])
      expect(neverStoppedBecause(name, int), name).toContain("most callers ignore its result");
    expect(neverStoppedBecause("foo_resume_noirq", int)).toContain("wakes what sleeps");
    expect(neverStoppedBecause("foo_send", nothing)).toBeUndefined();
  });

  test("pointers that nobody checks are refused", () => {
    expect(neverStoppedBecause("btf_type_by_id", pointer)).toContain("without a check");
    expect(neverStoppedBecause("bit_waitqueue", pointer)).toBeTypeOf("string");
    expect(neverStoppedBecause("to_cxl_port", pointer)).toContain("without a check");
    expect(neverStoppedBecause("select_fallback_rq", int)).toContain("number of a processor");
    expect(neverStoppedBecause("tomoyo_file_open", int)).toContain("decides what is allowed");
  });

  test("what closes a feature is not refused", () => {
    for (const name of [
      ...["kexec_load_check", "emulate_instruction", "uprobe_register", "pipe_ioctl", "thread_call", "lfoo_init"],
      ...["n_tty_write", "timerfd_ioctl", "__x64_sys_madvise", "__x64_sys_prctl", "do_madvise", "keyctl_set_timeout"],
    ])
      expect(neverStoppedBecause(name, int), name).toBeUndefined();
  });
});

/** A made-up kernel with one more function `called(parameters)`; types 15 and on are those of the parameters. */
function kernelWith(
  { returns, parameters, tagged = false }: { returns: number; parameters: readonly number[]; tagged?: boolean },
  types: readonly EncodedType[] = [],
  symbol: Partial<NamedSymbol> = {},
): StopKernel {
  const tail = parameters.map((type, at) => [`p${at}`, type] as const);
  const prototype = 15 + types.length;
  const further: EncodedType[] = [
    ...types,
    { kind: BtfKind.funcProto, word: returns, tail },
    { kind: BtfKind.func, name: "called", word: prototype, count: 1 },
    ...(tagged ? [{ kind: BtfKind.declTag, name: "bpf_kfunc", word: prototype + 1, tail: [[0xffff_ffff]] }] : []),
  ];
  const kernel = stopKernel({}, kernelTypes(further));
  const own: NamedSymbol = { type: "T", traceable: true, after: "x", ...symbol };
  return { ...kernel, symbolsNamed: (name) => (name === "called" ? [own] : kernel.symbolsNamed(name)) };
}

async function outcome(kernel: StopKernel, text = "called"): Promise<string> {
  const result = await makeStop(kernel, { functions: [parseWanted(text)] });
  if (result.outcome === "made") return result.functions.map(({ returns }) => returns).join();
  return result.refusals.map(({ code, why, hint }) => `${code}: ${why}; ${hint}`).join("\n");
}

/** A structure, or a typedef of one without a name, and pointers to it. */
const pointerTo = (name: string): EncodedType[] => [
  { kind: BtfKind.struct, name, word: 8, tail: [["x", 3, 0]] },
  { kind: BtfKind.ptr, word: 15 },
  { kind: BtfKind.const, word: 16 },
  { kind: BtfKind.ptr, word: 17 },
];

describe("by what they work on", () => {
  test("functions are refused, through pointers to pointers and typedefs", async () => {
    expect(await outcome(kernelWith({ returns: 1, parameters: [1, 16] }, pointerTo("cfs_rq")))).toContain(
      "NEVER_STOPPED: it works on what the scheduler keeps",
    );
    expect(await outcome(kernelWith({ returns: 1, parameters: [18] }, pointerTo("folio")))).toContain(
      "pages of memory",
    );
    const typedef: EncodedType[] = [
      { kind: BtfKind.struct, word: 8, tail: [["pte", 3, 0]] },
      { kind: BtfKind.typedef, name: "pte_t", word: 15 },
      { kind: BtfKind.ptr, word: 16 },
    ];
    expect(await outcome(kernelWith({ returns: 1, parameters: [17] }, typedef))).toContain("pages of memory");
    expect(await outcome(kernelWith({ returns: 1, parameters: [16] }, pointerTo("socket")))).toBe("-EPERM");
    // Not a pointer.
    expect(await outcome(kernelWith({ returns: 1, parameters: [15] }, pointerTo("cfs_rq")))).toBe("-EPERM");
  });

  test("some only if they report no failure", async () => {
    const inode = pointerTo("inode");
    expect(await outcome(kernelWith({ returns: 0, parameters: [16] }, inode))).toContain("NEVER_STOPPED: file systems");
    expect(await outcome(kernelWith({ returns: 1, parameters: [16] }, inode))).toBe("-EPERM");
    const file = pointerTo("seq_file");
    expect(await outcome(kernelWith({ returns: 5, parameters: [16, 5] }, file))).toContain("walk of a seq_file");
    expect(await outcome(kernelWith({ returns: 0, parameters: [16, 5] }, file))).toContain("walk of a seq_file");
    expect(await outcome(kernelWith({ returns: 1, parameters: [16, 5] }, file))).toBe("-EPERM");
    // arch_report_meminfo() and the like only add text.
    expect(await outcome(kernelWith({ returns: 0, parameters: [16] }, file))).toBe("nothing");
  });

  test("modules only as what is worked on: drivers name themselves in a later parameter", async () => {
    const module: EncodedType[] = [{ kind: BtfKind.ptr, word: 12 }];
    expect(await outcome(kernelWith({ returns: 1, parameters: [15, 1] }, module))).toContain("modules are loaded");
    expect(await outcome(kernelWith({ returns: 1, parameters: [5, 15] }, module))).toBe("-EPERM");
  });

  test("what a notifier chain calls needs a value", async () => {
    const kernel = kernelWith({ returns: 1, parameters: [16, 3, 5] }, pointerTo("notifier_block"));
    expect(await outcome(kernel)).toContain("NO_ANSWER: it is called by a notifier chain");
    expect(await outcome(kernel, "called=0")).toBe("0");
    expect(await outcome(kernelWith({ returns: 1, parameters: [16] }, pointerTo("notifier_block")))).toBe("-EPERM");
  });

  test("threads and what other processors call are refused by their prototype", async () => {
    const plain: EncodedType[] = [{ kind: BtfKind.ptr, word: 0 }];
    for (const returns of [0, 1])
      expect(await outcome(kernelWith({ returns, parameters: [15] }, plain))).toContain("thread of its own");
    expect(await outcome(kernelWith({ returns: 4, parameters: [15] }, plain))).toBe("false");
    expect(await outcome(kernelWith({ returns: 1, parameters: [15, 1] }, plain))).toBe("-EPERM");
    expect(await outcome(kernelWith({ returns: 1, parameters: [5] }, plain))).toBe("-EPERM");
  });

  test("functions for BPF programs are refused by the tag of their types", async () => {
    expect(await outcome(kernelWith({ returns: 5, parameters: [], tagged: true }))).toContain(
      "NEVER_STOPPED: BPF programs call it",
    );
    expect(await outcome(kernelWith({ returns: 5, parameters: [] }))).toBe("NULL");
  });
});

describe("by what callers do with the result", () => {
  const use = (code: string): string | undefined => {
    const text = new ElfReader(assemble(code)).section(".text")?.data ?? new Uint8Array(0);
    const effects = x86_64.effects?.();
    return effects && firstUse(effects, text);
  };

  test("it is an address or an index until something compares it", () => {
    for (const code of [
      ...[
        "mov 8(%rax),%rdi",
        "mov %rax,%rbx; mov %rdi,(%rbx)",
        "cltq; mov table(,%rax,8),%rdx",
        "lea 8(%rax),%rdi; mov (%rdi),%rax",
      ],
      // __mod_timer() of Linux 6.1 behind get_nohz_timer_target().
      "mov $0x20b00,%rdx; mov %eax,%eax; and $0x80000,%r15d; mov table(,%rax,8),%rbx",
      "mov %rax,(%rsp); mov (%rax),%rcx",
    ])
      expect(use(code), code).toBe("address");
    for (const code of [
      ...["test %rax,%rax; je 1f; mov 8(%rax),%rdi; 1: ret", "xor %eax,%eax; mov (%rax),%rdi"],
      ...["mov %rax,%rbx; call f; mov (%rbx),%rax; f: ret", "mov (%rbx),%rax; mov (%rax),%rax", "ret; mov (%rax),%rax"],
      "lea 8(%rax),%rdi; ret",
    ])
      expect(use(code), code).toBe("other");
  });

  test("or callers look for an error pointer", () => {
    for (const code of ["cmp $-4096,%rax", "mov %rax,%r12; cmp $-4096,%r12", "cmp $-4095,%rbx; ret"])
      expect(use(code), code).toBe(code.includes("rbx") ? "other" : "error");
    for (const code of ["cmp $-4096,%eax", "test %rax,%rax; cmp $-4096,%rax", "cmp $-1,%rax"])
      expect(use(code), code).toBe("other");
  });

  test("a pointer is refused whatever it is to be, a number needs a value", async () => {
    const uses: Record<string, "address" | "error"> = { hasty: "address", looking: "error" };
    const calls = (...from: string[]): Partial<NamedSymbol> => ({
      calls: () => from.map((name) => ({ from: name, looksAtResult: true, firstUse: uses[name] ?? "other" })),
    });
    const pointers = kernelWith({ returns: 5, parameters: [] }, [], calls("careful", "hasty"));
    for (const text of ["called", "called=ERR_PTR(-EPERM)"])
      expect(await outcome(pointers, text)).toContain("NEVER_STOPPED: hasty takes what it returns for an address");
    const numbers = kernelWith({ returns: 1, parameters: [] }, [], calls("careful", "hasty"));
    expect(await outcome(numbers)).toContain("hasty takes what it returns for an index or address without a check");
    expect(await outcome(numbers, "called=0")).toBe("0");
    expect(await outcome(kernelWith({ returns: 5, parameters: [] }, [], calls("careful")))).toBe("NULL");
    const errors = kernelWith({ returns: 5, parameters: [] }, [], calls("careful", "looking"));
    expect(await outcome(errors)).toContain("NO_ANSWER: it returns error pointers, for which looking looks");
    expect(await outcome(errors, "called=ERR_PTR(-EIO)")).toBe("ERR_PTR(-EIO)");
  });
});
