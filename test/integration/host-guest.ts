import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { copyFileSync, cpSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import type { TargetKernel } from "../../src/kernel/target-kernel.ts";
import { findAlarm } from "../../src/vm/guest-log.ts";
import { guestOpening } from "../../src/vm/guest-script.ts";
import { chooseAccelerator } from "../../src/vm/kvm-probe.ts";
import { indexModules, resolveModules } from "../../src/vm/module-dependencies.ts";
import { type GuestEnd, runGuest } from "../../src/vm/qemu.ts";
import { type Frame, FrameDecoder } from "../../src/vm/serial-frames.ts";
import { FreshRoot } from "./fresh-root.ts";
import type { Scratch } from "./stock-kernel.ts";

const repository = fileURLToPath(new URL("../..", import.meta.url));

/** How one step of a guest's script ended. */
export interface Step {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** What a guest left behind. */
export interface HostRun {
  /** A step by its name. */
  step(name: string): Step;
  /** Its standard output as JSON. */
  json<Result>(name: string): Result;
  /** The kernel log from the first step to the last. */
  readonly log: readonly string[];
}

/** A guest that is a host of patch modules: the stock kernel with busybox, Node and kmend. */
export interface HostPlan {
  readonly kernel: TargetKernel;
  readonly scratch: Scratch;
  /** Files that the guest has in /modules. */
  readonly files?: readonly string[];
  /** The kernel's own modules, which the guest loads with their dependencies by `kernel_modules`. */
  readonly kernelModules?: readonly string[];
  /**
   * What the guest does, in sh. `step NAME COMMAND...` runs a command and sends how it ended; `shows NAME TEXT` does so with shell text;
   * `kmend` is there.
   */
  readonly script: string;
  readonly parameters?: readonly string[];
  /** Default 2. */
  readonly processors?: number;
  readonly timeoutSeconds?: number;
  /** Complaints of the kernel that the script is there to provoke. */
  readonly provoked?: RegExp;
  /** The self-contained executable, for a guest without Node. */
  readonly executable?: string;
}

/** Boots a host, runs the script to its end, and requires that the kernel found nothing to complain about. */
export async function runHost(plan: HostPlan): Promise<HostRun> {
  const { frames, end } = await bootHost(plan);
  const steps = readSteps(frames, end);
  expect(steps.done, steps.said).toBe(true);
  const { provoked } = plan;
  expectNoAlarm(provoked === undefined ? steps.log : steps.log.filter((line) => !provoked.test(line)));
  return steps;
}

/** What the steps of a guest's script sent. */
export interface Steps extends HostRun {
  /** Whether the script came to its end. */
  readonly done: boolean;
  /** Whether the guest came to a step. */
  has(name: string): boolean;
  /** Everything that was said, for a failing test. */
  readonly said: string;
}

export function readSteps(frames: readonly Frame[], end: GuestEnd): Steps {
  const find = (name: string): Frame | undefined => frames.find((frame) => frame.name === name);
  const texts = frames.map(({ name, status, text: output }) => `${name}: ${status}\n${output}`);
  const said = [...texts, end.console, end.stderr].join("\n");
  const step = (name: string): Step => {
    const out = find(`${name}.out`);
    if (out === undefined) throw new Error(`the guest did not come to ${name}: ${said}`);
    return { exitCode: out.status, stdout: out.text, stderr: find(`${name}.err`)?.text ?? "" };
  };
  return {
    step,
    said,
    log: (find("log")?.text ?? "").split("\n"),
    done: find("done") !== undefined,
    has: (name) => find(`${name}.out`) !== undefined,
    json: (name) => JSON.parse(step(name).stdout),
  };
}

/** Requires that the kernel found nothing to complain about. */
export function expectNoAlarm(log: readonly string[]): void {
  const alarms = log.filter((line) => findAlarm([line]) !== undefined);
  expect(alarms, log.join("\n")).toEqual([]);
}

/** A busy machine may not run the emulated processor for a minute, which the guest takes for a stall of its own. One that is real is a time-out. */
export const patience = ["nosoftlockup", "rcupdate.rcu_cpu_stall_suppress=1"];

async function bootHost(plan: HostPlan): Promise<{ readonly frames: readonly Frame[]; readonly end: GuestEnd }> {
  const { kernel, scratch } = plan;
  const token = randomBytes(6).toString("hex");
  const folder = scratch.folder();
  const root = new FreshRoot();
  try {
    if (plan.executable === undefined) installKmend(root);
    else installExecutable(root, plan.executable);
    mkdirSync(join(root.path, "modules"));
    for (const file of plan.files ?? []) copyFileSync(file, join(root.path, "modules", basename(file)));
    const index = await indexModules(kernel.modulesDir);
    const modules = await resolveModules(index, plan.kernelModules ?? [], scratch.folder());
    for (const path of modules) copyFileSync(path, join(root.path, "modules", basename(path)));
    const order = modules.map((path) => basename(path));
    writeFileSync(join(root.path, "init"), initScript(token, order, plan.script), { mode: 0o755 });
    const initramfs = join(folder, "initramfs.cpio");
    execFileSync("sh", ["-c", 'find . | cpio --create --format=newc --owner=+0:+0 --quiet >"$0"', initramfs], {
      cwd: root.path,
    });
    const decoder = new FrameDecoder(token);
    const accelerator = await chooseAccelerator(kernel.imagePath, join(folder, "trial"));
    const end = await runGuest({
      accelerator,
      imagePath: kernel.imagePath,
      initramfs,
      folder,
      megabytes: 1536,
      processors: plan.processors,
      timeoutSeconds: plan.timeoutSeconds ?? 400,
      parameters: [...patience, ...(plan.parameters ?? [])],
      onData: (piece) => {
        decoder.push(piece);
        return decoder.find("done") !== undefined;
      },
    });
    return { frames: decoder.frames, end };
  } finally {
    root.remove();
  }
}

/** Node with its libraries, and the built program with its folder, as an administrator would install them. */
function installKmend(root: FreshRoot): void {
  root.copyProgram("node");
  copyKmend(join(root.path, "opt/kmend"));
  root.program("kmend", 'exec node /opt/kmend/bin/kmend "$@"');
  root.program("kpatch", 'exec node /opt/kmend/compat/kpatch "$@"');
}

/** Copies the built program and the library into a folder, as `npm install` would, without what serves benchmarks and debuggers. */
export function copyKmend(home: string): void {
  for (const part of ["bin", "package.json", "compat", "dist/cli", "dist/index.js", "dist/chunks"]) {
    mkdirSync(dirname(join(home, part)), { recursive: true });
    const filter = (source: string): boolean => !source.endsWith(".map");
    cpSync(join(repository, part), join(home, part), { recursive: true, verbatimSymlinks: true, filter });
  }
}

/** The executable, and the link by which it is kpatch. */
export function installExecutable(root: FreshRoot, executable: string): void {
  root.copyProgram(executable, "kmend");
  symlinkSync("kmend", join(root.path, "bin/kpatch"));
}

/** `step NAME COMMAND...` runs a command and sends how it ended; `shows NAME TEXT` does so with shell text. */
export const stepFunctions = `step() {
  step_name=$1; shift
  "$@" >/tmp/step.out 2>/tmp/step.err
  step_status=$?
  send "$step_name.out" $step_status </tmp/step.out
  send "$step_name.err" 0 </tmp/step.err
}
shows() { step "$1" sh -c "$2"; }`;

function initScript(token: string, modules: readonly string[], script: string): string {
  return `${guestOpening(token)}
${stepFunctions}
kernel_modules() { for module in ${modules.join(" ")}; do insmod /modules/$module; done; }
export HOME=/root
chmod 755 /
cd /modules
tell booted
${script}
dmesg | send log 0
tell done
sleep 100
poweroff -f
`;
}
