import type { ReturnType } from "./return-type.ts";

interface NeverStopped {
  readonly name: RegExp;
  /** Only of functions that return this. */
  readonly returns?: readonly ReturnType["kind"][];
  /** What would happen, as a clause. */
  readonly why: string;
}

/** System calls have wrappers of their own, whose callers are programs: an error is what these look for. */
const systemCall = /^__(x64|ia32|ia32_compat|x32_compat|do|se|do_compat|se_compat)_sys_/;

/** System calls without which no program runs or ends. */
const vitalCall =
  /_sys_(exit|exit_group|rt_sigreturn|sigreturn|rt_sigaction|rt_sigprocmask|execve|execveat|wait4|waitid|waitpid|brk|mmap|mmap_pgoff|munmap|mprotect|mremap|read|write|readv|writev|pread64|pwrite64|open|openat|openat2|close|futex|futex_time64|clone|clone3|fork|vfork|arch_prctl|set_thread_area|set_tid_address|set_robust_list|prlimit64|getdents|getdents64|fstat|stat|lstat|newfstat|newstat|newlstat|newfstatat|statx|lseek|ioctl|fcntl|fcntl64|dup|dup2|dup3|pipe|pipe2|poll|ppoll|select|pselect6|epoll_create1|epoll_ctl|epoll_wait|epoll_pwait|getpid|getppid|getgid|getegid|getresuid|getresgid|newuname|uname|getrandom|eventfd2|readlink|readlinkat|access|faccessat|faccessat2|clock_gettime|clock_nanosleep|nanosleep|sched_yield|getcwd|gettid|getuid|geteuid|kill|tgkill|restart_syscall|reboot|init_module|finit_module|delete_module)$/;

/**
 * Functions that are not stopped, whatever they return. A row says what would come of it; names are those of Linux 6.1, 6.12 and 7.x.
 */
