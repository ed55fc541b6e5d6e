import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { AdaptResult } from "../../src/build/adapted/adapt-patch.ts";
import { ElfReader } from "../../src/elf/reader.ts";
import { readManifest } from "../../src/patch-module/manifest-note.ts";
import { tryModule } from "../../src/vm/try.ts";
import { kmend } from "../cli/captured.ts";
import {
  all,
  build,
  type Edit,
  replace,
  Scratch,
  type StockKernel,
  stockKernel,
  testedKernel,
} from "./stock-kernel.ts";

const scratch = new Scratch();
let stock: StockKernel;

beforeAll(async () => {
  stock = await stockKernel();
});
afterAll(() => scratch.remove());

function patch(edits: Record<string, Edit>): string {
  return scratch.patch(stock.tree.path, edits);
}

const driver = "drivers/block/zram/zram_drv.c";
const header = "drivers/block/zram/zram_drv.h";
/** Counts how often the limit was set, and shows it. */
const counted = all(
  replace("\tzram->limit_pages = PAGE_ALIGN(limit) >> PAGE_SHIFT;\n", (line) => `${line}\tzram->limit_sets++;\n`),
  replace("\tval = init_done(zram);\n", "\tval = init_done(zram) + 10 * zram->limit_sets;\n"),
);

describe("a new member in padding", () => {
  const inPadding = replace(
    "\tbool claim; /* Protected by disk->open_mutex */\n",
    (line) => `${line}\tunsigned int limit_sets;\n`,
  );

  test("is accepted where every object is made of zeros", async () => {
    const { exitCode, result } = await build([patch({ [header]: inPadding, [driver]: counted })], scratch.folder());
    expect(result.refusals, result.notes.join("\n")).toEqual([]);
    expect(exitCode).toBe(0);
    expect(result.notes.join("\n")).toMatch(
      /struct zram: accepted: limit_sets at offset 356 lies in padding, which is zero in every object: all are made by kzalloc\(\) at drivers\/block\/zram\/zram_drv\.c:\d+, as the only unit that sees the type shows/,
    );
  });

  test("is refused where objects are not cleared, with the place", async () => {
    const edit = all(
      replace("\tstruct kref kref;\n", "\tstruct kref kref;\n\tunsigned int kmend_limit;\n"),
      replace("\tctx->count -= *cnt;", "\tctx->count -= *cnt + ctx->kmend_limit;"),
    );
    const { exitCode, result } = await build([patch({ "fs/eventfd.c": edit })], scratch.folder());
    expect(exitCode).toBe(4);
    expect(result.refusals.map(({ code, what }) => `${code} ${what}`)).toEqual(["LAYOUT_CHANGED struct eventfd_ctx"]);
    expect(result.notes.join("\n")).toMatch(
      /struct eventfd_ctx: its new member fits into padding, but kmalloc\(\) creates objects .* \(fs\/eventfd\.c:\d+\)/,
    );
  });
});

describe("what a patch takes away or only tells", () => {
  test("a removed member stays, and so does a trace event", async () => {
    const unused = (text: string): string =>
      text
        .replace("\tzram->limit_pages = PAGE_ALIGN(limit) >> PAGE_SHIFT;\n", "")
        .replace("\tzram->limit_pages = 0;\n", "")
        .replaceAll("zram->limit_pages", "0UL");
    const removed = patch({
      [header]: replace("\tunsigned long limit_pages;\n", ""),
      [driver]: unused,
      "include/trace/events/oom.h": replace("pid=%d comm=%s oom_score_adj=%hd", "pid=%d name=%s oom_score_adj=%hd"),
      "mm/oom_kill.c": replace("oom_reaper: reaped process", "oom_reaper: freed process"),
    });
    const asIs = await build([removed], scratch.folder());
    expect(asIs.result.refusals.map(({ code }) => code)).toContain("TRACE_EVENT");
    expect(asIs.result.notes.join("\n")).toContain("trace events oom_score_adj_update stay as they are");
    const { exitCode, result } = await build([removed], scratch.folder(), "--adapt");
    expect(result.refusals).toEqual([]);
    expect(exitCode).toBe(0);
    expect(result.adapted?.parts).toEqual([
      { what: "trace event oom_score_adj_update", how: "stays as the kernel has it" },
      { what: "struct zram: limit_pages", how: "stays where it is, unused" },
    ]);
  });
});

async function adapt(change: string): Promise<{ exitCode: number; result: AdaptResult; text: string | undefined }> {
  const file = join(scratch.folder(), "adapted.patch");
  const { exitCode, stdout } = await kmend("adapt", change, "--kernel", testedKernel, "--json", "-o", file);
  const result = JSON.parse(stdout) as AdaptResult;
  return { exitCode, result, text: result.patch === null ? undefined : readFileSync(file, "latin1") };
}

