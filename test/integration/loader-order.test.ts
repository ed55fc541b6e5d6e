import { afterAll, expect, test } from "vitest";
import type { BuildResult } from "../../src/build/build-types.ts";
import { specialSections } from "../../src/diff/special-sections/special-sections.ts";
import { kmend } from "../cli/captured.ts";
import { runHost } from "./host-guest.ts";
import { edits, shippedModule } from "./ksplice-tree.ts";
import { Scratch, stockKernel, testedKernel } from "./stock-kernel.ts";

const scratch = new Scratch();
afterAll(() => scratch.remove());

/** Functions of x86-64 kernels that read a table of a module (kernel/module/main.c, arch/x86/kernel/module.c); a kernel may lack some of them. */
const readers: Readonly<Record<string, string>> = {
  __jump_table: "jump_label_module_notify",
  ".altinstructions": "apply_alternatives",
  __ex_table: "sort_extable",
  __bug_table: "module_bug_finalize",
  ".static_call_sites": "static_call_module_notify",
  ".parainstructions": "apply_paravirt",
  ".smp_locks": "alternatives_smp_module_add",
  __mcount_loc: "ftrace_module_init",
  ".retpoline_sites": "apply_retpolines",
  ".return_sites": "apply_returns",
  ".orc_unwind_ip": "unwind_module_init",
  ".orc_unwind": "unwind_module_init",
  ".call_sites": "callthunks_patch_module_calls",
  ".ibt_endbr_seal": "apply_seal_endbr",
  ".cfi_sites": "apply_fineibt",
};

/** Rows of other architectures, and one that is read by programs only. */
const elsewhere = /fixup$|^\.printk_index$|^__stack_protector_loc$/;

test("every table that the module loader reads has its reader here", () => {
  const rows = specialSections.filter(({ loader, table }) => loader === true && !elsewhere.test(table));
  expect(rows.map(({ table }) => table).filter((table) => readers[table] === undefined)).toEqual([]);
});

test("the kernel reads them after relocations of its own symbols, and before those of a patched module's", async () => {
  const { kernel, tree } = await stockKernel();
  const output = scratch.folder();
  const patch = scratch.patch(tree.path, { "fs/binfmt_misc.c": edits.shout });
  const made = await kmend("build", patch, "--kernel", testedKernel, "--json", "-o", output);
  expect(made.exitCode, made.stderr).toBe(0);
  const { module } = JSON.parse(made.stdout) as BuildResult;
  const shipped = scratch.file("shipped.ko", await shippedModule(kernel, "binfmt_misc"));
  const relocates = "klp_apply_section_relocs";
  const names = [...new Set(Object.values(readers)), relocates];
  const host = await runHost({
    kernel,
    scratch,
    files: [shipped, module?.path as string],
    script: `
insmod /modules/shipped.ko
mount -t tracefs tracefs /sys/kernel/tracing
cd /sys/kernel/tracing
for name in ${names.join(" ")}; do echo $name >>set_ftrace_filter; done 2>/dev/null
shows traced 'cat set_ftrace_filter'
echo function >current_tracer
step load insmod ${module?.path.replace(/^.*\//, "/modules/")}
echo 0 >tracing_on
shows calls 'grep insmod trace'
`,
  });
  expect(host.step("load").exitCode, host.step("load").stderr).toBe(0);
  const calls = [...host.step("calls").stdout.matchAll(/: (\w+) <-/g)].map(([, name]) => name);
  const traced = host
    .step("traced")
    .stdout.split("\n")
    .filter((name) => name !== relocates && names.includes(name));
  // Sections without entries have no reader at work; those that every patch module has do.
  expect(calls).toEqual(expect.arrayContaining(["apply_returns", "unwind_module_init", "jump_label_module_notify"]));
  const [first, last] = [calls.indexOf(relocates), calls.lastIndexOf(relocates)];
  expect(first, calls.join(" ")).toBeGreaterThanOrEqual(0);
  for (const name of traced.filter((reader) => calls.includes(reader))) {
    expect(calls.indexOf(name), `${name} in ${calls.join(" ")}`).toBeGreaterThan(first);
    // Notifiers are called again when the module is live, and read nothing then.
    expect(calls.indexOf(name), `${name} in ${calls.join(" ")}`).toBeLessThan(last);
  }
});
