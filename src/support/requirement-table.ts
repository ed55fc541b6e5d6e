/**
 * What a requirement is for: making a patch module, with a compiler that this machine does not have too, trying it in a virtual machine, making a package or repository of that kind, taking a kernel from
 * RPMs that are given or that dnf finds, fetching CVE records and fixes, running the project's own tests.
 */
export type Need =
  | "build"
  | "build-root"
  | "try"
  | "cve"
  | "rpm"
  | "deb"
  | "sign"
  | "rpm-repository"
  | "source-rpm"
  | "dnf"
  | "test";

/** A way of managing packages; one column of the table each. */
export type PackageManager = "apt";

/** How presence is seen. */
export type Evidence =
  | { readonly kind: "program"; readonly name: string }
  | { readonly kind: "staticProgram"; readonly name: string }
  /** Any one of these files. */
  | { readonly kind: "file"; readonly paths: readonly string[] };

/** One thing that has to be installed. */
export interface Requirement {
  readonly name: string;
  readonly needs: readonly Need[];
  readonly why: string;
  readonly evidence: Evidence;
  /** Needed only where the archive of this machine's release has a package of it. */
  readonly whereOffered?: true;
  /** Package that provides it; with several, the first that the archive knows. */
  readonly packages: Readonly<Record<PackageManager, readonly [string, ...string[]]>>;
}

function program(name: string, needs: readonly Need[], why: string, ...apt: [string, ...string[]]): Requirement {
  return { name, needs, why, evidence: { kind: "program", name }, packages: { apt } };
}

/** A compiler that some releases of a distribution have beside their own. */
function olderCompiler(name: string, why: string): Requirement {
  return { ...program(name, ["test"], why, name), whereOffered: true };
}

function header(path: string, needs: readonly Need[], why: string, apt: string): Requirement {
  const paths = [`/usr/include/${path}`, `/usr/include/x86_64-linux-gnu/${path}`];
  return { name: path, needs, why, evidence: { kind: "file", paths }, packages: { apt: [apt] } };
}

const build = ["build", "test"] as const;
const all = ["build", "try", "test"] as const;
const vm = ["try", "test"] as const;
const sourceRpm = ["source-rpm", "test"] as const;

/**
 * Everything that kmend asks of a machine besides Node and the programs that Debian marks essential (coreutils, sed, grep, tar, gzip,
 * perl-base, dpkg). `modules_prepare` of a Debian kernel was run with nothing else on PATH to find the rows for it.
 */