describe("a new member that has no room", () => {
  const grown = replace("\tunsigned long limit_pages;\n", (line) => `${line}\tunsigned int limit_sets;\n`);
  /** Objects are created, used twice and removed, each with what it had at first and at last. */
  const cycles = `for i in $(seq 1 60); do n=$(cat /sys/class/zram-control/hot_add); a=$(cat /sys/block/zram$n/initstate)
echo 1M >/sys/block/zram$n/mem_limit; echo 2M >/sys/block/zram$n/mem_limit; echo $a $(cat /sys/block/zram$n/initstate)
echo $n >/sys/class/zram-control/hot_remove; done | sort | uniq -c | tr -s " "`;

  test("becomes a shadow variable, and the adapted patch is one that a build accepts", async () => {
    const { exitCode, result, text = "" } = await adapt(patch({ [header]: grown, [driver]: counted }));
    expect(result.refusals).toEqual([]);
    expect(exitCode).toBe(0);
    expect(result.parts).toEqual([
      { what: "struct zram: limit_sets", how: "a shadow variable, unsigned int limit_sets" },
    ]);
    expect(text).toContain("+\tkmend_zram_limit_sets_rw(zram)->limit_sets++;\n");
    expect(text).toContain("+\tkfree(kmend_zram_end(zram));\n");
    expect(text).toContain("+KPATCH_POST_UNPATCH_CALLBACK(kmend_shadows_free);\n");
    expect(result.assumptions.filter(({ line }) => line > 0).map(({ text: said }) => said)).toEqual([
      "kzalloc() creates an object, which gets new values or does not come into being",
      "kfree() frees an object, and its values with it",
      "kfree() frees an object, and its values with it",
      "a call before it sleeps, so memory for limit_sets can be waited for",
    ]);
    const again = await build([scratch.file("again.patch", text)], scratch.folder());
    expect(again.result.refusals).toEqual([]);
    expect(again.exitCode).toBe(0);
  });

  test("works on objects from before the patch and from after it, at addresses that are used again", async () => {
    const output = scratch.folder();
    const { exitCode, result } = await build([patch({ [header]: grown, [driver]: counted })], output, "--adapt");
    expect(exitCode).toBe(0);
    expect(result.adapted?.parts).toHaveLength(1);
    const path = result.module?.path ?? "";
    const manifest = readManifest(new ElfReader(readFileSync(path)));
    expect(manifest?.adapted?.patch).toContain("+#define KMEND_ZRAM_LIMIT_SETS\t0x");
    expect(manifest?.adapted?.assumptions).toHaveLength(result.adapted?.assumptions.length ?? 0);
    const probes = ["echo 1M >/sys/block/zram0/mem_limit; cat /sys/block/zram0/initstate", cycles];
    const tried = await tryModule({
      kernel: stock.kernel,
      modulePath: path,
      modules: ["zram"],
      probes,
      timeoutSeconds: 300,
    });
    expect(tried.failure).toBe(null);
    expect(tried.probes.map(({ before, loaded, after }) => [before, loaded, after].map((said) => said.trim()))).toEqual(
      [
        ["0", "10", "0"],
        ["60 0 0", "60 0 20", "60 0 0"],
      ],
    );
  });

  test("is refused where it is first set in code that may not sleep, with the place", async () => {
    const edit = replace("\t\tatomic64_inc(&zram->stats.num_reads);\n", (line) => `${line}\t\tzram->limit_sets++;\n`);
    const inAtomic = all(counted, edit);
    const { exitCode, result } = await adapt(patch({ [header]: grown, [driver]: inAtomic }));
    expect(exitCode).toBe(4);
    expect(result.patch).toBe(null);
    expect(result.refusals.map(({ code, what }) => `${code} ${what}`)).toEqual(["NOT_ADAPTABLE struct zram"]);
    expect(result.refusals[0]?.why).toContain("(MAY_NOT_SLEEP)");
    expect(result.refusals[0]?.where).toMatch(/^drivers\/block\/zram\/zram_drv\.c: \w+\(\), line \d+$/);
  });

  test("is told of by a build that refuses it", async () => {
    const { exitCode, result } = await build([patch({ [header]: grown, [driver]: counted })], scratch.folder());
    expect(exitCode).toBe(4);
    expect(result.notes).toContain("kmend adapt (build --adapt) can try to rewrite it: members of struct zram");
  });

  test("is refused with what it needs to know of objects", async () => {
    const { exitCode, result } = await adapt(
      patch({
        "fs/eventfd.c": all(
          replace("\tint id;\n", "\tint id;\n\tu64 kmend_limit;\n"),
          replace("\tctx->count = count;\n", "\tctx->count = count;\n\tctx->kmend_limit = count;\n"),
          replace("\tctx->count -= *cnt;", "\tctx->count -= *cnt + ctx->kmend_limit;"),
        ),
      }),
    );
    expect(exitCode).toBe(4);
    expect(result.refusals[0]?.why).toContain(
      "the value that kmend_limit gets when an object is created (kmend_eventfd_ctx_kmend_limit_rw(ctx)->kmend_limit = count) depends on more",
    );
  });
});
