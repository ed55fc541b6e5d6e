/** A table of operations by which user space comes into a module, and what no longer works when one of them fails. */
export interface OperationTable {
  /** The kernel's structure. */
  readonly struct: string;
  /** Members with what each breaks, those that close the most first. */
  readonly members: Readonly<Record<string, string>>;
  /** What functions of a member return when they fail, where their type does not tell. */
  readonly failures?: Readonly<Record<string, string>>;
}

/** Structures of Linux 6.1 to 7.x; one that a kernel does not have is passed over. */
export const operationTables: readonly OperationTable[] = [
  { struct: "net_proto_family", members: { create: "no new sockets of this family; those that are open go on" } },
  {
    struct: "file_system_type",
    members: {
      init_fs_context: "no new mounts of this file system; mounted ones go on",
      mount: "no new mounts of this file system; mounted ones go on",
    },
    failures: { mount: "ERR_PTR(-EPERM)" },
  },
  {
    struct: "file_operations",
    members: {
      open: "its file or device cannot be opened; open ones go on",
      unlocked_ioctl: "no ioctl of its open files",
      compat_ioctl: "no ioctl of 32-bit programs",
      write_iter: "nothing can be written to its files",
      write: "nothing can be written to its files",
      mmap: "its files cannot be mapped",
    },
  },
  {
    struct: "proto_ops",
    members: {
      bind: "its sockets cannot be bound",
      connect: "its sockets cannot be connected",
      accept: "its sockets accept no connection",
      sendmsg: "nothing can be sent by its sockets",
      recvmsg: "nothing can be received by its sockets",
      setsockopt: "no option of its sockets can be set",
      ioctl: "no ioctl of its sockets",
    },
  },
  {
    struct: "proto",
    members: {
      init: "no new sockets of this protocol; those that are open go on",
      connect: "its sockets cannot be connected",
      setsockopt: "no option of its sockets can be set",
      sendmsg: "nothing can be sent by its sockets",
    },
  },
  {
    struct: "af_alg_type",
    members: { bind: "user space cannot use algorithms of this kind (AF_ALG)" },
    failures: { bind: "ERR_PTR(-EPERM)" },
  },
  { struct: "nfnl_callback", members: { call: "this command of a netlink family of netfilter fails" } },
  { struct: "genl_ops", members: { doit: "this command of a netlink family fails" } },
  { struct: "genl_small_ops", members: { doit: "this command of a netlink family fails" } },
  { struct: "genl_split_ops", members: { doit: "this command of a netlink family fails" } },
  {
    struct: "rtnl_link_ops",
    members: { newlink: "no new network devices of this kind", changelink: "none can be changed" },
  },
  {
    struct: "Qdisc_ops",
    members: { init: "this queueing discipline cannot be set up", change: "it cannot be changed" },
  },
  { struct: "tcf_proto_ops", members: { init: "this classifier cannot be set up", change: "it cannot be changed" } },
  { struct: "tc_action_ops", members: { init: "this action cannot be set up" } },
  { struct: "nft_expr_ops", members: { init: "rules with this expression cannot be added" } },
  { struct: "xt_match", members: { checkentry: "rules with this match cannot be added" } },
  { struct: "xt_target", members: { checkentry: "rules with this target cannot be added" } },
  {
    struct: "tty_ldisc_ops",
    members: { open: "this line discipline cannot be set", ioctl: "no ioctl of its terminals" },
  },
  { struct: "target_type", members: { ctr: "no new device-mapper devices of this kind" } },
  {
    struct: "block_device_operations",
    members: { open: "its devices cannot be opened", ioctl: "no ioctl of its devices" },
  },
  { struct: "usb_driver", members: { probe: "new devices do not get this driver" } },
  { struct: "pci_driver", members: { probe: "new devices do not get this driver" } },
  { struct: "key_type", members: { preparse: "no new keys of this type", instantiate: "no new keys of this type" } },
];
