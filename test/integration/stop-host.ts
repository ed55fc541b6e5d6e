import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ShippedModules } from "../../src/kernel/modules/shipped-module.ts";
import type { TargetKernel } from "../../src/kernel/target-kernel.ts";
import { type HostPlan, type HostRun, runHost } from "./host-guest.ts";
import type { Scratch } from "./stock-kernel.ts";

const source = fileURLToPath(new URL("../fixtures/stop-probes/probe.c", import.meta.url));

/** Modules that the guest has in /lib/modules: what the probe of AF_ALG needs. */
const guestModules = ["algif_hash", "af_alg", "sha256_generic", "libsha256"];

/**
 * Boots a kernel as a host without compiler, headers, packages or image: with its own modules, kmend, and a program that uses features of the kernel
 * (`/modules/probe`). `modules NAME...` loads modules of the kernel, `probe NAME FEATURE` uses one and sends how that ended.
 */
export async function runStopHost(
  kernel: TargetKernel,
  scratch: Scratch,
  script: string,
  plan: Partial<HostPlan> = {},
): Promise<HostRun> {
  const folder = scratch.folder();
  const probe = join(folder, "probe");
  execFileSync("gcc", ["-static", "-O1", "-Wall", "-Werror", "-o", probe, source]);
  const modules = await ShippedModules.open(kernel.modulesDir);
  const names = guestModules.filter((name) => modules.find(name) !== undefined);
  const files = await Promise.all(
    names.map(async (name) => {
      const path = join(folder, `${name}.ko`);
      writeFileSync(path, await modules.read(modules.find(name) as NonNullable<ReturnType<typeof modules.find>>));
      return path;
    }),
  );
  const order = names.map((name) => `kernel/${name}.ko`).join("\\n");
  return runHost({
    ...{ kernel, scratch, timeoutSeconds: 900, ...plan },
    files: [probe, ...files, ...(plan.files ?? [])],
    script: `
mkdir -p /lib/modules/$(uname -r)/kernel
printf '${order}\\n' >/lib/modules/$(uname -r)/modules.order
: >/lib/modules/$(uname -r)/modules.builtin
cp ${names.map((name) => `/modules/${name}.ko`).join(" ")} /lib/modules/$(uname -r)/kernel/
modules() { for module in "$@"; do [ -e /modules/$module.ko ] && insmod /modules/$module.ko; done; true; }
probe() { step "$1" /modules/probe "$2"; }
ifconfig lo up
${script}`,
  });
}
