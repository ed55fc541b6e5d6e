import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ModuleComparison } from "../../src/report/compare-modules.ts";
import { groupsOf, sectionTitles } from "../../src/report/page/parts.tsx";
import { comparedBytes } from "../../src/report/page/proof.tsx";
import type { ReviewReport } from "../../src/report/report-types.ts";
import { sectionIds } from "../../src/report/report-types.ts";
import { kmend } from "../cli/captured.ts";
import {
  focusName,
  inspectPage,
  type PageFindings,
  pictures,
  printedColours,
  schemes,
  startBrowser,
  widths,
  withoutScripts,
} from "./report-browser.ts";
import { all, build, type Edit, replace, Scratch, stockKernel, testedKernel } from "./stock-kernel.ts";

const examples = fileURLToPath(new URL("../../examples", import.meta.url));
const scratch = new Scratch();
let browser: Browser;

beforeAll(async () => {
  browser = await startBrowser();
});

afterAll(async () => {
  await browser.close();
  scratch.remove();
});

interface Made {
  readonly page: string;
  readonly report: ReviewReport;
  readonly exitCode: number;
}

/** The page and the tree of a report. */
async function reportOf(name: string, ...words: string[]): Promise<Made> {
  const page = join(scratch.folder(), `${name}.html`);
  const { exitCode, stdout, stderr } = await kmend("report", ...words, "--json", "-o", page);
  expect(stdout, stderr).not.toBe("");
  return { page, exitCode, report: JSON.parse(stdout) as ReviewReport };
}

const forKernel = ["--kernel", testedKernel];

/** What holds of each page. */
function expectSound(found: PageFindings): void {
  expect(found.messages).toEqual([]);
  expect(found.requests).toEqual([]);
  expect(found.violations).toEqual([]);
  expect(found.overflow).toEqual(schemes.flatMap(() => widths.map(() => 0)));
}

/** The numbers of the page are those of the tree. */
function expectNumbers({ text }: PageFindings, { verdict, functions, module, units }: ReviewReport): void {
  if (verdict.functions.changed > 0)
    expect(text).toContain(`${verdict.functions.proven} of ${verdict.functions.changed} changed function`);
  for (const { path, matched, functions: count } of units)
    expect(text).toContain(
      `${path}\t${units.find((one) => one.path === path)?.object}\t${groupsOf(matched)} of ${groupsOf(count)}`,
    );
  for (const one of functions) {
    if (one.proof === null) continue;
    const { compared, masked } = comparedBytes(one);
    expect(compared + masked).toBe(one.proof.bytes);
    const row = [groupsOf(compared), groupsOf(masked), groupsOf(one.proof.masked.length)].join("\t");
    expect(text.includes(`${one.name}\t${row}\t`) || one.proof.method === "instructions", `${one.name} ${row}`).toBe(
      true,
    );
  }
  if (module !== null) {
    expect(text).toContain(`${groupsOf(module.memory)} bytes`);
    expect(text).toContain(`${module.sections.length} sections`);
    expect(text).toContain(verdict.module?.sha256);
  }
}

/** Each page takes a browser half a minute. */
const isLong = process.env["KMEND_LONG_TESTS"] === "1";
const patches = readdirSync(examples).filter((file) => file.endsWith(".patch"));
const sample = patches.filter((file) => isLong || ["cmdline-helper.patch", "zram-module.patch"].includes(file));

/** Mean of the parts of a colour; white for one that is not opaque. */
function brightness(colour: string): number {
  const [red = 255, green = 255, blue = 255, alpha = 1] = (colour.match(/[\d.]+/g) ?? []).map(Number);
  return alpha === 0 ? 255 : (red + green + blue) / 3;
}

test("of the examples those are there of which pages are opened", () => {
  expect(sample).toHaveLength(isLong ? patches.length : 2);
});