export const requirements: readonly Requirement[] = [
  program("gcc", build, "compiles the original and the patched units and the kernel's own build tools", "gcc"),
  program("ld", build, "links the patch module", "binutils"),
  header("stdio.h", build, "the kernel's build tools are ordinary C programs", "libc6-dev"),
  program("make", build, "runs the kernel's build system", "make"),
  program("flex", build, "generates scanners of the kernel's configuration and symbol version tools", "flex"),
  program("bison", build, "generates parsers of the kernel's configuration and symbol version tools", "bison"),
  program("bc", build, "computes the kernel's time conversion constants (kernel/time/timeconst.bc)", "bc"),
  program("awk", build, "generates the instruction tables of objtool (arch/x86/tools)", "mawk"),
  program("python3", build, "generates the helper table of the kernel's BTF tool (scripts/bpf_doc.py)", "python3"),
  header("libelf.h", build, "objtool is linked with libelf", "libelf-dev"),
  header(
    "openssl/opensslv.h",
    build,
    "the kernel's certificate and module signing tools are linked with libcrypto",
    "libssl-dev",
  ),
  program(
    "pahole",
    build,
    "without it the kernel's configuration turns BTF off, which changes struct module, and no patch module would fit",
    "pahole",
    "dwarves",
  ),
  program("patch", build, "applies the patch to a copy of the changed files", "patch"),
  program("xz", all, "unpacks the kernel source, the kernel image and compressed modules", "xz-utils"),
  program("zstd", all, "unpacks kernel images and modules of newer kernels", "zstd"),
  program("lzop", ["test"], "unpacks kernel images that are compressed with it", "lzop"),
  program("lz4", ["test"], "unpacks kernel images that are compressed with it", "lz4"),
  program("dpkg-deb", [...all, "deb"], "unpacks the kernel's packages without installing them, and makes debs", "dpkg"),
  program("cpio", [...vm, "source-rpm"], "packs the guest's first file system, and unpacks RPMs", "cpio"),
  program("qemu-system-x86_64", vm, "runs the virtual machine", "qemu-system-x86"),
  {
    name: "busybox (static)",
    needs: vm,
    why: "is the whole user space of the virtual machine",
    evidence: { kind: "staticProgram", name: "busybox" },
    packages: { apt: ["busybox-static"] },
  },
  program("rpmbuild", ["rpm", ...sourceRpm], "makes RPM packages, and prepares the source in source RPMs", "rpm"),
  program("rpm", ["rpm", "rpm-repository", ...sourceRpm], "reads RPM packages", "rpm"),
  program("rpm2cpio", sourceRpm, "unpacks RPM packages", "rpm2cpio"),
  program("createrepo_c", ["rpm-repository", "test"], "indexes a dnf repository", "createrepo-c"),
  program(
    "mmdebstrap",
    ["build-root", "test"],
    "makes a build root with the compiler of a kernel, and for tests the root of a virtual machine with systemd",
    "mmdebstrap",
  ),
  program("systemd-analyze", ["test"], "measures how exposed kmend's services are", "systemd"),
  program("mke2fs", ["test"], "makes the disk of that virtual machine", "e2fsprogs"),
  program("openssl", ["sign", "test"], "signs modules", "openssl"),
  program(
    "dnf",
    ["dnf", "test"],
    "finds the packages that were built from a source RPM, unless they are given with --kernel-rpm",
    "dnf",
  ),
  {
    name: "dnf's download command",
    needs: ["test"],
    why: "fetches packages from the repositories that the tests make",
    evidence: { kind: "file", paths: ["/usr/lib/python3/dist-packages/dnf-plugins/download.py"] },
    packages: { apt: ["dnf-plugins-core"] },
  },
  program("dpkg-source", ["test"], "makes and unpacks source packages", "dpkg-dev"),
  program("bzip2", ["test"], "is what Ubuntu's kernel source is packed with, and some kernel images", "bzip2"),
  program("gpg", ["test"], "signs packages and repositories", "gpg"),
  program("gpg-agent", ["test"], "keeps the keys that gpg makes and signs with", "gpg-agent"),
  program(
    "git",
    ["cve", "test"],
    "reads fixes from a clone of the stable tree, and makes repositories for tests",
    "git",
  ),
  program("curl", ["cve", "test"], "fetches CVE records and fixes, through the machine's proxies", "curl"),
  program("ccache", ["test"], "keeps what was compiled, since tests compile the same units many times", "ccache"),
  program("modinfo", ["test"], "reads a module as the system does", "kmod"),
  program("depmod", ["test"], "indexes the modules of a virtual machine with systemd", "kmod"),
  program("modprobe", ["test"], "loads modules in a virtual machine with systemd", "kmod"),
  program("insmod", ["test"], "loads a patch module without kmend", "kmod"),
  program("rmmod", ["test"], "unloads one without kmend", "kmod"),
  program("ps", ["test"], "shows what a killed program leaves running", "procps"),
  program("stress-ng", ["test"], "puts load on a kernel whose functions are replaced", "stress-ng"),
  program("ip", ["test"], "makes the networks of that load", "iproute2"),
  program("tc", ["test"], "lets them lose packets", "iproute2"),
  program("mkfs.xfs", ["test"], "makes a file system for that load", "xfsprogs"),
  program("mkfs.btrfs", ["test"], "makes another", "btrfs-progs"),
  // 70 MB of packages, 400 MB installed, for the three; clang is 50 and 260 MB.
  program("aarch64-linux-gnu-gcc", ["test"], "compiles fixtures for aarch64", "gcc-aarch64-linux-gnu"),
  program("powerpc64le-linux-gnu-gcc", ["test"], "compiles fixtures for PowerPC", "gcc-powerpc64le-linux-gnu"),
  program("s390x-linux-gnu-gcc", ["test"], "compiles fixtures for s390x", "gcc-s390x-linux-gnu"),
  program("clang-19", ["test"], "compiles fixtures for LoongArch and for big-endian machines", "clang-19"),
  // The oldest compilers that Debian 12 has beside its own: 90 and 40 MB of packages. Debian 13 has none as old.
  olderCompiler("gcc-11", "compiles fixtures as an older gcc does"),
  olderCompiler("clang-14", "compiles fixtures as an older clang does"),
  olderCompiler("clang-16", "compiles fixtures, and a kernel that checks the types of calls"),
  { ...program("ld.lld-16", ["test"], "links that kernel", "lld-16"), whereOffered: true },
  { ...program("llvm-nm-16", ["test"], "reads that kernel's symbols", "llvm-16"), whereOffered: true },
  program("dpkg-shlibdeps", ["test"], "finds what kmend's own deb depends on", "dpkg-dev"),
  program("mandoc", ["test"], "checks the manual pages", "mandoc"),
  program("zsh", ["test"], "completes command lines of kmend", "zsh"),
  program("fish", ["test"], "completes command lines of kmend", "fish"),
  // 400 MB installed.
  program("chromium", ["test"], "opens the review report", "chromium"),
  program("redis-server", ["test"], "is the queue of kmend matrix in its tests", "redis-server"),
  program("ansible-playbook", ["test"], "rolls packages out in the test of the playbook", "ansible-core"),
  program("softhsm2-util", ["test"], "is the token in the test of signing with one", "softhsm2"),
  {
    name: "OpenSSL's way to tokens",
    needs: ["test"],
    why: "lets openssl use a key in a token",
    evidence: {
      kind: "file",
      paths: ["/usr/lib/x86_64-linux-gnu/engines-3/pkcs11.so", "/usr/lib/x86_64-linux-gnu/ossl-modules/pkcs11.so"],
    },
    packages: { apt: ["libengine-pkcs11-openssl", "pkcs11-provider"] },
  },
];
