/** A feature of the kernel that is one way in, with the functions that close it. */
export interface Feature {
  /** Words by which people call it. */
  readonly names: readonly string[];
  /** Start of the paths of its source files, or these files. */
  readonly paths: readonly string[];
  /** Modules that it is in where it is not built in. */
  readonly modules?: readonly string[];
  /** Functions of the kernel itself that close it, and what each breaks. */
  readonly functions?: Readonly<Record<string, string>>;
}

const call = (name: string): string => `__x64_sys_${name}`;
const sandbox = "browsers, containers and other sandboxes that make these";

/** What is often closed until it is repaired. A function that a kernel does not have is passed over. */
export const features: readonly Feature[] = [
  {
    names: ["ptrace"],
    paths: ["kernel/ptrace.c"],
    functions: {
      ptrace_attach: "debuggers cannot attach to running programs",
      [call("ptrace")]: "no debugger, no strace",
    },
  },
  {
    names: ["userfaultfd"],
    paths: ["fs/userfaultfd.c", "mm/userfaultfd.c"],
    functions: {
      [call("userfaultfd")]: "live migration of virtual machines after the copy, some garbage collectors",
      userfaultfd_ioctl: "the same, for descriptors that are open too",
    },
  },
  {
    names: ["io_uring", "io-uring"],
    paths: ["io_uring/", "fs/io_uring.c"],
    functions: {
      [call("io_uring_setup")]: "programs fall back to other ways of input and output, or fail",
      [call("io_uring_enter")]: "programs that have a ring stand still",
      [call("io_uring_register")]: "rings that are set up keep what they have",
    },
  },
  {
    names: ["bpf", "ebpf"],
    paths: ["kernel/bpf/"],
    functions: { [call("bpf")]: "no new BPF programs and maps: monitoring, networks of containers, systemd's filters" },
  },
  {
    names: ["perf", "perf_event"],
    paths: ["kernel/events/"],
    functions: { [call("perf_event_open")]: "no new measurements with perf" },
  },
  {
    names: ["userns", "user-namespace", "user_namespace"],
    paths: ["kernel/user_namespace.c"],
    functions: {
      create_user_ns: sandbox,
      [call("unshare")]: `${sandbox}, and services with private views of the system`,
    },
  },
  {
    names: ["keys", "keyring", "keyctl"],
    paths: ["security/keys/"],
    functions: {
      [call("add_key")]: "no new keys: Kerberos, eCryptfs, fscrypt",
      [call("keyctl")]: "no use of keys by programs: Kerberos, fscrypt",
      [call("request_key")]: "no requests of keys by programs",
    },
  },
  {
    names: ["pidfd"],
    paths: [],
    functions: { [call("pidfd_open")]: "service managers that use it", [call("pidfd_getfd")]: "few programs use it" },
  },
  {
    names: ["sysv", "sysvipc", "ipc"],
    paths: ["ipc/"],
    functions: {
      [call("shmget")]: "shared memory of System V: some data bases",
      [call("semget")]: "semaphores of System V",
      [call("msgget")]: "message queues of System V",
      [call("msgsnd")]: "nothing can be sent to these queues",
    },
  },
  { names: ["mqueue"], paths: ["ipc/mqueue.c"], functions: { [call("mq_open")]: "POSIX message queues" } },
  {
    names: ["aio"],
    paths: ["fs/aio.c"],
    functions: { [call("io_setup")]: "asynchronous input and output of data bases" },
  },
  {
    names: ["mount"],
    paths: ["fs/namespace.c"],
    functions: {
      [call("mount")]: "no new mounts",
      [call("fsopen")]: "no new mounts by newer programs",
      [call("move_mount")]: "the same",
    },
  },
  {
    names: ["splice"],
    paths: ["fs/splice.c"],
    functions: {
      [call("splice")]: "programs that copy in the kernel",
      [call("vmsplice")]: "few programs use it",
      [call("tee")]: "few programs use it",
    },
  },
  { names: ["memfd"], paths: ["mm/memfd.c"], functions: { [call("memfd_create")]: "graphics, containers, systemd" } },
  {
    names: ["kexec"],
    paths: ["kernel/kexec"],
    functions: { [call("kexec_load")]: "no new crash kernel", [call("kexec_file_load")]: "no new crash kernel" },
  },
  {
    names: ["af_alg", "af-alg", "algif"],
    paths: ["crypto/algif_", "crypto/af_alg.c"],
    modules: ["af_alg", "algif_hash", "algif_skcipher", "algif_aead", "algif_rng"],
  },
  {
    names: ["nf_tables", "nftables", "nft"],
    paths: ["net/netfilter/nf_tables", "net/netfilter/nft_"],
    modules: ["nf_tables"],
  },
  { names: ["netfilter"], paths: ["net/netfilter/"], modules: ["nfnetlink", "nf_tables", "x_tables"] },
  { names: ["vsock"], paths: ["net/vmw_vsock/"], modules: ["vsock"] },
  { names: ["can"], paths: ["net/can/"], modules: ["can", "can_raw", "can_bcm", "can_isotp", "can_j1939"] },
  { names: ["tls", "ktls"], paths: ["net/tls/"], modules: ["tls"] },
  { names: ["bluetooth"], paths: ["net/bluetooth/"], modules: ["bluetooth"] },
  { names: ["nfc"], paths: ["net/nfc/"], modules: ["nfc"] },
];
