import { constants } from "node:os";
import { describe, expect, test } from "vitest";
import { errorNumberOf } from "../../src/stop/error-numbers.ts";
import { makeStop } from "../../src/stop/make-stop.ts";
import { neverStoppedBecause } from "../../src/stop/never-stopped.ts";
import { parseWanted } from "../../src/stop/request.ts";
import { stopKernel } from "./stop-kernel.ts";

/** The refusal of a function, as `CODE: why`, or what it is to return. */
async function outcome(text: string): Promise<string> {
  const result = await makeStop(stopKernel(), { functions: [parseWanted(text)] });
  if (result.outcome === "made") return result.functions.map(({ returns }) => returns).join();
  return result.refusals.map(({ code, why, hint }) => `${code}: ${why}; ${hint}`).join("\n");
}

describe("names", () => {
  test("are read with module, position and value", () => {
    expect(parseWanted("can-raw:raw_ioctl,2=-EACCES")).toEqual({
      ...{ name: "raw_ioctl", object: "can_raw", sympos: 2, returns: "-EACCES" },
    });
    expect(parseWanted("f.isra.0", { object: "x", sympos: 3, returns: "0" })).toEqual({
      ...{ name: "f.isra.0", object: "x", sympos: 3, returns: "0" },
    });
    for (const text of ["", "a b", "f,0", "f=", "1f", "f;g"]) expect(() => parseWanted(text)).toThrow("does not name");
  });

  test("are looked for among the functions of the object", async () => {
    expect(await outcome("nothing_there")).toContain(
      "NO_SUCH_FUNCTION: the kernel itself has no function of this name",
    );
    expect(await outcome("jiffies")).toContain("NO_SUCH_FUNCTION");
    expect(await outcome("frob")).toContain("there is frob.isra.0, __x64_sys_frob");
    expect(await outcome("fixed:f")).toContain("has fixed built in");
    expect(await outcome("zram:f")).toContain("ships no module zram");
    expect(await outcome("loop:f")).toContain("the module loop has no function of this name");
    expect(await outcome("loop:init_module")).toContain("INIT_CODE");
  });

  test("of which there are several need a position, which counts all symbols", async () => {
    expect(await outcome("twin_call")).toContain("AMBIGUOUS_SYMBOL: the target kernel has 3 symbols of this name");
    expect(await outcome("twin_call,2=0")).toContain("none of them that is a function is number 2");
    expect(await outcome("twin_call,4=0")).toContain("--sympos takes a number from 1 to 3");
    expect(await outcome("twin_call,3")).toContain("do not say whose type is known");
    expect(await outcome("twin_call,3=-EIO")).toBe("-EIO");
  });
});

describe("answers", () => {
  test("follow from the type where it says enough", async () => {
    expect(await outcome("int_call")).toBe("-EPERM");
    expect(await outcome("long_call")).toBe("-EPERM");
    expect(await outcome("bool_call")).toBe("false");
    expect(await outcome("pointer_call")).toBe("NULL");
    expect(await outcome("void_call")).toBe("nothing");
    expect(await outcome("bits_call")).toContain("NO_ANSWER: it returns unsigned int");
    expect(await outcome("verdict_call")).toContain("--return DROP");
    expect(await outcome("pair_call")).toContain("not in the register for results");
  });

  test("that are given have to fit the type", async () => {
    for (const [text, told] of [
      ["int_call=0x7fffffff", "0x7fffffff"],
      ["int_call=-2147483648", "-2147483648"],
      ["long_call=-9223372036854775808", "-9223372036854775808"],
      ["bits_call=4294967295", "4294967295"],
      ["verdict_call=ACCEPT", "ACCEPT"],
      ["pointer_call=ERR_PTR(-ENOSYS)", "ERR_PTR(-ENOSYS)"],
      ["bool_call=true", "true"],
    ])
      expect(await outcome(text as string)).toBe(told);
    expect(await outcome("int_call=0x80000000")).toContain("does not fit into int (signed, 32 bits)");
    expect(await outcome("bits_call=-EPERM")).toContain("does not fit into unsigned int (unsigned, 32 bits)");
    expect(await outcome("int_call=EPERM")).toContain("negative numbers: -EPERM");
    expect(await outcome("int_call=-ENOSUCH")).toContain("no number that is known");
    expect(await outcome("pointer_call=-EPERM")).toContain("ERR_PTR(-EPERM)");
    expect(await outcome("pointer_call=4096")).toContain("not a value for char *");
    expect(await outcome("bool_call=2")).toContain("not a value of bool");
    expect(await outcome("void_call=0")).toContain("the function returns nothing");
  });

  test("errors have the numbers of the kernel", async () => {
    const result = await makeStop(stopKernel(), { functions: [parseWanted("int_call=-EACCES")] });
    expect(result).toMatchObject({ functions: [{ answer: { value: -BigInt(constants.errno.EACCES), bytes: 4 } }] });
    for (const [name, number] of Object.entries(constants.errno)) expect(errorNumberOf(name), name).toBe(number);
    expect(["ENOKEY", "EHWPOISON", "EDEADLOCK", "-", "ENOTSUPP"].map(errorNumberOf)).toEqual([
      ...[126, 133, 35, undefined, undefined],
    ]);
  });
});

