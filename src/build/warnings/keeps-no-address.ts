/** A function of the kernel that does not keep the address of what it is given. */
export interface AddressRule {
  /** Whole names. */
  readonly names: RegExp;
  /** Positions of the arguments that it does not keep, from 0; all when missing. */
  readonly arguments?: readonly number[];
  /** Names of the parameters that it does not keep, where their positions are not the same in all versions; without the kernel's types it keeps all. */
  readonly parameters?: readonly string[];
  /** It calls a function before it returns; that function gets its other arguments, and may keep them. */
  readonly callsBack?: true;
  /** It copies what its arguments point at, with the addresses in it. */
  readonly copies?: true;
  /** It may return the argument of this position, or any of them; or a place in what that points at. */
  readonly returns?: true | number;
  /** It leaves the caller's registers as they are. */
  readonly preserves?: true;
  /** True only where lockdep is not built in. */
  readonly withoutLockdep?: true;
  /** Why that is certain. */
  readonly reason: string;
}

/**
 * Functions that are known to be done with an address when they return. What is not here, and does not print by its prototype, counts as keeping it.
 * As of Linux 6.1 to 6.12.
 */
export const keepsNoAddress: readonly AddressRule[] = [
  {
    names:
      /^(?:_?printk(_deferred)?|v?panic|v?printk_emit|vprintk(_default|_deferred|_emit)?|early_printk|hex_dump_to_buffer|print_hex_dump(_bytes|_debug)?)$/,
    reason: "the text is formatted into the log's own buffer (kernel/printk/printk.c)",
  },
  {
    names:
      /^(?:__warn_printk|warn_slowpath_fmt|__warn|refcount_warn_saturate|dump_stack(_lvl)?|dump_page|__dump_page|show_regs|add_taint)$/,
    reason: "the text is printed (kernel/panic.c)",
  },
  {
    names:
      /^(?:_dev_|dev_|netdev_|sdev_|scmd_|__netdev_)(emerg|alert|crit|err|warn|notice|info|dbg|printk|printk_emit|vprintk_emit|prefix_printk)$/,
    reason: "the text is printed (drivers/base/core.c)",
  },
  {
    names: /^(?:__dynamic_(pr|dev|netdev|ibdev)_(debug|dbg))$/,
    reason: "the text is printed; the descriptor is listed with its module and goes with it (lib/dynamic_debug.c)",
  },
  {
    names:
      /^(?:__seq_puts|seq_(printf|vprintf|bprintf|puts|putc|write|pad|escape_mem|put_decimal_(ull|ll)(_width)?|put_hex_ll|hex_dump|path|file_path|dentry))$/,
    reason: "the text is copied into the file's buffer (fs/seq_file.c)",
  },
  {
    names: /^(?:v?s[cn]*printf|v?sscanf|sysfs_emit(_at)?|k?v?asprintf|k?vasprintf_const|trace_seq_\w+|seq_buf_\w+)$/,
    reason: "the text is formatted into another buffer, or read (lib/vsprintf.c)",
  },
  {
    names: /^(?:kasprintf|kvasprintf|devm_kasprintf|kstrdup|kstrndup|devm_kstrdup|kmemdup_nul)$/,
    reason: "a copy of the text is made (mm/util.c, lib/kasprintf.c)",
  },
  {
    names: /^(?:kstrdup_const|devm_kstrdup_const)$/,
    reason: "only text of the kernel itself is shared, that of a module is copied (is_kernel_rodata(), mm/util.c)",
  },
  {
    names: /^(?:k?v?free(_const|_sensitive)?|devm_kfree)$/,
    reason: "the memory is given back; text of the program is not memory to free (mm/util.c)",
  },
  {
    names:
      /^(?:(__)?memcpy(_fromio|_toio|_flushcache)?|(__)?memmove|memcpy_orig|memcpy_erms|(__)?rep_movs_alternative|copy_mc_\w+)$/,
    copies: true,
    returns: 0,
    reason: "the bytes are copied, and their new place is returned (lib/string.c)",
  },
  {
    names: /^(?:kmemdup|devm_kmemdup)$/,
    copies: true,
    reason: "the bytes are copied into new memory (mm/util.c)",
  },
  {
    names:
      /^(?:copy_user_\w+|_?copy_(to|from)_(user|iter)(_nofault)?|_copy_(to|from)_iter|__copy_user_nocache|raw_copy_\w+|rep_stos_alternative|clear_user_\w+|simple_(read_from|write_to)_buffer|memory_read_from_buffer|strn?cpy_from_user|strn?len_user|strnlen_user|__clear_user|clear_user)$/,
    reason: "bytes are copied between the kernel and a process (arch/x86/lib/usercopy_64.c)",
  },
  {
    names: /^(?:(__)?memset(16|32|64|_orig|_erms)?|(str|strn)(cpy|cat)|stpcpy)$/,
    returns: 0,
    reason: "bytes are written, and their place is returned (lib/string.c)",
  },
  {
    names: /^(?:clear_page_\w+|copy_page(_regs)?)$/,
    reason: "bytes are written (arch/x86/lib/clear_page_64.S)",
  },
  {
    names:
      /^(?:(str|mem)(n?cmp|n?casecmp|len|nlen|lcpy|lcat|scpy|spn|cspn)|strscpy(_pad)?|sized_strscpy|sysfs_streq|bcmp|match_string|__sysfs_match_string|crc32_le|jhash|full_name_hash|hashlen_string)$/,
    reason: "the bytes are read (lib/string.c)",
  },
  {
    names: /^(?:(mem|str|strn|strr)(chr|str|pbrk|chr_inv|chrnul|scan)|skip_spaces|strim|kbasename)$/,
    returns: 0,
    reason: "the bytes are read, and a place in them is returned (lib/string.c)",
  },
  {
    names:
      /^(?:kstrto\w+|match_(int|strdup|strlcpy|uint|u64|hex|octal|wildcard)|parse_option_str|glob_match|hex2bin|bin2hex)$/,
    reason: "the text is read (lib/kstrtox.c, lib/parser.c)",
  },
  {
    names: /^(?:simple_strto\w+|memparse|get_option)$/,
    arguments: [1],
    reason: "a place in the text is left where the second argument says (lib/vsprintf.c, lib/cmdline.c)",
  },
  {
    names: /^match_token$/,
    arguments: [1, 2],
    reason: "the patterns are read, and places in the text are left in the third argument (lib/parser.c)",
  },
  {
    names: /^bsearch$/,
    returns: 1,
    reason: "the elements are compared, and the place of one is returned (lib/bsearch.c)",
  },
  {
    names: /^(?:(__)?sort(_r)?|list_sort)$/,
    reason: "the comparison is called while it sorts or searches (lib/sort.c, lib/bsearch.c, lib/list_sort.c)",
  },
  {
    names:
      /^(?:(bus|driver|class|device)_(for_each|find)_(dev|device|child|drv|child_reverse)|idr_for_each|iterate_supers|iterate_supers_type|stop_machine(_cpuslocked)?|kallsyms_on_each_symbol|for_each_kernel_tracepoint|walk_page_range(_novma|_vma)?|walk_page_vma|walk_page_mapping|apply_to(_existing)?_page_range|idr_for_each)$/,
    callsBack: true,
    reason: "the function is called before it returns",
  },
  {
    names: /^(?:klp_shadow_(alloc|get_or_alloc|free|free_all))$/,
    callsBack: true,
    reason: "the constructor or destructor is called before it returns (kernel/livepatch/shadow.c)",
  },
  {
    names: /^(?:___ratelimit)$/,
    reason: "the state is used while its lock is held, and the name is printed (lib/ratelimit.c)",
  },
  {
    names:
      /^(?:__(mutex|raw_spin_lock|rwlock|rt_mutex|init_rwsem|percpu_init_rwsem)_?init|__mutex_init|__init_rwsem|__init_waitqueue_head|__init_swait_queue_head|__rt_mutex_init|__raw_spin_lock_init|__rwlock_init|lockdep_\w+)$/,
    withoutLockdep: true,
    reason: "name and class are used by lockdep alone; the lock begins empty",
  },
  {
    names: /^(?:init_timer_key)$/,
    withoutLockdep: true,
    arguments: [3, 4],
    reason: "name and class are used by lockdep alone (kernel/time/timer.c)",
  },
  {
    names:
      /^(?:_raw_(spin|read|write)_(un|try)?lock\w*|queued_(spin|read|write)_\w+|native_queued_spin_\w+|(mutex|ww_mutex|rt_mutex|rwsem)_(lock|unlock|trylock|is_locked)\w*|(down|up)(_read|_write)?(_interruptible|_killable|_trylock|_timeout)?|downgrade_write|__percpu_down_read|percpu_(down|up)_\w+|__srcu_read_(un)?lock|lock_acquire|lock_release|lockref_\w+|refcount_dec_and_\w*lock\w*|_?atomic_dec_and_\w*lock\w*|osq_\w+)$/,
    withoutLockdep: true,
    reason: "those who wait are in the function, and the lock knows only of them",
  },
  {
    names:
      /^(?:__wake_up\w*|wake_up_\w+|complete|complete_all|wait_for_completion\w*|try_wait_for_completion|completion_done|prepare_to_wait\w*|finish_wait|init_wait_entry|swake_up\w*|wake_bit_function|__wait_on_bit\w*|out_of_line_wait_on_bit\w*)$/,
    arguments: [0],
    reason: "those who wait are in the function that waits",
  },
  {
    names: /^(?:__list_(add|del_entry)_valid(_or_report)?|plist_\w+_debug)$/,
    reason: "the neighbours are looked at (lib/list_debug.c); what is linked is stored by the caller",
  },
  {
    names:
      /^(?:__check_object_size|usercopy_abort|__copy_overflow|copy_overflow|fortify_panic|__fortify_panic|__fortify_report|__stack_chk_fail|__ubsan_handle_\w+|__sanitizer_cov_\w+|kasan_\w+|__asan_\w+|kmsan_\w+|__kcsan_\w+|__tsan_\w+)$/,
    reason: "it checks, and reports",
  },
  {
    names: /^(?:static_key_\w+|static_call_\w*_enabled|jump_label_\w+|static_branch_\w+)$/,
    reason: "the key is counted up or down; the list of its places goes with their module (kernel/jump_label.c)",
  },
  {
    names:
      /^(?:(__)?local_bh_(en|dis)able_ip|__local_bh_(en|dis)able_ip|__might_sleep|__might_resched|__might_fault|__cant_sleep|rcu_lockdep_\w+|trace_(hard|soft)irqs_\w+)$/,
    reason: "the place in the code serves lockdep and reports, which print it",
  },
  {
    names: /^(?:percpu_counter_(add_batch|set|__percpu_counter_sum|sync)|__percpu_counter_(sum|compare))$/,
    reason: "the counter is read or changed",
  },
  {
    names:
      /^(?:(of|fwnode|device|acpi_fwnode)_property_(read|present|match|count|get_reference)\w*|of_(get_property|find_property|find_(compatible_node|node_by_name|node_by_path|node_opts_by_path|matching_node_and_match|node_by_type)|device_is_compatible|machine_is_compatible|parse_phandle\w*|count_phandle\w*|get_child_by_name|get_compatible_child|match_node|match_device|device_get_match_data)|(device|fwnode)_get_named_child_node|device_get_match_data|acpi_match_device(_ids)?|acpi_dev_(found|present)|acpi_evaluate_(object|integer|dsm|reference|object_typed)|acpi_get_handle|acpi_has_method|device_match_\w+|i2c_match_id|spi_get_device_match_data|pci_match_id|dmi_check_system|dmi_first_match|dmi_get_system_info|dmi_match|x86_match_cpu|soc_device_match)$/,
    returns: true,
    reason: "names and lists of identifiers are compared (drivers/of/base.c, drivers/base/property.c)",
  },
  {
    names:
      /^(?:nla_put(_nohdr|_64bit)?|__nla_put(_64bit|_nohdr)?|nla_(str|mem)cmp|nla_strscpy|__nlmsg_put|skb_(copy|store)_bits|skb_put_data|genlmsg_put)$/,
    reason: "the bytes are copied into or out of the message (lib/nlattr.c)",
    copies: true,
  },
  {
    names:
      /^(?:__request_module|request_firmware(_direct|_into_buf)?|firmware_request_nowarn|kern_path|filp_open|lookup_one(_len(_unlocked)?)?|d_hash_and_lookup|getname_kernel|kobject_set_name(_vargs)?|dev_set_name|kobject_uevent(_env)?|add_uevent_var)$/,
    reason: "the name is copied or compared",
  },
  {
    names: /^(?:crypto_alloc_\w+|crypto_has_\w+)$/,
    arguments: [0],
    reason: "the name is copied (crypto/api.c)",
  },
  {
    names:
      /^(?:debugfs_create_(file|dir|u8|u16|u32|u64|x8|x16|x32|x64|bool|atomic_t|size_t)(_unsafe)?|proc_create(_data|_single_data|_seq_private|_net_data|_net_single)?|proc_mkdir(_data|_mode)?|proc_symlink|remove_proc_(entry|subtree)|debugfs_lookup(_and_remove)?|__kmem_cache_create_args|kmem_cache_create(_usercopy)?|dma_pool_create)$/,
    arguments: [0],
    reason: "the name is copied (fs/proc/generic.c, fs/debugfs/inode.c, mm/slab_common.c)",
  },
  {
    names:
      /^(?:sysfs_(remove_\w+|notify|create_link|remove_link)|kernfs_(find_and_get_ns|remove_by_name_ns)|bpf_log|audit_log\w*|errseq_\w+|nmi_\w*trace)$/,
    reason: "the name is compared or copied",
  },
  {
    names:
      /^(?:__(get|put)_user_(nocheck_)?\d+|__fentry__|mcount|__SCT__(preempt_schedule(_notrace)?|cond_resched|might_resched)|preempt_schedule(_notrace)?_thunk|__sw_hweight(32|64)|__sanitizer_cov_trace_pc|__tsan_func_(entry|exit))$/,
    preserves: true,
    reason: "it has no arguments of this kind, and leaves registers alone",
  },
  {
    names:
      /^(?:__x86_(return_thunk|indirect_\w+)|__cond_resched|schedule(_timeout\w*)?|msleep(_interruptible)?|usleep_range_state|ktime_get\w*|__rcu_read_(un)?lock|synchronize_(rcu|srcu|net)\w*|rcu_barrier|cpus_read_(un)?lock|rtnl_(un)?lock|rtnl_is_locked|capable|ns_capable\w*)$/,
    reason: "it has no argument of this kind",
  },
  {
    names: /^trace_print_(flags|symbols|hex|array|bitmask|hex_dump)\w*$/,
    reason: "the text is printed into the reader's buffer (kernel/trace/trace_output.c)",
  },
  {
    names: /^(?:alloc_workqueue|alloc_percpu_wq)$/,
    arguments: [0],
    reason: "the name is formatted (kernel/workqueue.c)",
  },
  {
    names: /^(?:(un)?register_blkdev|__register_blkdev)$/,
    arguments: [1],
    reason: "the name is copied or compared (block/genhd.c)",
  },
  {
    names: /^(?:__blk_alloc_disk|__blk_mq_alloc_disk|__alloc_disk_node|blk_mq_alloc_disk_for_queue)$/,
    parameters: ["lim", "lkclass"],
    withoutLockdep: true,
    reason: "limits are copied, and the class is used by lockdep alone (block/genhd.c)",
  },
  {
    names: /^__do_once_(sleepable_)?start$/,
    reason: "the flag is read (lib/once.c)",
  },
];
