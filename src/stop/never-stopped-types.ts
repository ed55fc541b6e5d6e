import type { Prototype } from "./return-type.ts";

interface NeverStoppedTypes {
  /** Structures and typedefs that a parameter points to. */
  readonly takes: readonly string[];
  /** Only of functions that return this. */
  readonly returns?: Prototype["returns"]["kind"];
  /** What would happen, as a clause. */
  readonly why: string;
}

/**
 * What a function works on tells what it is part of, also where its name does not: `set_rq_online`, `place_entity`, `mask_lapic_irq`. Structures are those of
 * Linux 6.1, 6.12 and 7.x.
 */
const neverStopped: readonly NeverStoppedTypes[] = [
  {
    takes: words(
      "rq cfs_rq rt_rq dl_rq scx_rq sched_entity sched_rt_entity sched_dl_entity sched_ext_entity scx_sched scx_dispatch_q sched_domain sched_group lb_env root_domain task_group cpudl cpupri dl_bw cfs_bandwidth rt_bandwidth sched_class",
    ),
    why: "it works on what the scheduler keeps of processors and tasks: tasks would never run again, or run twice",
  },
  {
    takes: words(
      "wait_queue_head wait_queue_entry swait_queue_head swait_queue wake_q_head completion rcuwait callback_head rcu_work work_struct delayed_work kthread_work kthread_worker irq_work tasklet_struct softirq_action worker worker_pool pool_workqueue workqueue_struct workqueue_attrs smp_hotplug_thread cpuhp_cpu_state",
    ),
    why: "it is deferred work or a wait: tasks would wait for ever for what it does not do, or go on too early",
  },
  {
    takes: words(
      "irq_desc irq_data irq_chip irq_common_data irqaction irq_domain irq_matrix irq_cfg msi_msg msi_desc irq_chip_generic",
    ),
    why: "it controls interrupts: devices would get none, or the same one for ever",
  },
  {
    takes: words(
      "timer_list timer_base hrtimer hrtimer_clock_base hrtimer_cpu_base timerqueue_node timerqueue_head tick_sched tick_device timekeeper tk_read_base clock_event_device clocksource k_itimer posix_cputimers timer_group tmigr_group tmigr_cpu",
    ),
    why: "timers rely on it: what they are to start would not happen, or not again",
  },
  {
    takes: words(
      "page folio slab kmem_cache kmem_cache_node zone zonelist pglist_data per_cpu_pages lruvec mmu_gather compact_control scan_control lru_gen_mm_walk pte_t pmd_t pud_t p4d_t pgd_t swap_info_struct swap_cluster_info vmap_area vm_struct rmap_walk_control page_vma_mapped_walk hstate page_pool flush_tlb_info cpa_data readahead_control writeback_control wb_writeback_work bdi_writeback buffer_head",
    ),
    why: "it works on pages of memory, which it would leave locked, lost, unwritten or in use twice",
  },
  {
    takes: words("vm_area_struct mm_struct mempolicy anon_vma vma_iterator mmu_notifier mmu_notifier_range"),
    returns: "void",
    why: "it keeps account of the memory of programs and reports no failure: callers go on with what is not so",
  },
  {
    takes: words("xarray xa_state maple_tree ma_state rb_root rb_root_cached rb_node llist_head idr ida"),
    returns: "void",
    why: "it changes a tree or list that others read: entries would be lost, or stay after they are freed",
  },
  {
    takes: words(
      "spinlock raw_spinlock mutex rw_semaphore semaphore rt_mutex rt_mutex_base rt_mutex_waiter percpu_rw_semaphore ld_semaphore lockref qspinlock qrwlock ww_mutex ww_acquire_ctx futex_q futex_hash_bucket futex_pi_state srcu_struct srcu_data rcu_data rcu_node rcu_tasks rcu_gp_oldstate lock_class_key",
    ),
    why: "it works on a lock of its caller, who goes on as if it had been taken or released",
  },
  {
    takes: words(
      "klp_patch klp_object klp_func klp_ops ftrace_ops ftrace_regs ftrace_hash dyn_ftrace ftrace_page ftrace_func_entry jump_entry static_key static_key_mod static_call_key static_call_site kprobe kretprobe optimized_kprobe bpf_trampoline alt_instr tracepoint",
    ),
    why: "code is changed at run time with it, so the stop could not be taken back",
  },
  {
    takes: words("load_info module_attribute module_kobject kernel_param module_memory kernel_symbol"),
    why: "modules and their parameters rely on it, those of the stop too",
  },
  {
    takes: words(
      "kernfs_node kernfs_open_file kernfs_root kernfs_iattrs linux_binprm ctl_dir ctl_table_header nameidata",
    ),
    why: "files of the kernel are found with it and programs started, also that which would take the stop back",
  },
  {
    takes: words("pt_regs exception_table_entry stack_info unwind_state mce perf_sample_data cpu_hw_events"),
    why: "it handles an exception or interrupt, or what these found: every processor may depend on it at any time",
  },
  {
    takes: words("perf_event pmu perf_event_context perf_cpu_context perf_event_pmu_context"),
    returns: "void",
    why: "performance events are started and stopped with it in interrupts that cannot be masked and at every switch of tasks",
  },
  {
    takes: words("fpu fpstate fpu_guest xregs_state fxregs_state"),
    why: "it saves or restores registers of tasks: programs would go on with those of others",
  },
  {
    takes: words(
      "console printk_ringbuffer prb_reserved_entry nbcon_context nbcon_write_context vc_data uart_port uart_8250_port",
    ),
    returns: "void",
    why: "the console relies on it, to which the kernel reports its faults, the stop's own messages too",
  },
  {
    takes: words(
      "cpuidle_device cpuidle_driver cpuidle_state cpufreq_policy update_util_data sched_avg psi_group psi_group_cpu",
    ),
    returns: "void",
    why: "the idle loop or the scheduler calls it with interrupts off",
  },
  {
    takes: words("signal_struct sighand_struct sigpending ksignal kernel_clone_args files_struct fs_struct nsproxy"),
    why: "tasks are made, get their signals and end with it: programs would hang, or run with what belongs to others",
  },
  {
    takes: words(
      "bio request bio_set blk_mq_hw_ctx blk_mq_ctx blk_plug rq_qos blkcg_gq throtl_grp journal_s handle_s transaction_s kiocb io_kiocb crypto_async_request",
    ),
    returns: "void",
    why: "requests that are under way would never end, and who waits for them hangs",
  },
  {
    takes: words(
      "atomic_notifier_head blocking_notifier_head raw_notifier_head srcu_notifier_head percpu_ref kref refcount_struct",
    ),
    why: "parts of the kernel hear of each other's end through it: they would use what was freed",
  },
  {
    takes: words("inode super_block dentry mount"),
    returns: "void",
    why: "file systems keep their caches with it and get no failure from it: data would be lost, or used after it was freed",
  },
  {
    takes: words("napi_struct softnet_data dst_entry neighbour netdev_queue Qdisc"),
    returns: "void",
    why: "packets are queued and sent with it, and callers go on as if they had been",
  },
];