describe.each(sample)("%s", (file) => {
  let made: Made;
  let found: PageFindings;

  beforeAll(async () => {
    made = await reportOf(file.replace(".patch", ""), join(examples, file), ...forKernel);
    found = await inspectPage(browser, made.page);
  });

  test("the page is sound, and every part of it is reached by keyboard", () => {
    expect(made.exitCode).toBe(0);
    expectSound(found);
    expect(found.reached).toEqual([...sectionIds]);
    expect(statSync(made.page).size).toBeLessThan(2 << 20);
  });

  test("its numbers are those of the tree", () => {
    const { report } = made;
    expect(report.verdict.outcome).toBe("built");
    expect(report.functions.length).toBeGreaterThan(0);
    expectNumbers(found, report);
  });

  test("every changed function has its proof, and every masked place of it was confirmed", () => {
    const changed = made.report.functions.filter(({ change }) => change === "changed");
    for (const { name, proof, code, bytes } of changed) {
      expect(proof?.bytes, name).toBe(bytes.shipped);
      expect(code?.differing, name).toBeGreaterThan(0);
      for (const { confirmed, address } of proof?.masked ?? [])
        expect(confirmed === "relocation" || confirmed === "number" || address !== null, name).toBe(true);
      expect(proof?.tables.map(({ table }) => table)).toContain(".orc_unwind_ip");
    }
  });

  test("each hunk says what became of it", () => {
    const hunks = made.report.files.flatMap((one) => one.hunks);
    expect(hunks.length).toBeGreaterThan(0);
    for (const { fates } of hunks) expect(fates.map(({ kind }) => kind)).not.toEqual([]);
  });
});

test("two functions of one name are two in the graph, each with what it reaches", async () => {
  const { tree } = await stockKernel();
  const edits = {
    "kernel/module/procfs.c": replace("/* Informative for users. */", 'seq_puts(m, "");'),
    "fs/namespace.c": replace("return p->show(m, &r->mnt);", 'seq_puts(m, "");\n\treturn p->show(m, &r->mnt);'),
  };
  const { report, exitCode } = await reportOf("names", scratch.patch(tree.path, edits), ...forKernel);
  expect(exitCode).toBe(0);
  const { nodes, edges } = report.graph;
  const shown = nodes.filter(({ name }) => name === "m_show");
  expect(shown.map(({ kind }) => kind)).toEqual(["changed", "changed"]);
  const reached = shown.map(({ id }) =>
    edges.filter(({ from }) => from === id).map(({ to }) => nodes.find((node) => node.id === to)?.name),
  );
  const [ofModules, ofMounts] = reached.sort((x, y) => y.length - x.length);
  expect(ofModules).toContain("seq_printf");
  expect(ofMounts).toEqual(["seq_puts"]);
});

test("the same patch gives the same page, which needs no scripts and marks the uses of a name with them", async () => {
  const words = [join(examples, "two-files.patch"), ...forKernel];
  const [first, second] = [await reportOf("again", ...words), await reportOf("again", ...words)];
  expect(readFileSync(second.page, "utf8")).toBe(readFileSync(first.page, "utf8"));
  const { marked, same } = await focusName(browser, first.page);
  expect(marked).toBe(same);
  expect(marked).toBeGreaterThan(1);
  // On paper everything is dark on light, whatever the screen shows.
  const { page: paper, section, ...inks } = await printedColours(browser, first.page);
  for (const light of [paper, section]) expect(brightness(light as string)).toBeGreaterThan(230);
  for (const [what, ink] of Object.entries(inks)) expect(brightness(ink), what).toBeLessThan(120);
  const plain = await withoutScripts(browser, first.page);
  expect(plain.headings).toEqual(Object.values(sectionTitles));
  expect(plain).toMatchObject({ opens: true, buttons: 0 });
});