const neverStopped: readonly NeverStopped[] = [
  {
    name: vitalCall,
    why: "programs, and whoever wants to take the stop back, cannot do without this system call",
  },
  {
    name: /^((x64|x32|ia32)_sys_call|do_syscall_64|do_int80_|do_fast_syscall|syscall_(enter|exit|trace)|(exit|enter)_(to|from)_user_mode|(raw_)?irqentry_|asm_|exc_|sysvec_|common_interrupt|spurious_interrupt|error_entry|ret_from_fork|do_exit$|do_group_exit|make_task_dead|do_error_trap|do_user_addr_fault|handle_mm_fault|exc_page_fault|fixup_exception|search_exception|restore_fpregs|switch_fpu|fpu__)/,
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
    name: /^(_{0,2}schedule|schedule($|_)|preempt_schedule|try_to_wake_up|ttwu_|wake_up|default_wake_function|autoremove_wake|prepare_to_wait|finish_wait|sched_|__sched_|pick_next_|pick_task_|put_prev_|set_next_|enqueue_|dequeue_|update_rq_|update_curr|activate_task|deactivate_task|finish_task_switch|context_switch|__switch_to|check_preempt|resched_|migrate_|select_task_rq|task_tick_|load_balance|balance_|yield_task_|_{0,2}kthread(_|d$|$)|bit_waitqueue|alloc_worker|do_task_dead|io_schedule|_{0,2}cond_resched|_{0,2}wake_up|_{0,2}wake_q|set_cpus_allowed|_{0,2}set_cpus_allowed|set_user_nice|task_work_|insert_work|create_worker|rescuer_thread|worker_|pwq_|wq_|queue_work|__queue_work|queue_delayed|process_one_work|worker_thread|flush_work|cancel_work|complete($|_)|wait_for_completion|swake_up|copy_process|kernel_clone|wake_up_new_task|release_task|__put_task_struct)/,
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
    name: /^(_{0,2}netif_rx|_{0,3}alloc_skb|_{0,2}build_skb|_{0,2}napi_(alloc|build)|_{0,2}k?free_skb|kfree_skb|_{0,2}consume_skb|skb_(release|put|push|pull|clone|copy|unlink|queue|dequeue|head|frag|trim|realloc|expand)|_{0,3}pskb_|pskb_|sk_(alloc|free|prot)|_{0,2}sk_(free|destruct|mem)|sock_(wfree|rfree|efree|def)|napi_|_{0,2}napi_|net_rx_action|net_tx_action|_{0,2}netif_receive|dev_hard_start|_{0,2}dev_queue_xmit|dst_(alloc|release|destroy)|neigh_(alloc|destroy))/,
    why: "all packets go through it: memory would be lost, and callers use what it did not make",
  },
  {
    name: /^(load_module|do_init_module|free_module|try_stop_module|module_(put|get|alloc|enable|memfree|finalize)|try_module_get|__module_get|apply_relocate|kallsyms_|module_kallsyms|__symbol_)/,
    why: "modules are loaded and unloaded with it, so the stop could not be taken back",
  },
  {
    name: /^(synchronize_|_{0,2}s?rcu_|s?rcu_|_{2}wait_rcu|(start_)?poll_(start|state)|start_poll_|call_s?rcu|kfree_rcu|kvfree_call_rcu|synchronize_s?rcu|__synchronize_srcu|__call_rcu|note_gp_|force_qs|invoke_rcu)/,
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
    returns: ["integer", "bool"],
    why: "it decides what is allowed, and other code asks it in many places: an answer for all of them locks everybody out, or with 0 lets everybody in",
  },
  {
    name: /^(account_|tmigr_|fetch_next_timer|timer_expire|choose_(new_)?idle|call_function_single|call_single|smp_task_ipi|_{2}setparam|_{2}setscheduler|_{2}hrtick|watchdog_check|preempt_model|task_should_scx|replace_(show|store)$|stack_order_show$|calc_(global_load|load_|wheel)|psi_|cpuacct_|set_rq_|set_task_cpu|set_load_weight|reweight_(task|entity)|idle_(cpu|task)$|available_idle_cpu|cpus_share_cache|housekeeping_|get_nohz_timer|nohz_|hrtick_|kick_process|run_rebalance|update_(blocked|group|cfs|tg|min|load|idle|misfit)|task_(call_func|curr|prio|numa|fork_|dead_|tick|woken|cputime|sched_runtime)|thread_group_cputime|active_load_balance|push_(rt|dl|cpu)|pull_(rt|dl)|normalize_rt|cpud?l?_?pri_|cpudl_|arch_scale_|quiet_vmstat|refresh_cpu_vm|run_ksoftirqd|ksoftirqd_|smpboot_|__smpboot|cpuhp_|_?cpu_(up|down|report|check|die|startup|stop)|preempt_notifier|_{0,2}(do_)?set_cpus_|dup_user_cpus|single_task_running|nr_(running|iowait)|amd_e400|detach_task_cfs|timer_clear_idle|perf_event_task_tick|need_update$|cputime_adjust|kcpustat_|arch_irq_work|_{2}setup_APIC|(_{0,2}io|x2|l)_?apic_|leave_mm|arch_suspend|smp_shutdown|_{0,2}cpu_hotplug|cpu_device_|cpu_curr|x86_pmu_|setup_APIC|default_send_IPI|_{0,2}(default|flat|x2apic|physflat)_|native_apic|native_(cpu|play|stop|write_msr)|send_call_function|generic_exec_single|do_(sync_core|flush_tlb|kernel_range_flush)|should_flush|profile_tick|tsc_|second_overflow|ntp_|run_posix_cpu|scx_|pelt_|_{0,2}update_load|jiffies|_{0,2}do_sched|rebalance_|trigger_load|mask_(lapic|ioapic)|async_(run|schedule|synchronize)|current_(is_async|work)|cgroup_(move|attach|migrate|rstat)|_{0,2}cgroup_rstat|css_set_|find_css_set|freeze|thaw|_{0,2}refrigerator|cpuset_(cpus|fork|can_fork|mems|update))/,
    why: "processors keep their time, load and tasks with it, with interrupts off or at each tick",
  },
  {
    name: /^_{2}traceiter_/,
    why: "tracers get an event from it, also inside of the scheduler and of interrupts, where the stop's own messages cannot be written",
  },
  {
    name: /^(_{2}klp_|_{2}(apply_reloc|mod_tree|smp_text)|callthunks_|optimize_nops|skip_nops|execmem_|_{2}execmem|(idempotent_)?init_module|class_(to_subsys|dev_iter)|_{0,2}(kernel|module|mod)_(text_)?address|_{0,2}kernel_text|kernel_text|is_(module|bpf|ftrace)_text|mod_(find|tree)|find_(module|symbol|exported|kallsyms)|each_symbol|insn_|orc_|_{2}orc|apply_(returns|retpolines|alternatives|paravirt|seal|fineibt|ibt|direct)|cpu_wants_rethunk|set_memory_|change_page_attr|_{0,2}cpa_|kernel_read|do_one_initcall|initcall_|search_(kernel_|module_|bpf_)?ex|retpoline_module|layout_(sections|symtab|check|and)|module_|modules_open|m_show$|(test|add)_taint|param_(get|set|attr|array)_?|add_sysfs_param|free_module_param|destroy_params|parse_(args|one)$|parameq|internal_create|create_files$|remove_files$|device_(add|del|initialize)|notes_read|copy_(from|to)_kernel_nofault|do_(int3|trap|error)|emulate_vsyscall|fixup_|math_error|notify_die|(atomic|raw|blocking|srcu)_notifier|notifier_(call|chain)|text_|poke_int3|_{2}text_poke|_{2}is_insn_slot|class_for_each|patched_show$|exact_match$|namecmp$|cmp_name$|smp_text|bpf_ksym|bpf_(prog|arch)_text|perf_event_(text|ksymbol)|crash_(save|setup|kexec)|(native_)?machine_(crash|kexec|restart|power|halt|shutdown)|kmsg_dump|led_panic|mce_|apei_check|do_machine_check)/,
    why: "code is found, changed or its faults are handled with it, also when the stop is taken back",
  },
  {
    name: /^(do_file_open|_{2}file_ref|file_(close|init|tty|free)|filp_(flush|close)|init_file$|anon_pipe_|copy_splice_read|clear_tfile|d_make_|dentry_(kill|unlist)|find_attach|ilookup|lookup_noperm|try_lookup|may_o_create|_{2}move_to_shrink|simple_offset|proc_match|mnt_get_write|_{0,2}ns_ref|tracefs_|sync_lazytime|always_delete_dentry|call_proc_get|dentry_(path|needs)|_{2}file_remove|_{2}generic_file|_{2}kernel_read|_{2}vfs_getxattr|do_(faccessat|readlinkat|truncate|task_stat|vfs_ioctl)|mangle_path|our_mnt|path_noexec|pid_maps|proc_(exe_link|do|pid_cmdline|pid_status|tgid_stat|cgroup_show)|readlink_copy|reverse_path|vfs_unlink|xattr_full_name|_{0,2}d_(alloc|lookup|same|hash|move|splice|add|instantiate|rehash|drop|find|unhashed)|lookup_(mnt|dcache|one|positive|bdev)|_{0,2}(lookup_mnt|legitimize|traverse_mounts|follow_mount)|nd_jump|legitimize_|try_to_unlazy|complete_walk|terminate_walk|set_nameidata|may_(open|lookup)$|user_path|kern_path|filename_|_{2}filename|putname|vfs_(fstatat|getattr|get_link|readlink|statfs)|do_statx|cp_(new_stat|statx)|prepend_|d_path|(touch|update)_atime|atime_needs|rw_verify_area|generic_(file_(read|write|open)|perform_write|write_check|fillattr|update_time|delete_inode)|file_(update_time|modified|remove_privs|ra_state)|_{0,2}(alloc|close|receive)_fd|close_fd|f_dupfd|ksys_dup|do_(dup2|fcntl|close_on_exec)|set_close_on_exec|_{0,2}fput|_{4}fput|chrdev_open|nonseekable_open|stream_open|no_open|single_(open|release|start|stop|next)|_{0,2}seq_|poll_(select|schedule|freewait|initwait)|_{0,2}pollwait|pollwake|do_(poll|select|sys_poll)|core_sys_select|eventfd_|pipe_(poll|release|wait|is_unpriv|double|lock)|proc_(alloc_inode|evict_inode|pid_(make|evict|permission|readdir|lookup|readlink|revalidate)|fill_cache|lookup|readdir|root_|reg_|single_|get_inode|sys_(open|read|write|permission|call|make|evict|revalidate|lookup)|tgid_base|misc_d|exit_connector|fork_connector|exec_connector|comm_connector|flush_pid|map_release)|pid_(revalidate|delete|update|getattr)|pde_|task_dump_owner|verify_dirent|filldir|compat_fill|inode_(init|add|sb|io|to_bdi|needs|has_buffers|set)|_{0,2}(inode|insert_inode|destroy_inode|wait_on_freeing)|destroy_inode|drop_inode|is_bad_inode|notify_change|setattr_|_{0,2}mnt_want|mnt_(want|drop|may)|_{0,2}mnt_(is|drop)|sb_(start|end)|kill_(fasync|anon|litter|block)|fasync_|fsnotify|_{2}fsnotify|simple_(statfs|getattr|setattr|open|read|release|dir|link|unlink|rename|write|acl|xattr)|dcache_|shmem_|ramfs_|memory_open|(read|write)_(null|zero|iter_null|iter_zero)|copy_string|count_strings|open_exec|set_binfmt|finalize_exec|setup_(new_exec|arg_pages)|shift_arg_pages|de_thread$|elf_|load_(misc|script|elf)|create_elf|start_thread|flush_thread|_{0,2}get_task_comm|_{0,2}set_task_comm|vm_brk|do_brk|map_vdso|_{0,2}install_special|arch_setup_additional|clone_private|anon_inode_)/,
    why: "the program that would take the stop back needs it to start, and to reach the kernel",
  },
  {
    name: /^(_{2}do_wait|_{0,2}futex_|do_sigaltstack|exec_task|task_exec|get_cred_|pidfs_|x86_task_fpu|init_sched_mm|use_temporary_mm|detach_task_ctx|reset_thread|arch_dup_task|override_release$|get_kthread_comm|hold_task|nr_processes|_{2}ptrace_may_access|_{2}get_task_ioprio|_{2}dl_clear|alloc_task|free_task|_{0,2}set_task|set_kthread|kernel_thread|exit_|_{0,2}exit_|acct_|taskstats_exit|sched_exec|audit_(alloc|free|signal)|_{0,2}audit_(free|syscall)|perf_event_(comm|exec|exit|fork|init|free|delayed|namespaces|mmap)|tsk_fork|unshare_(files|fs|fd)|set_(mm_exe|personality)|mm_(alloc|access|free)|pgd_|_{0,2}pgd_|futex_(cleanup|exit|exec|hash|setup)|get_futex|do_futex|(get|put|set_normalized)_timespec64|timespec64_|uprobe_(copy|deny|start_dup|end_dup|mmap|munmap|clear|free|notify|pre_|post_)|copy_(semundo|fpstate|fp|siginfo|process_tls|seccomp)|fpu_|fpregs_|_{2}fpu|kernel_fpu|restore_(fpregs|altstack|sig)|(inc|dec|get|put)_(rlimit_)?ucounts?|(inc|dec)_rlimit|is_rlimit|flag_nproc|set_cred|prepare_exec|get_vfs_caps|set_(compat_)?user_sig|task_(active_pid|join_group|participate|set_jobctl|clear_jobctl|change_group|ptrace|work|is_)|calculate_sig|_{0,2}sigqueue|prepare_signal|retarget_|kill_(something|pid|pgrp|orphaned)|_{0,2}kill_|do_(send_sig|send_specific|tkill|no_restart|sigtimed|signal_stop|jobctl)|send_sig|force_sig|_{0,2}(group_)?send_sig|group_send|sig(action|procmask|suspend|_)|check_kill|flush_(sig|itimer|ptrace|thread)|user_disable_single|clear_(posix|tsk|user_return)|posix_cpu_timers|init_(numa|task|entity)|post_init_entity|disassociate_ctty|tty_audit_(exit|fork)|get_seccomp|_{2}seccomp_filter_orphan|put_seccomp|dup_user|ldt_dup|hook_(cred|file_open|task)|blkcg_(exit|maybe)|_{0,2}change_pid|attach_pid|disable_pid|_{0,2}task_pid|pidfd_(prepare|release)|zap_pid_ns|switch_task_ns|switch_task_namespaces|do_(nanosleep|prlimit)|common_nsleep|nanosleep_copyout|posix_get_|current_(umask|save_fsgs|in_userns|time|kernel)|save_fsgs|arch_(setup_new|set_user_pkey|prctl_spec|release_task|uprobe)|do_arch_prctl|in_(e?group_p)|pids_|cgroup_is|call_usermode|umh_|do_(kernel_restart|wait_intr|notify)|orderly_|ctrl_alt_del|emergency_|kernel_(restart|halt|power))/,
    why: "tasks are made, get their signals and end with it: programs would hang, or run with what belongs to others",
  },
  {
    name: /^(policy_node|_{1,3}k(v)?malloc|_{0,2}alloc_(frozen|new_p[mu4]d)|_{2}anon_rmap|anon_rmap_|_{2}mapping_rmap|_{2}css_rstat|barn_|can_vma|commit_merge|collapse_|create_init_stack|damon_|kdamond|decay_va|find_unlink|gfp_pf|gup_|is_mergeable|iommu_sva|maybe_change|mm_needs|needs_adjacent|_{2}next_zone|next_uptodate|pfn_to|relocate_vma|unlink_file_vma|vdso_install|vms_|do_vmi_|_{2}dquot|_{2}flush_tlb|lsm_blob|check_(brk|vma)_|do_mas_|_{0,2}vm_munmap|is_file_shm|memfd_file|pfn_(range|modify)|pat_pagerange|pagerange_|_{2}(shmem_is|mem_cgroup)|set_shrinker_bit|si_(mem|swap)|nr_blockdev|_{2}arch_override|vm_normal|is_vmalloc|_{0,2}check_(object|heap)|check_stack_object|usercopy_|_{0,2}virt_addr|_{0,2}phys_addr|list_lru_|truncate_|_{0,2}invalidate_|hugepage_|hugetlb_|may_expand|_{0,2}vm_enough|mm_find|walk_(to|page|system)|_{0,2}walk_page|find_(vm_area|vma|vmap|mergeable|extend|next_iomem)|remove_vm_area|(pmd|pud|pgd|p4d|pte)_|uncharge_|charge_memcg|should_fail|(first|next)_(online|zone)|mmap_|in_gate|get_gate|_{0,2}mlock|need_mlock|munlock|expand_(down|up|stack)|_{0,2}(vunmap|vmap|vunmap_range)|v?un?map_|purge_|_{0,2}purge|_{0,2}split_vma|mpol_|_{0,2}mpol|userfaultfd_(remove|unmap|dup)|dup_userfault|_{0,2}count_memcg|blk_cgroup|khugepaged_|ksm_(enter|exit)|collect_mm|lock_mm|has_bh|bdi_|_{0,2}bdi_|inode_to|wb_|_{0,2}wb_|balance_dirty|sync_(inode|mapping|blockdev|buffer)|end_(page|buffer|bio)|_{0,2}(end|submit|lock|sync|mark)_buffer|mark_buffer|block_(read|write|inval|dirty)|mapping_|_{0,2}(set|clear|test)_page|drain_|zone_|_{0,2}zone_|compaction_|memory_(fail|block|group)|online_pages|offline_pages|prep_|split_(page|huge|free)|_{0,2}access_remote|pagefault_|numa_|_{0,2}(mod|inc|dec)_(node|zone|memcg|lruvec)|untrack_|track_pfn|_?install_|arch_vma|xas_|crng_|chacha_|blake2s_|_?get_random|add_[a-z]*_?randomness|extract_entropy|mix_pool|sha(1|256)_(transform|block|update|final))/,
    why: "memory is handed out, mapped and taken back with it: it would be lost, or in use twice",
  },
  {
    name: /^(msg_(add|print)|desc_(read|make|reopen|reserve)|data_(push|alloc|make|check)|devkmsg_|do_syslog|syslog_print|record_print|log_(next|store|wait|output)|get_record|_?prb|info_print|print_(prefix|time|caller)|printk_|wake_up_klogd|_{0,2}nbcon_|is_printk|defer_console|vt_|lf$|do_con_|redraw|hide_cursor|set_cursor)/,
    why: "the kernel reports its faults with it, the stop's own messages too",
  },
  {
    name: /^(tomoyo_|common_file|ipe_|profile_|aa_|hook_|yama_|ima_|evm_|smack_|loadpin_|lockdown_|safesetid_|common_perm|has_(ns_)?capability|ptracer_capable|file_ns_capable|may_(delete|create|set|setattr)|in_group|in_egroup|cred_has|inode_has_perm|file_has_perm|devcgroup_|check_syslog|process_measurement|bpf_lsm)/,
    returns: ["integer", "bool"],
    why: "it decides what is allowed, and other code asks it in many places: an answer for all of them locks everybody out, or with 0 lets everybody in",
  },
  {
    name: /(^|_)(resume|restore|thaw|undock|wakeup|wake)(_(noirq|early|late|fn|one|all|queue|up))?$|(^|_)(starting|dying|dead|teardown)(_cpu)?$|(^|_)cpu_(starting|dying|dead|online|offline|prepare)$/,
    why: "it wakes what sleeps, or is called when a processor goes or a machine comes back: these would not",
  },
  {
    name: /(^|_)(unregister|remove|cleanup|delete|destroy|free|cancel|kill|detach|unlink|release|drop|uncharge|teardown|disconnect|unbind|deinit|uninit)_|(^|_)(unregister|unreg|remove|rm|exit|cleanup|del|delete|detach|unlink|teardown|uninit|deinit|fini|cancel|kill|dead|unbind|disconnect|close|shutdown|dequeue|unpoison|evict|purge|reap|prune|dismantle|unhash|deactivate|invalidate|flush|reset|clear|end|done|complete|completed|completion|finish|endio|io_end|dtor|destructor|dispose|discard|deferred|callback|cb|work|workfn|work_fn|fn|timer|timeout|handler|thread|tasklet|softirq|irq|isr|intr|rcu)(_(io|all|one|sync|net|locked|rcu|async|work|fn|bh|irq|notify|device|dev|driver|sk|sock|entry|list|inode|node|file|queue))*$/,
    returns: ["void"],
    why: "it ends or takes away something, or is what others wait for, and cannot report a failure: it would stay in use after it was freed, or waiters would hang",
  },
  {
    name: /^(btf_(type|name|str|nr)_|to_[a-z0-9_]+$|kobj_to_|I_BDEV$|blk_next_bio|throtl_pop|task_(cls_state|user_regset)|size_to_hstate|(ip6|ip)_route_(input|output)|ip6_pol_route|fib6_(node|rule)_lookup|nexthop_select|netdev_core_pick|netdev_pick|scatterwalk_|sidtab_|mpi_(alloc|copy)|pci_(real_dma|find_host_bridge)|vmpressure_|tomoyo_|ipe_|inat_|find_timens|acpi_(ut|os|ns|ps)_|tcp_recv_skb|bpf_int_jit|policy_hash|debugfs_real|zpool_map|cgroup_taskset|backing_inode|selinux_)/,
    returns: ["pointer"],
    why: "its callers take what it returns for an address without a check, and would crash",
  },
  {
    name: /^(select_(fallback|task|idle)|phys_package_first|cpumask_|_{0,2}(any|next|first)_(online_)?(cpu|node)|smp_processor|cpu_to_|early_cpu|node_to_|page_to_|numa_node)/,
    why: "its callers take what it returns for the number of a processor, node or place, and look into tables there",
  },
  {
    name: /(^|_)(release|close|remove|unbind)$|(^|_)unregister(_|$)/,
    returns: ["integer"],
    why: "it ends what was opened or registered, and most callers ignore its result: it would stay in use after it was freed",
  },
  {
    name: /^(security|selinux|apparmor|tomoyo|bpf_lsm)_/,
    returns: ["void"],
    why: "it fills in or frees what decides on permissions: callers go on with what was in memory before",
  },
  {
    name: /^(pci_(bus_|generic_|user_)?(read|write)_config|pcie_capability_|_{0,2}pci_(read|write|mmcfg|conf)|raw_pci_|_{0,2}dma_(direct|sync|unmap|map|alloc|free|common|pool)|swiotlb_|iommu_(dma|unmap|map)|iova_|v[12]_tlb_|qi_)/,
    why: "drivers reach their devices with it and rely on what it gives them",
  },
  {
    name: /^(xen_|hv_|hyperv_|kvm_|vmware_|native_|paravirt_|pv_|noop_send|__xen|__native)/,
    returns: ["void"],
    why: "it stands for a privileged instruction, or calls the hypervisor: the machine would go on with other tables, registers or interrupts than it believes",
  },
  {
    name: /^(_{0,2}(intel|amd)_iommu|iommu_|set_remap|irte_|dmar_|modify_irte|alloc_irte|bringup_nonboot|cond_wakeup|mark_tsc|_{0,2}tick_|task_non_contending|vm_events_fold|io_wq_worker_(sleeping|running))/,
    why: "processors are started with it, or devices are kept apart: both are relied on without a look at the result",
  },
  {
    name: /(^|_)(init|setup|ctor|construct|copy|clone|fill|read|get|load|save|convert|next|advance|iter|walk|inc|dec|add|sub|link|insert|swap|move)(_|$)|^(mpi_|ec_|aes_|gf128|poly1305|md5|sha)/,
    returns: ["void"],
    why: "it fills, counts or links what its caller uses next, and cannot report a failure: that would be what was in memory before, or a loop would never end",
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
    returns: ["pointer"],
    why: "it takes a reference for its caller, who gives one back that was never taken",
  },
  {
    name: /(^|_)(put|putref|unref|deref|release|drop|free|destroy|unhold|unpin|unmap|uncharge)($|_)/,
    returns: ["void"],
    why: "it gives something back for its caller, which would be kept for ever",
  },
];

/** Why a function must not be stopped, or undefined. @param returns undefined when it is not known. */
export function neverStoppedBecause(name: string, returns: ReturnType | undefined): string | undefined {
  const plain = name.replace(/\.(isra|constprop)\.\d+/g, "");
  const rows = systemCall.test(plain) ? neverStopped.filter((row) => row.name === vitalCall) : neverStopped;
  return rows.find(
    (row) =>
      row.name.test(plain) &&
      (row.returns === undefined || (returns !== undefined && row.returns.includes(returns.kind))),
  )?.why;
}

/** Whether a function is the kernel's side of a system call. */
export function isSystemCall(name: string): boolean {
  return systemCall.test(name);
}
