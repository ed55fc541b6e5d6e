import { randomBytes } from "node:crypto";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { rethrowDiskErrors } from "../support/cache.ts";
import { ExitCode, KmendError } from "../support/errors.ts";
import { moduleName } from "../support/module-file-name.ts";
import { SilentProgress } from "../support/progress.ts";
import { guestScript } from "./guest-script.ts";
import { makeInitramfs } from "./initramfs.ts";
import { chooseAccelerator } from "./kvm-probe.ts";
import { indexModules, modulesByName, resolveInTurn } from "./module-dependencies.ts";
import { inspectPatchModuleFor, type PatchedFunction, requireEarlier } from "./patch-module.ts";
import { type GuestEnd, runGuest } from "./qemu.ts";
import { type Frame, FrameDecoder } from "./serial-frames.ts";
import type { Accelerator, TryOptions, TryResult } from "./try-types.ts";
import { judge } from "./verdict.ts";

const defaultTimeoutSeconds = 120;

/** What the status line says when a frame of that name arrives. */
const stepTitles: Readonly<Record<string, string>> = {
  booted: "booted; probes before the load",
  load: "patch module loaded, waiting for the transition",
  patched: "patch active; probes",
  disable: "disabled, waiting for the transition back",
  unload: "unloaded; probes again",
};

/**
 * Boots the kernel in QEMU, loads the patch module, waits for its transition, takes it back and unloads it, with the probes run before, while and after.
 * What goes wrong in the guest is a `failed` verdict; only what keeps the guest from being started is thrown.
 * @throws KmendError `NOT_A_PATCH_MODULE`, `WRONG_KERNEL`, `EARLIER_MISSING`, `NO_SUCH_MODULE`, `PROGRAM_MISSING`, `VM_DID_NOT_START`, or the abort signal's reason.
 */
export async function tryModule(options: TryOptions): Promise<TryResult> {
  const progress = options.progress ?? new SilentProgress();
  const patch = await inspectPatchModuleFor(options.modulePath, options.kernel.release);
  const { earlier = [] } = options;
  const { staysInMemory } = patch;
  await requireEarlier(patch, earlier, options.kernel.release);
  const folder = await mkdtemp(join(tmpdir(), "kmend-try-")).catch(rethrowDiskErrors);
  try {
    const timeoutSeconds = options.timeoutSeconds ?? defaultTimeoutSeconds;
    const probes = options.probes ?? [];
    const limits = {
      probeLimit: Math.max(5, Math.round(timeoutSeconds / 6)),
      transitionLimit: Math.max(10, Math.round(timeoutSeconds / 3)),
    };
    const counted = countable(patch.functions);
    const token = randomBytes(6).toString("hex");
    const accelerator = await progress.phase("accelerator", "Choose between KVM and software emulation", () =>
      chooseAccelerator(options.kernel.imagePath, join(folder, "trial"), options.signal),
    );
    const { initramfs, modules, optional } = await progress.phase("initramfs", "Pack the initramfs", async () => {
      const copies = join(folder, "named");
      await mkdir(copies);
      const further = await modulesByName(options.moduleFiles ?? [], copies);
      const required = [...patch.depends, ...(options.modules ?? []), ...further.keys()];
      const index = await indexModules(options.kernel.modulesDir, further);
      // What only the patched modules need may fail to start on this machine.
      const [needed = [], patched = []] = await resolveInTurn(index, [required, patch.objects], folder);
      const files = [...needed, ...patched, ...earlier];
      const optional = patched.map((_, number) => needed.length + number);
      const init = guestScript({
        token,
        moduleCount: files.length,
        optional,
        probeCount: probes.length,
        counted: counted.map(({ symbol }) => symbol),
        staysInMemory,
        ...limits,
      });
      const content = { init, patchModule: options.modulePath, modules: files, probes };
      return { initramfs: await makeInitramfs(folder, content), modules: files.map(moduleName), optional };
    });
    const { frames, end } = await progress.phase("vm", title(options, accelerator), async (status) => {
      const decoder = new FrameDecoder(token, ({ name }) => {
        const text = stepTitles[name];
        if (text !== undefined) status(text);
      });
      const onData = (piece: string): boolean => {
        decoder.push(piece);
        return decoder.find("done") !== undefined;
      };
      const { imagePath } = options.kernel;
      const guest = { accelerator, imagePath, initramfs, folder, timeoutSeconds, onData, signal: options.signal };
      return { end: await runGuest(guest), frames: decoder.frames };
    });
    requireStart(frames, end);
    const { verdict, ...findings } = judge({
      token,
      frames,
      end,
      timeoutSeconds,
      probeLimitSeconds: limits.probeLimit,
      transitionLimitSeconds: limits.transitionLimit,
      modules,
      optional,
      probes,
      counted,
      moduleName: patch.name,
      staysInMemory,
    });
    const { release } = options.kernel;
    const milliseconds = { ...progress.milliseconds };
    return {
      schema: 1,
      verdict,
      kernel: release,
      sha256: patch.sha256,
      staysInMemory,
      ...findings,
      accelerator,
      milliseconds,
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Functions whose calls are counted at most: a kprobe at each takes the guest some milliseconds. */
const mostCounted = 64;

/** Those whose calls the guest can count: the kernel has to find them in the module by their names. */
function countable(functions: readonly PatchedFunction[]): PatchedFunction[] {
  const isAlone = ({ symbol }: PatchedFunction): boolean =>
    functions.filter((one) => one.symbol === symbol).length === 1;
  return functions.filter((one) => /^[\w.$]+$/.test(one.symbol) && isAlone(one)).slice(0, mostCounted);
}

function title(options: TryOptions, accelerator: Accelerator): string {
  const how = accelerator === "kvm" ? "KVM" : "software emulation";
  return `Try the module on ${options.kernel.release} in QEMU (${how})`;
}

/** QEMU that ends with an error before the kernel said anything is a problem of this host, not of the patch. */
function requireStart(frames: readonly Frame[], end: GuestEnd): void {
  if (frames.length > 0 || end.timedOut || end.exitCode === 0 || end.console !== "") return;
  throw new KmendError({
    code: "VM_DID_NOT_START",
    message: `QEMU ended with ${end.exitCode === null ? "a signal" : `exit code ${end.exitCode}`} before the kernel started`,
    why: end.stderr.trim() === "" ? undefined : end.stderr.trim(),
    exitCode: ExitCode.environment,
  });
}