describe("a patch of several kinds", () => {
  let report: ReviewReport;

  beforeAll(async () => {
    const { tree } = await stockKernel();
    const edits: Record<string, Edit> = {
      // It is inlined in meminfo_proc_show.
      "fs/proc/meminfo.c": replace("m, s, num << (PAGE_SHIFT - 10), 8", "m, s, (num | 1) << (PAGE_SHIFT - 10), 8"),
      // parameq() is called while the kernel boots; in param_attr_show() two members are used.
      "kernel/params.c": all(
        replace("return parameqn(a, b, strlen(a)+1);", "return parameqn(a, b, strlen(a) + 1) && *b;"),
        replace(
          "kernel_param_lock(mk->mod);\n\tcount =",
          "if (attribute->param->perm == 0777)\n\t\treturn -EPERM;\n\tkernel_param_lock(mk->mod);\n\tcount =",
        ),
        replace("bool parameqn(", "/* Dashes count as underscores. */\nbool parameqn("),
      ),
    };
    ({ report } = await reportOf("kinds", scratch.patch(tree.path, edits), ...forKernel));
  });

  test("each hunk says what became of it", () => {
    const fates = report.files.flatMap(({ hunks }) =>
      hunks.map((hunk) => hunk.fates.map(({ kind, functions }) => [kind, ...functions.map(({ name }) => name)])),
    );
    expect(fates).toEqual([
      [["inlined", "meminfo_proc_show"]],
      [["lines"]],
      [["edited", "parameq"]],
      [["edited", "param_attr_show"]],
    ]);
  });

  test("the graph has callers of the image, marked where they ran at boot, and the function that was inlined", () => {
    const { nodes, edges } = report.graph;
    expect(nodes).toContainEqual({
      id: "vmlinux:do_early_param",
      name: "do_early_param",
      object: "vmlinux",
      kind: "caller",
      mark: "init",
    });
    expect(edges).toContainEqual({ from: "vmlinux:do_early_param", to: "vmlinux:parameq", kind: "calls" });
    expect(edges).toContainEqual({ from: "source:show_val_kb", to: "vmlinux:meminfo_proc_show", kind: "inlined" });
  });

  test("members that the changed lines use are found along their chain", () => {
    const used = report.types.map(({ name, rows }) => [
      name,
      rows.flatMap(({ isUsed, patched }) => (isUsed ? [/(\w+)$/.exec(patched?.text ?? "")?.[1]] : [])),
    ]);
    expect(used).toEqual([
      ["struct kernel_param", ["perm"]],
      ["struct param_attribute", ["param"]],
    ]);
  });

  test("locks are named before and after", () => {
    const locks = report.functions.find(({ name }) => name === "param_attr_show")?.state?.locks ?? [];
    expect(locks.map(({ what }) => what.split(" ")[0])).toEqual(["mutex_lock", "mutex_unlock"]);
    expect(locks.every(({ before, after }) => before && after)).toBe(true);
  });
});

describe("a refused patch", () => {
  let made: Made;
  let found: PageFindings;

  beforeAll(async () => {
    const { tree } = await stockKernel();
    const edits: Record<string, Edit> = {
      "fs/proc/version.c": replace(
        "\treturn 0;\n}\n\nstatic int __init",
        "\treturn m->count > 1;\n}\n\nstatic int __init",
      ),
      "fs/proc/cmdline.c": replace('proc_create_single("cmdline", 0,', 'proc_create_single("cmdline", 1,'),
    };
    made = await reportOf("refused", scratch.patch(tree.path, edits), ...forKernel);
    found = await inspectPage(browser, made.page);
  });

  test("gets a page of its refusals, each at its hunk", () => {
    const { verdict, files, module } = made.report;
    expect(made.exitCode).toBe(4);
    expect(verdict.outcome).toBe("refused");
    expect(module).toBeNull();
    const [refusal] = verdict.refusals;
    expect(refusal?.code).toBe("INIT_CODE");
    const hunk = files.find(({ path }) => path === "fs/proc/cmdline.c")?.hunks[0];
    expect(hunk?.fates.map(({ kind }) => kind)).toContain("refused");
    expect(files.find(({ path }) => path === "fs/proc/version.c")?.hunks[0]?.fates[0]?.kind).toBe("edited");
    expect(found.text).toContain("INIT_CODE");
    expect(found.text).toContain(refusal?.why);
  });

  test("shows the type of which the change uses a member, as the kernel and as the new code have it", () => {
    const type = made.report.types.find(({ name }) => name === "struct seq_file");
    expect(type).toMatchObject({ object: "vmlinux", isChanged: false });
    expect(type?.size.shipped).toBe(type?.size.patched);
    expect(type?.rows.filter(({ isUsed }) => isUsed).map(({ patched }) => patched?.text)).toEqual(["size_t count"]);
    expect(found.text).toContain("struct seq_file");
  });

  test("the page is sound", () => {
    expectSound(found);
    expect(found.reached).toEqual([...sectionIds]);
  });
});