/** `file_operations` and the like are read under locks that the first function takes and the last one releases: fs/seq_file.c, traverse(). */
const iterator = "it starts or ends the walk of a seq_file, and takes or releases the lock of it for its caller";

const callback =
  "it runs in a thread of its own or on other processors, and those who started it wait for it, or stop it later";

/** `void (void *)` is what smp_call_function() and devm_add_action() take, `int (void *)` what kthread_run() and stop_machine() take. */
function isCallback({ parameters: [only, ...others], returns, takesPlainPointer }: Prototype): boolean {
  return only !== undefined && others.length === 0 && takesPlainPointer && (returns.kind === "void" || isInt(returns));
}

function isInt(returns: Prototype["returns"]): boolean {
  return returns.kind === "integer" && returns.text === "int";
}

function words(text: string): readonly string[] {
  return text.split(" ");
}

/** Why a function must not be stopped, by what it works on; undefined where that tells nothing. */
export function neverStoppedForTypes(prototype: Prototype): string | undefined {
  const { parameters, returns, isKfunc } = prototype;
  if (isKfunc) return "BPF programs call it, and the verifier lets them rely on what it does and returns";
  const [first] = parameters;
  if (isCallback(prototype)) return callback;
  const isWalk = first?.has("seq_file") === true && parameters.length > 1;
  if (isWalk && (returns.kind === "void" || returns.kind === "pointer")) return iterator;
  // Drivers hand themselves over as a module when they register; what works on modules has it first.
  if (first?.has("module") === true)
    return "modules are loaded and unloaded with it, so the stop could not be taken back";
  return neverStopped.find(
    (row) =>
      (row.returns === undefined || row.returns === returns.kind) &&
      row.takes.some((name) => parameters.some((parameter) => parameter.has(name))),
  )?.why;
}

/**
 * Whether a function is called by a notifier chain, `int (struct notifier_block *, unsigned long, void *)`: an error number has the bit `NOTIFY_STOP_MASK` of
 * include/linux/notifier.h, so those behind it would not be called.
 */
export function isNotifier({ parameters, returns }: Prototype): boolean {
  return returns.kind === "integer" && parameters.length === 3 && parameters[0]?.has("notifier_block") === true;
}
