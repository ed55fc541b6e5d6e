import type { ReturnType } from "./return-type.ts";

interface NeverStopped {
  readonly name: RegExp;
  /** Only of functions that return this. */
  readonly returns?: ReturnType["kind"];
  /** What would happen, as a clause. */
  readonly why: string;
}

/** System calls have wrappers of their own, whose callers are programs: an error is what these look for. */
const systemCall = /^__(x64|ia32|ia32_compat|x32_compat|do|se|do_compat|se_compat)_sys_/;

/** System calls without which no program runs or ends. */
const vitalCall =
  /_sys_(exit|exit_group|rt_sigreturn|sigreturn|rt_sigaction|rt_sigprocmask|execve|execveat|wait4|waitid|waitpid|brk|mmap|mmap_pgoff|munmap|mprotect|mremap|read|write|readv|writev|pread64|pwrite64|open|openat|openat2|close|futex|futex_time64|clone|clone3|fork|vfork|arch_prctl|set_thread_area|set_tid_address|set_robust_list|prlimit64|getdents|getdents64|fstat|stat|lstat|newfstat|newstat|newlstat|newfstatat|statx|lseek|ioctl|fcntl|fcntl64|dup|dup2|dup3|pipe|pipe2|poll|ppoll|select|pselect6|epoll_create1|epoll_ctl|epoll_wait|epoll_pwait|getpid|getppid|gettid|getuid|geteuid|kill|tgkill|restart_syscall|reboot|init_module|finit_module|delete_module)$/;

/**
 * Functions that are not stopped, whatever they return. A row says what would come of it; names are those of Linux 6.1, 6.12 and 7.x.
 */