describe("a finished module", () => {
  const folder = scratch.folder();
  let single: string;
  let both: string;

  beforeAll(async () => {
    const [first, second] = ["meminfo-string.patch", "two-files.patch"].map((name) => join(examples, name)) as [
      string,
      string,
    ];
    const [one, two] = [await build([first], folder), await build([first, second], folder, "--name", "livepatch-both")];
    [single, both] = [one.result.module?.path ?? "", two.result.module?.path ?? ""];
  });

  test("is held against its kernel again, and its code against the kernel's", async () => {
    const { page, report, exitCode } = await reportOf("module", single);
    expect(exitCode).toBe(0);
    expect(report.verdict).toMatchObject({ outcome: "proven", functions: { changed: 1, new: 0, proven: 1 } });
    const [first] = report.functions;
    expect(first?.name).toBe("meminfo_proc_show");
    // The code of the image, named by its symbol table, and that of the module, named by its relocations, differ in one text.
    const differing = first?.code?.rows.filter(({ differs }) => differs) ?? [];
    expect(differing.map(({ shipped, patched }) => [shipped?.names, patched?.names])).toEqual([
      [['"MemFree:        "'], ['"MemFREE:        "']],
    ]);
    const found = await inspectPage(browser, page);
    expectSound(found);
    expectNumbers(found, report);
  });

  test("is compared with its successor", async () => {
    const page = join(scratch.folder(), "compared.html");
    const { exitCode, stdout } = await kmend("report", "--compare", single, both, "--json", "-o", page);
    expect(exitCode).toBe(0);
    const comparison = JSON.parse(stdout) as ModuleComparison;
    expect(comparison.functions.map(({ name, kind }) => `${kind} ${name}`).sort()).toEqual([
      "added devinfo_show",
      "added seq_put_host",
      "added version_proc_show",
      "same meminfo_proc_show",
    ]);
    expect(comparison.patches.filter(({ before }) => !before).map(({ what }) => what.split(" ")[0])).toEqual([
      "two-files.patch",
    ]);
    const back = JSON.parse((await kmend("report", "--compare", both, single, "--json")).stdout) as ModuleComparison;
    expect(back.functions.filter(({ kind }) => kind === "dropped").map(({ name }) => name)).toEqual([
      "devinfo_show",
      "version_proc_show",
      "seq_put_host",
    ]);
    expect(back.remarks.join()).toContain("the kernel's own code runs again for devinfo_show, version_proc_show");
    const found = await inspectPage(browser, page);
    expectSound(found);
    expect(found.text).toContain("3 added, 0 changed, 0 dropped, 1 the same");
    expect(found.reached).toEqual(["summary", "functions", "contents"]);
  });
});

/** Puts a statement into each function of a file that can be replaced. */
const inEachFunction: Edit = (before) => {
  const lines = before.split("\n");
  return lines
    .flatMap((line, index) => {
      const head = lines.slice(Math.max(0, index - 3), index).join(" ");
      const isPlain = line === "{" && /\)\s*$/.test(lines[index - 1] ?? "");
      const isOther = /\b(inline|__init|__always_inline|noinstr|DEFINE_\w+|SYSCALL\w*|notrace|__sched)\b/.test(head);
      return isPlain && !isOther ? [line, '\tasm volatile("nop");'] : [line];
    })
    .join("\n");
};

test.skipIf(!isLong)("a patch of about 300 functions gets a page that opens and is sound", async () => {
  const { tree } = await stockKernel();
  const edits = Object.fromEntries(
    ["fs/buffer.c", "mm/vmscan.c", "net/ipv4/tcp_input.c", "net/ipv4/tcp_output.c"].map((path) => [
      path,
      inEachFunction,
    ]),
  );
  const { page, report, exitCode } = await reportOf("many", scratch.patch(tree.path, edits), ...forKernel);
  expect(report.verdict.refusals).toEqual([]);
  expect(exitCode).toBe(0);
  expect(report.functions.length).toBeGreaterThan(250);
  expect(statSync(page).size).toBeLessThan(4 << 20);
  const found = await inspectPage(browser, page);
  expectSound(found);
  expect(found.reached).toEqual([...sectionIds]);
  expectNumbers(found, report);
  expect(readdirSync(pictures)).toContain("many-360-dark.png");
});
