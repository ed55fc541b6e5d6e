import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import { cacheRoot, makeOnce, sha256, withLock } from "../../src/support/cache.ts";
import { chooseAccelerator } from "../../src/vm/kvm-probe.ts";
import { indexModules, resolveModules } from "../../src/vm/module-dependencies.ts";
import { type GuestEnd, runGuest } from "../../src/vm/qemu.ts";
import { FrameDecoder } from "../../src/vm/serial-frames.ts";
import { copyKmend, expectNoAlarm, patience, readSteps, type Steps, stepFunctions } from "./host-guest.ts";
import type { Scratch, StockKernel } from "./stock-kernel.ts";

const system = fileURLToPath(new URL("../../system", import.meta.url));

/** Modules of the kernel that the guest has: its disk, and one for patches to change. */
const kernelModules = ["virtio_pci", "virtio_blk", "crc32c_generic", "ext4", "zram"];

/** A maker of initramfs images as the guest has it. */
interface InitramfsMaker {
  readonly package: string;
  /** Its configuration, so that the image has the drivers of the guest's disk and little else. */
  readonly files: (drivers: readonly string[]) => Readonly<Record<string, string>>;
  /** Makes the first image, with $release. */
  readonly command: string;
}

const makers = {
  "initramfs-tools": {
    package: "initramfs-tools",
    files: (drivers) => ({
      "etc/initramfs-tools/initramfs.conf":
        "MODULES=list\nBUSYBOX=auto\nKEYMAP=n\nCOMPRESS=gzip\nDEVICE=\nNFSROOT=auto\nRUNSIZE=10%\nFSTYPE=ext4\n",
      "etc/initramfs-tools/modules": `${drivers.join("\n")}\n`,
    }),
    command: 'update-initramfs -c -k "$release"',
  },
  dracut: {
    package: "dracut-core",
    files: (drivers) => ({
      "etc/dracut.conf.d/guest.conf": `hostonly=no\ncompress=gzip\nforce_drivers+=" ${drivers.join(" ")} "\n`,
    }),
    command: 'dracut --force --kver "$release"',
  },
} as const satisfies Readonly<Record<string, InitramfsMaker>>;

/** What the guest is made of. */
function packagesWith(maker: InitramfsMaker): readonly string[] {
  return ["systemd-sysv", "udev", "kmod", maker.package];
}

/** Programs that mmdebstrap and apt know, where a root is made from what this machine's own sources offer. */
function sourcesOfThisMachine(): string[] {
  return ["/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"]
    .filter((path) => existsSync(path) && statSync(path).size > 0)
    .slice(0, 1);
}