const neverStopped: readonly NeverStopped[] = [
  {
    name: vitalCall,
    why: "programs, and whoever wants to take the stop back, cannot do without this system call",
  },
  {
    name: /^((x64|x32|ia32)_sys_call|do_syscall_64|do_int80_|do_fast_syscall|syscall_(enter|exit|trace)|(exit|enter)_(to|from)_user_mode|irqentry_|asm_|exc_|sysvec_|common_interrupt|spurious_interrupt|error_entry|ret_from_fork|do_exit$|do_group_exit|make_task_dead|do_error_trap|do_user_addr_fault|handle_mm_fault|exc_page_fault|fixup_exception|search_exception|restore_fpregs|switch_fpu|fpu__)/,
    why: "it is part of the way into the kernel and out of it: every processor would hang or crash",
  },
  {
    name: /^(cpu_idle|do_idle|cpuidle_|arch_cpu_idle|default_idle|mwait_idle|intel_idle|acpi_idle|play_idle|tick_nohz_|cpu_startup_entry)/,
    why: "processors without work wait in it",
  },
  {
    name: /(^|_)nmi(_|$)/,
    why: "it handles interrupts that cannot be masked, where nothing may go wrong",
  },
  {
    name: /^(_{0,2}schedule|schedule($|_)|preempt_schedule|try_to_wake_up|ttwu_|wake_up|default_wake_function|autoremove_wake|prepare_to_wait|finish_wait|sched_|__sched_|pick_next_|pick_task_|put_prev_|set_next_|enqueue_|dequeue_|update_rq_|update_curr|activate_task|deactivate_task|finish_task_switch|context_switch|__switch_to|check_preempt|resched_|migrate_|select_task_rq|task_tick_|load_balance|balance_|yield_task_|kthread(_|d$|$)|do_task_dead|io_schedule|_{0,2}cond_resched|_{0,2}wake_up|_{0,2}wake_q|set_cpus_allowed|_{0,2}set_cpus_allowed|set_user_nice|task_work_|insert_work|create_worker|rescuer_thread|worker_|pwq_|wq_|queue_work|__queue_work|queue_delayed|process_one_work|worker_thread|flush_work|cancel_work|complete($|_)|wait_for_completion|swake_up|copy_process|kernel_clone|wake_up_new_task|release_task|__put_task_struct)/,
    why: "the scheduler relies on it: tasks would never run again, or run twice",
  },
  {
    name: /^(ftrace|__ftrace|arch_ftrace|function_graph|fgraph|return_to_handler|__fentry__|prepare_ftrace|trace_|tracing_|ring_buffer_|klp_|arch_klp|stack_trace_|arch_stack_walk|unwind_|__unwind|text_poke|arch_jump_label|jump_label|static_key|__static_call|static_call|kprobe|__kprobe|arch_prepare_kprobe)/,
    why: "live patching and ftrace themselves use it, so the stop could not be taken back",
  },
  {
    name: /^(vfs_(open|read|write|writev|readv|statx|fstat)$|do_sys_open|do_filp_open|path_openat|link_path_walk|filename_lookup|ksys_(read|write)|kernfs_|sysfs_|kobj_attr_|enabled_(show|store)$|transition_show$|seq_(read|file|open)|iterate_dir$|simple_lookup|dcache_readdir|d_lookup|lookup_(fast|slow|open)|step_into|walk_component|getname|do_dentry_open|alloc_(empty_)?file|get_unused_fd|_{0,2}fd_install|filp_(open|close)|get_pipe_inode$|alloc_pipe_info$|pipe_(read|write)$|proc_reg_|do_execve|bprm_|begin_new_exec|load_elf_binary|search_binary_handler|_?copy_(from|to)_user|do_pipe2$|create_pipe_files$|sock_alloc$|_{0,2}sock_create$|unix_(create|socketpair)$|file_free|alloc_inode|new_inode|evict$|iget|eventpoll_|ep_|do_epoll|do_eventfd|do_wait$|kernel_wait4|do_mmap$|vm_mmap)/,
    why: "the program that would take the stop back needs it to start, and to reach the kernel",
  },
  {
    name: /^(copy_(files|fs|mm|creds|thread|namespaces|sighand|signal|io)|dup_(mm|task|fd|mmap)|alloc_pid|free_pid|attach_pid|detach_pid|change_pid|cgroup_(fork|can_fork|post_fork|cancel_fork|exit|release|free)|exit_(mm|files|fs|signals|notify|itimers|task|thread|creds|io)|mm_(init|release|update)|mmput|wait_task_|wait_consider|do_notify_|get_signal|_{0,2}send_signal|complete_signal|signal_wake|dequeue_signal|recalc_sigpending|do_sigaction|_{0,2}set_(current_blocked|task_blocked)|set_user_sigmask|setup_rt_frame|restore_sigcontext|arch_do_signal|flush_(old_exec|signals|thread)|prepare_creds|prepare_kernel_cred|commit_creds|abort_creds|override_creds|revert_creds)/,
    why: "tasks are made, get their signals and end with it: programs would hang, or run with what belongs to others",
  },
  {
    name: /^(_{0,2}handle_mm_fault|handle_pte_fault|do_(anonymous|fault|swap|wp|read|cow|shared|numa|huge)_|wp_page|finish_fault|filemap_|_{0,2}filemap_|folio_|_{0,2}folio_|page_(add|remove|move|vma)|add_to_page_cache|delete_from_page_cache|swap_|_{0,2}swap_|swapin_|vma_|_{0,2}vma_|vm_area_|change_p(rotection|md|ud|4d|te)|split_vma|unmap_|zap_|free_pg|do_m(mmap|unmap|remap|protect)|mmap_region|insert_vm|rmap_|anon_vma|_{0,2}anon_vma|ptep_|pmdp_|lru_|_{0,2}lru_|mem_cgroup_|memcg_|obj_cgroup_|_{0,2}(refill|consume|drain)_(obj_)?stock|mark_page_accessed|set_page_dirty|workingset_|pagevec_)/,
    why: "memory of programs and files is mapped, read and written with it: data would be lost, or seen by others",
  },
  {
    name: /^(xa_|xas_|_{1,2}xa_|idr_|ida_|rb_|_{2}rb_|radix_tree_|mas_|mt_|mtree_|llist_|klist_|list_sort|rhashtable_|_{0,2}rht_|mem(cpy|set|move|cmp|dup)|_{0,2}memcpy|strn?(len|cpy|cmp|cat|chr|str|casecmp|pbrk|spn|dup|sep|im)|strl(cpy|cat)|strscpy|strrchr|kstr|vsn?printf|sn?printf|scnprintf|vscnprintf|bitmap_|_{0,2}bitmap_|_{0,2}find_(first|next|last)_bit|hweight|_{0,2}sw_hweight|sort$|sort_r$|bsearch|csum_|copy_page|clear_page|bio_|submit_bio|_{0,2}submit_bio|blk_mq_|_{0,2}rq_qos_|blk_(start|end|finish|account)|iov_iter_|_{0,2}copy_(to|from)_iter|kobject_|kset_|sg_|_{0,2}sg_|uuid_|get_random_|percpu_counter_|_{0,2}percpu_counter_)/,
    why: "all of the kernel calls it and relies on its work",
  },
  {
    name: /^(_{0,3}alloc_skb|_{0,2}build_skb|_{0,2}napi_(alloc|build)|_{0,2}k?free_skb|kfree_skb|_{0,2}consume_skb|skb_(release|put|push|pull|clone|copy|unlink|queue|dequeue|head|frag|trim|realloc|expand)|_{0,3}pskb_|pskb_|sk_(alloc|free|prot)|_{0,2}sk_(free|destruct|mem)|sock_(wfree|rfree|efree|def)|napi_|_{0,2}napi_|net_rx_action|net_tx_action|_{0,2}netif_receive|dev_hard_start|_{0,2}dev_queue_xmit|dst_(alloc|release|destroy)|neigh_(alloc|destroy))/,
    why: "all packets go through it: memory would be lost, and callers use what it did not make",
  },
  {
    name: /^(load_module|do_init_module|free_module|try_stop_module|module_(put|get|alloc|enable|memfree|finalize)|try_module_get|__module_get|apply_relocate|kallsyms_|module_kallsyms|__symbol_)/,
    why: "modules are loaded and unloaded with it, so the stop could not be taken back",
  },
  {
    name: /^(_{0,2}s?rcu_|s?rcu_|call_s?rcu|kfree_rcu|kvfree_call_rcu|synchronize_s?rcu|__synchronize_srcu|__call_rcu|note_gp_|force_qs|invoke_rcu)/,
    why: "memory that is in use would be freed, or none would ever be freed (RCU)",
  },
  {
    name: /^(k[vmzre]*alloc|__k[vmzre]*alloc|allocate_slab|new_slab|setup_object|_{0,2}get_user_pages|pin_user_pages|kfree|kvfree|kmem_cache|_{0,2}kmem_|__{0,2}slab|__slab|slab_|slub_|_{0,2}alloc_pages|_{0,2}free_pages?|free_(unref_)?(page|folio)|_{0,2}folio_alloc|get_page_from_freelist|rmqueue|vmalloc|__vmalloc|vfree|__vfree|pcpu_|__alloc_percpu|free_percpu|mempool_|dma_pool_|_{0,2}put_page|_{0,2}folio_put|release_pages|page_counter|try_charge|shrink_|kswapd|out_of_memory|oom_|pte_alloc|__pte_alloc|__p[um4g]d_alloc|flush_tlb|tlb_|native_flush_tlb)/,
    why: "the memory allocator relies on it: memory would be lost or given out twice",
  },
  {
    name: /^(mutex_|__mutex|ww_mutex|rt_mutex|__rt_mutex|rt_spin|rt_read|rt_write|_raw_|__raw_|raw_spin|queued_|native_queued|pv_|__pv_|rwsem_|_{0,2}down($|_)|_{0,2}up($|_)|percpu_(down|up)|__percpu_(down|up)|lock_|_{0,2}lockdep|futex_(wait|wake|q_|unqueue)|osq_|lockref_|mcs_|qdisc_lock|bit_(un)?lock|wait_on_bit|out_of_line_wait)/,
    why: "locks would not be taken although callers go on as if they were, or never be released",
  },
  {
    name: /^(_?printk|vprintk|_{0,2}printk|console_|__console|con_|vt_console|serial8250_console|uart_console|nbcon_|prb_|panic|oops_|die($|_)|__die|bust_spinlocks|dump_stack|show_)/,
    why: "the kernel reports its faults with it, the stop's own messages too",
  },
  {
    name: /^(hrtimer_|__hrtimer|run_timer|__run_timer|call_timer|add_timer|mod_timer|del_timer|timer_delete|timer_shutdown|tick_|clockevents_|timekeeping_|tk_|ktime_get|clocksource_|sched_clock|read_tsc|native_sched_clock|update_(wall|process)_time|do_timer|irq_(enter|exit)|handle_(irq|edge|level|fasteoi|simple)|generic_handle|__handle_irq|_{0,2}do_softirq|handle_softirqs|raise_softirq|__raise_softirq|_{0,2}local_bh_|apic_|ack_|note_interrupt|irq_|msi_|_{0,2}smp_call|on_each_cpu|native_send_|irq_work|smp_call|_{0,2}flush_smp|generic_smp|native_smp|stop_machine|cpu_stop|multi_cpu_stop|stop_one_cpu)/,
    why: "timers and interrupts rely on it: the machine would stand still",
  },
  {
    name: /^(security_|selinux_|apparmor_|avc_|cap_|capable|ns_capable|inode_permission|generic_permission|bpf_lsm_)/,
    returns: "integer",
    why: "it decides what is allowed, and other code asks it in many places: an answer for all of them locks everybody out, or with 0 lets everybody in",
  },
  {
    name: /^(_{0,2}f(get|put|drop)|fdget|__fdget|d(get|put)|_{0,2}dput|i(get|grab|put)|iput_|mnt(get|put)|path_(get|put)|mm(get|put|drop)|__mm(put|drop)|sock_(hold|put)|kobject_|kref_|refcount_|get_task_|put_task|put_cred|__put_|get_device|put_device)/,
    why: "callers count references with it: objects would be freed while they are used, or never",
  },
  {
    name: /(^|_)(un|try)?lock(s|ed)?($|_)|sem_(wait|down|up)|sighand/,
    why: "it takes or releases a lock for its caller, who goes on as if it had",
  },
  {
    name: /(^|_)(get|tryget|grab|hold|ref|acquire)($|_)|^(find_(vpid|pid|task|ge_pid|lively)|pid_)/,
    returns: "pointer",
    why: "it takes a reference for its caller, who gives one back that was never taken",
  },
  {
    name: /(^|_)(put|unref|release|drop|free|destroy|unhold|unpin|unmap)($|_)/,
    returns: "void",
    why: "it gives something back for its caller, which would be kept for ever",
  },
];

/** Why a function must not be stopped, or undefined. @param returns undefined when it is not known. */
export function neverStoppedBecause(name: string, returns: ReturnType | undefined): string | undefined {
  const plain = name.replace(/\.(isra|constprop)\.\d+/g, "");
  const rows = systemCall.test(plain) ? neverStopped.filter((row) => row.name === vitalCall) : neverStopped;
  return rows.find((row) => row.name.test(plain) && (row.returns === undefined || row.returns === returns?.kind))?.why;
}

/** Whether a function is the kernel's side of a system call. */
export function isSystemCall(name: string): boolean {
  return systemCall.test(name);
}