describe("what is not stopped", () => {
  test("is refused with the reason", async () => {
    expect(await outcome("mutex_lock")).toContain("NEVER_STOPPED: locks would not be taken");
    expect(await outcome("schedule")).toContain("NEVER_STOPPED: the scheduler relies on it");
    expect(await outcome("frob_get")).toContain("takes a reference for its caller");
    expect(await outcome("frob_put")).toContain("gives something back");
    expect(await outcome("__x64_sys_exit")).toContain("cannot do without this system call");
    expect(await outcome("frob.part.0")).toContain("stop frob instead");
    expect(await outcome("format_call")).toContain("any number of arguments");
    expect(await outcome("untraced_call")).toContain("NOT_TRACEABLE: ftrace cannot redirect this function");
    expect(await outcome("__x64_sys_frob")).toBe("-EPERM");
  });

  test("a function whose code has error pointers needs a value", async () => {
    const kernel = stopKernel();
    const code = (hex: string) => ({
      ...kernel,
      symbolsNamed: (name: string) =>
        kernel.symbolsNamed(name).map((symbol) => ({ ...symbol, code: Buffer.from(hex, "hex") })),
    });
    const made = async (hex: string, text: string) => makeStop(code(hex), { functions: [parseWanted(text)] });
    // mov $-12,%rax; mov $-12,%r12; mov $-4096,%rax; mov $-12,%eax
    for (const hex of ["90904048c7c0f4ffffff", "49c7c4f4ffffff"])
      expect(await made(hex, "pointer_call")).toMatchObject({ refusals: [{ code: "NO_ANSWER" }] });
    for (const hex of ["48c7c000f0ffff", "b8f4ffffff", "48c7c0f4ff"])
      expect((await made(hex, "pointer_call")).outcome).toBe("made");
    expect((await made("48c7c0f4ffffff", "pointer_call=ERR_PTR(-ENOMEM)")).outcome).toBe("made");
    expect((await made("48c7c0f4ffffff", "int_call")).outcome).toBe("made");
  });

  test("all refusals of a run are reported, and nothing is made", async () => {
    const names = ["int_call", "mutex_lock", "nothing_there", "int_call"];
    const result = await makeStop(stopKernel(), { functions: names.map((name) => parseWanted(name)) });
    const codes = result.outcome === "refused" ? result.refusals.map(({ code }) => code) : [];
    expect(codes).toEqual(["NEVER_STOPPED", "NO_SUCH_FUNCTION", "NO_ANSWER"]);
  });

  test("is what each part of the kernel stands on", () => {
    for (const name of [
      ...["do_syscall_64", "exc_page_fault", "do_idle", "default_do_nmi", "nmi_handle", "__schedule", "try_to_wake_up"],
      ...["ftrace_ops_list_func", "klp_try_switch_task", "load_module", "rcu_core", "synchronize_rcu", "__kmalloc"],
      ...[
        "kmem_cache_alloc",
        "__alloc_pages",
        "mutex_lock_interruptible",
        "_raw_spin_lock",
        "down_read",
        "vprintk_emit",
      ],
      ...[
        "copy_files",
        "cgroup_fork",
        "get_signal",
        "handle_pte_fault",
        "filemap_fault",
        "__refill_stock",
        "swap_cache_get_folio",
      ],
      ...[
        "xas_load",
        "memcpy",
        "strlen",
        "snprintf",
        "__alloc_skb",
        "skb_put",
        "tk_set_wall_to_mono",
        "iterate_dir",
        "pipe_read",
      ],
      ...["x64_sys_call", "kthread", "kthreadd", "__wake_up", "do_task_dead", "task_work_run", "__x64_sys_arch_prctl"],
      ...["bio_endio", "blk_mq_free_request", "apic_ack_edge", "__local_bh_enable_ip", "mm_take_all_locks", "evict"],
      ...["hugetlb_vma_lock_write", "__lock_task_sighand", "unlock_page", "trylock_super", "prepare_kernel_cred"],
      ...["console_unlock", "hrtimer_interrupt", "handle_irq_event", "fget", "dput", "igrab", "sock_hold", "do_exit"],
    ])
      expect(neverStoppedBecause(name, undefined), name).toBeTypeOf("string");
    for (const name of [
      ...["ptrace_attach", "userfaultfd_ioctl", "__x64_sys_userfaultfd", "hash_sendmsg", "alg_bind", "nft_do_chain"],
      ...["n_tty_ioctl", "fuse_dev_ioctl", "ksmbd_conn_handler_loop", "tls_setsockopt", "do_io_uring", "vsock_connect"],
      ...[
        "handle_userfault",
        "mfill_atomic",
        "sctp_setsockopt",
        "strp_recv",
        "tun_get_user",
        "tcf_exts_init_ex",
        "do_madvise",
      ],
      ...[
        "packet_setsockopt",
        "rxrpc_sendmsg",
        "nf_tables_newrule",
        "io_uring_setup",
        "bpf_prog_load",
        "create_user_ns",
      ],
    ])
      expect(neverStoppedBecause(name, { kind: "integer", text: "int", bytes: 4, signed: true }), name).toBeUndefined();
  });
});