function run(program: string, ...words: string[]): string {
  return execFileSync(program, words, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"], maxBuffer: 1 << 26 });
}

/** A Debian of the machine's own release, as a tar archive in the cache. It is made anew when the archive has other versions of its packages. */
async function debianArchive(maker: InitramfsMaker): Promise<string> {
  const packages = packagesWith(maker);
  const release = run("sh", "-c", '. /etc/os-release; echo "$VERSION_CODENAME"').trim();
  const versions = run("apt-cache", "policy", ...packages).match(/Candidate: \S+/g) ?? [];
  const folder = join(cacheRoot(), "test-debian");
  const kind = `${release}-${maker.package}-`;
  const path = join(folder, `${kind}${sha256(packages.join(" "), versions.join(" ")).slice(0, 16)}.tar`);
  mkdirSync(folder, { recursive: true });
  const make = (): Promise<string> =>
    makeOnce(path, async (temporary) => {
      const without = ["doc", "man", "locale", "info"].map((name) => `--dpkgopt=path-exclude=/usr/share/${name}/*`);
      const words = ["--quiet", "--variant=minbase", "--format=tar", `--include=${packages.join(",")}`, ...without];
      run("mmdebstrap", ...words, release, temporary, ...sourcesOfThisMachine());
      for (const other of readdirSync(folder)) {
        if (other.endsWith(".tar") && other.startsWith(kind)) rmSync(join(folder, other));
      }
    });
  await withLock(join(folder, "lock"), make, { onWait: () => {}, signal: undefined });
  return path;
}

/** What a guest left behind when it ended. */
export interface BootEnd extends Steps {
  readonly end: GuestEnd;
}

/** What {@link DebianGuest} is made with. */
export interface DebianPlan {
  readonly stock: StockKernel;
  readonly scratch: Scratch;
  /** Files that the guest has in /modules. */
  readonly files: readonly string[];
  /** What makes its initramfs; default initramfs-tools. */
  readonly maker?: keyof typeof makers;
  /** Shell text that runs in the root of the guest before it becomes a disk, with $release. */
  readonly prepare?: string;
}

/** A machine with the stock kernel, Debian's userland and systemd, a disk that lasts, and kmend as its administrator would install it. */
export class DebianGuest {
  readonly #plan: DebianPlan;
  readonly #folder: string;
  readonly #disk: string;
  #initramfs = "";

  private constructor(plan: DebianPlan) {
    this.#plan = plan;
    this.#folder = plan.scratch.folder();
    this.#disk = join(this.#folder, "disk");
  }

  static async create(plan: DebianPlan): Promise<DebianGuest> {
    const guest = new DebianGuest(plan);
    await guest.#make();
    return guest;
  }

  async #make(): Promise<void> {
    const { stock, scratch, files } = this.#plan;
    const { release, modulesDir, configPath } = stock.kernel;
    const maker: InitramfsMaker = makers[this.#plan.maker ?? "initramfs-tools"];
    const root = join(this.#folder, "root");
    mkdirSync(root);
    run("tar", "-xf", await debianArchive(maker), "-C", root, "--exclude=./dev/*");
    const put = (path: string, text: string, mode = 0o644): void => {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), text, { mode });
      chmodSync(join(root, path), mode);
    };
    copyProgram(root, process.execPath, "/usr/bin/node");
    copyKmend(join(root, "opt/kmend"));
    symlinkSync("/opt/kmend/bin/kmend", join(root, "usr/bin/kmend"));
    symlinkSync("/opt/kmend/compat/kpatch", join(root, "usr/sbin/kpatch"));
    installSystemFiles(root);
    mkdirSync(join(root, "modules"));
    for (const file of files) cpSync(file, join(root, "modules", basename(file)));
    const here = join(root, "usr/lib/modules", release);
    mkdirSync(join(here, "kernel"), { recursive: true });
    const index = await indexModules(modulesDir);
    // ext4 asks for a checksum by its purpose, which only depmod's tables lead to a module; newer kernels have it built in.
    const wanted = kernelModules.filter((name) => name !== "crc32c_generic" || index.files.has(name));
    const modules = await resolveModules(index, wanted, scratch.folder());
    for (const module of modules) cpSync(module, join(here, "kernel", basename(module)));
    for (const name of ["modules.order", "modules.builtin", "modules.builtin.modinfo"]) {
      if (modulesDir !== undefined) cpSync(join(modulesDir, name), join(here, name));
    }
    mkdirSync(join(root, "boot"), { recursive: true });
    if (configPath !== undefined) cpSync(configPath, join(root, "boot", `config-${release}`));
    const drivers = modules.map((path) => basename(path, ".ko")).filter((name) => name !== "zram");
    for (const [path, text] of Object.entries(maker.files(drivers))) put(path, text);
    put("etc/fstab", "/dev/vda / ext4 errors=remount-ro 0 0\n");
    put("etc/hostname", "guest\n");
    put("etc/machine-id", "");
    put("etc/systemd/system/test.service", testUnit);
    for (const unit of ["getty.target", "serial-getty@ttyS0.service", "apt-daily.timer", "apt-daily-upgrade.timer"]) {
      symlinkSync("/dev/null", join(root, "etc/systemd/system", unit));
    }
    const prepare = `release=${release}
depmod "$release"
systemctl enable kmend.service test.service
${maker.command}
${this.#plan.prepare ?? ""}`;
    execFileSync("chroot", [root, "sh", "-ec", prepare], { stdio: ["ignore", "pipe", "pipe"] });
    run("mke2fs", "-q", "-t", "ext4", "-d", root, this.#disk, "900M");
    rmSync(root, { recursive: true });
    this.#readInitramfs();
  }

  /** The disk's own initramfs, as a boot loader would take it. */
  #readInitramfs(): void {
    const path = join(this.#folder, "initramfs");
    rmSync(path, { force: true });
    run("debugfs", "-R", `dump /boot/initrd.img-${this.#plan.stock.kernel.release} ${path}`, this.#disk);
    expect(statSync(path).size).toBeGreaterThan(1_000_000);
    this.#initramfs = path;
  }

  /**
   * Starts the machine once. The script runs when the system is up: `step NAME COMMAND...`, `shows NAME TEXT`, as in host-guest.ts; then the machine is shut
   * down, unless the script brings it down itself.
   */
  async boot(script: string, parameters: readonly string[] = []): Promise<BootEnd> {
    const token = randomBytes(6).toString("hex");
    const folder = this.#plan.scratch.folder();
    const orders = join(folder, "orders");
    mkdirSync(orders);
    writeFileSync(join(orders, "script"), guestScript(token, script));
    const archive = join(folder, "orders.tar");
    run("tar", "-cf", archive, "-C", orders, "script");
    const decoder = new FrameDecoder(token);
    const { imagePath } = this.#plan.stock.kernel;
    const end = await runGuest({
      accelerator: await chooseAccelerator(imagePath, join(folder, "trial")),
      imagePath,
      initramfs: this.#initramfs,
      folder,
      megabytes: 1024,
      // All of them would share one thread.
      processors: 1,
      timeoutSeconds: 1500,
      disks: [this.#disk, archive],
      parameters: ["root=/dev/vda", "ro", "systemd.show_status=0", ...patience, ...parameters],
      onData: (piece) => {
        decoder.push(piece);
        return false;
      },
    });
    const steps = readSteps(decoder.frames, end);
    expect(end.timedOut, steps.said).toBe(false);
    if (steps.done) {
      this.#readInitramfs();
      expectNoAlarm(steps.log);
    }
    return { ...steps, end };
  }
}

const testUnit = `[Unit]
Description=What a test has the machine do
After=kmend.service

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'mkdir -p /run/test && tar -xf /dev/vdb -C /run/test && exec sh /run/test/script'
TimeoutStartSec=infinity

[Install]
WantedBy=default.target
`;

function guestScript(token: string, script: string): string {
  return `stty -F /dev/ttyS1 raw -echo 115200
send() { { echo "@${token}< $1 $2"; base64; echo "@${token}> $1"; } >/dev/ttyS1; }
${stepFunctions}
export HOME=/root
release=$(uname -r)
cd /modules
${script}
dmesg | send log 0
send done 0 </dev/null
systemctl poweroff
`;
}

/** Copies a program of this machine with those of its libraries that the root does not have. */
function copyProgram(root: string, from: string, to: string): void {
  cpSync(from, join(root, to), { dereference: true });
  for (const [library] of run("ldd", from).matchAll(/\/\S*lib\S*\.so\S*/g)) {
    const target = join(root, library);
    if (existsSync(target)) continue;
    mkdirSync(dirname(target), { recursive: true });
    cpSync(library, target, { dereference: true });
  }
}

/** Every row of the table in system/README.md. */
function installSystemFiles(root: string): void {
  const places: Readonly<Record<string, string>> = {
    "kmend.service": "usr/lib/systemd/system/kmend.service",
    "kmend-confirm.service": "usr/lib/systemd/system/kmend-confirm.service",
    "initramfs/load": "usr/lib/kmend/initramfs/load",
    "initramfs-tools/hooks/kmend": "usr/share/initramfs-tools/hooks/kmend",
    "initramfs-tools/scripts/init-bottom/kmend": "usr/share/initramfs-tools/scripts/init-bottom/kmend",
    "dracut/90kmend/module-setup.sh": "usr/lib/dracut/modules.d/90kmend/module-setup.sh",
    "dracut/90kmend/load-patches.sh": "usr/lib/dracut/modules.d/90kmend/load-patches.sh",
  };
  for (const [file, place] of Object.entries(places)) {
    mkdirSync(dirname(join(root, place)), { recursive: true });
    cpSync(join(system, file), join(root, place));
  }
}
