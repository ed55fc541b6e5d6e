/** A type of tables whose members the kernel reads where they are, each time it needs them. */
export interface InPlaceType {
  readonly title: string;
  /** `values`: numbers and pointers; `functions`: pointers to functions only, since something was made by its numbers when the table was registered. */
  readonly may: "values" | "functions";
  /** Members in which NULL may become a function: nothing was set up, when the table was registered or an object was made, by what was missing. */
  readonly added: "any" | "none";
  /** Members of which objects keep copies, or that code passes over by the address of the table: a new value would not reach them. */
  readonly except?: readonly string[];
  readonly reason: string;
}

const functionsOnly = { may: "functions", added: "none" } as const;
const anyFunction = { may: "functions", added: "any" } as const;
const anyValue = { may: "values", added: "any" } as const;

/**
 * Types of which no code of the kernel keeps a copy, as its source shows (Linux 6.1 to 7.3). A type that is not here counts as copied: among those that are
 * are `struct vm_operations_struct` (fs/coda/file.c), `struct snd_pcm_ops` (include/sound/soc.h), `struct proto` and `struct proto_ops` (net/tls/tls_main.c),
 * and flags of `struct dentry_operations` (d_set_d_op(), fs/dcache.c).
 */
export const inPlaceTypes: readonly InPlaceType[] = [
  { title: "struct nla_policy", ...anyValue, reason: "read for each attribute of each message (lib/nlattr.c)" },
  { title: "struct netlink_range_validation", ...anyValue, reason: "read for each attribute (lib/nlattr.c)" },
  { title: "struct netlink_range_validation_signed", ...anyValue, reason: "read for each attribute (lib/nlattr.c)" },
  { title: "struct genl_multicast_group", ...anyValue, reason: "read when a socket joins (net/netlink/genetlink.c)" },
  { title: "struct genl_ops", ...anyValue, reason: "looked up for each message (net/netlink/genetlink.c)" },
  { title: "struct genl_small_ops", ...anyValue, reason: "looked up for each message (net/netlink/genetlink.c)" },
  { title: "struct genl_split_ops", ...anyValue, reason: "looked up for each message (net/netlink/genetlink.c)" },
  // qdisc_alloc() copies these (net/sched/sch_generic.c).
  {
    ...{ title: "struct Qdisc_ops", ...anyFunction, except: ["enqueue", "dequeue"] },
    reason: "queues point at it (net/sched/sch_api.c)",
  },
  { title: "struct Qdisc_class_ops", ...anyFunction, reason: "queues point at it (net/sched/sch_api.c)" },
  // tcf_proto_create() copies this one (net/sched/cls_api.c).
  {
    ...{ title: "struct tcf_proto_ops", ...anyFunction, except: ["classify"] },
    reason: "classifiers point at it (net/sched/cls_api.c)",
  },
  { title: "struct tc_action_ops", ...anyFunction, reason: "actions point at it (net/sched/act_api.c)" },
  // nft_do_chain() knows some tables by their address, and calls their functions itself (net/netfilter/nf_tables_core.c).
  {
    ...{ title: "struct nft_expr_ops", ...anyFunction, except: ["eval"] },
    reason: "expressions point at it (net/netfilter/nf_tables_api.c)",
  },
  { title: "struct nft_object_ops", ...anyFunction, reason: "objects point at it (net/netfilter/nf_tables_api.c)" },
  // So does nft_set_do_lookup() (net/netfilter/nft_lookup.c).
  {
    ...{ title: "struct nft_set_type", ...anyFunction, except: ["lookup"] },
    reason: "sets point into it (net/netfilter/nf_tables_api.c)",
  },
  {
    ...{ title: "struct nft_set_ops", ...anyFunction, except: ["lookup"] },
    reason: "sets point at it (net/netfilter/nf_tables_api.c)",
  },
  { title: "struct xt_match", ...anyFunction, reason: "listed, and rules point at it (net/netfilter/x_tables.c)" },
  { title: "struct xt_target", ...anyFunction, reason: "listed, and rules point at it (net/netfilter/x_tables.c)" },
  { title: "struct key_type", ...anyFunction, reason: "listed, and keys point at it (security/keys/key.c)" },
  { title: "struct rtnl_link_ops", ...functionsOnly, reason: "devices point at it (net/core/rtnetlink.c)" },
  { title: "struct header_ops", ...functionsOnly, reason: "devices point at it (include/linux/netdevice.h)" },
  { title: "struct seq_operations", ...functionsOnly, reason: "open files point at it (fs/seq_file.c)" },
  { title: "struct file_operations", ...functionsOnly, reason: "open files point at it (fs/open.c)" },
  { title: "struct inode_operations", ...functionsOnly, reason: "inodes point at it (fs/inode.c)" },
  { title: "struct super_operations", ...functionsOnly, reason: "super blocks point at it (fs/super.c)" },
  { title: "struct address_space_operations", ...functionsOnly, reason: "mappings point at it (mm/filemap.c)" },
  { title: "struct block_device_operations", ...functionsOnly, reason: "disks point at it (block/bdev.c)" },
];

/** Members that are called when something ends, by the names that the kernel's tables give them. */
export const endingMembers =
  /^(?:.*_)?(?:destroy|release|exit|pre_exit|remove|free|close|fini|put|deactivate|del|dellink|delete|unbind|unbind_tcf|uninit|undo|stop|end|cleanup|abort|disconnect|detach|shutdown|reset)(?:_\w+)?$/;

/** Members that are called when something begins: what they set up, the tables' other functions find. */
export const beginningMembers =
  /^(?:.*_)?(?:init|setup|open|create|probe|attach|bind|bind_tcf|newlink|new|alloc|start|begin|activate|connect|clone)(?:_\w+)?$/;
