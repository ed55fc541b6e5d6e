import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { liveGrid } from "../../src/cli/report/matrix-report.ts";
import { Reporter } from "../../src/cli/terminal/reporter.ts";
import { matrixMetrics } from "../../src/matrix/matrix-metrics.ts";
import { MatrixState } from "../../src/matrix/matrix-state.ts";
import { cellFile, cellPage, gridPage } from "../../src/matrix/page/page.tsx";
import { keepPages } from "../../src/matrix/page/write-page.ts";
import { prometheusText } from "../../src/matrix/prometheus.ts";
import type { MatrixRun } from "../../src/matrix/run-matrix.ts";
import { serveMatrix } from "../../src/matrix/serve/serve-matrix.ts";
import { StandIn } from "./stand-in.ts";

const loopback = "127.0.0.1";
// Each cell is a process of its own, and machines that run tests are busy.
vi.setConfig({ testTimeout: 120_000 });

let world: StandIn;
beforeEach(() => {
  world = new StandIn();
});
afterEach(() => world.remove());

test("the pages of a run show each cell, why it is refused, and its package", async () => {
  const folder = join(world.folder, "page");
  world.package("fix", "refuse 6.1.0-2-amd64", ["all"], "  cves: [CVE-2026-12345]");
  const result = await world.run({ onStart: (run, store) => keepPages(folder, run.state, store) });
  const index = readFileSync(join(folder, "index.html"), "utf8");
  for (const kernel of world.kernels) expect(index).toContain(kernel);
  expect(index).toContain("CVE-2026-12345");
  expect(index).toContain('data-state="refused" data-codes="INIT_CODE"');
  expect(index).toContain(`packages/${result.packages[0]?.file}`);
  expect(existsSync(join(folder, "packages", result.packages[0]?.file as string))).toBe(true);
  const cell = readFileSync(join(folder, "cells", cellFile("kpatch-module-fix/6.1.0-2-amd64")), "utf8");
  expect(cell).toContain("INIT_CODE: start_kernel");
  expect(cell).not.toContain("<form");
  expect(readdirSync(join(folder, "cells"))).toHaveLength(3);
});

test("texts from outside are text", async () => {
  world.package("fix", "", ["newest"]);
  const { cells, packages } = await world.run();
  const hostile = "<script>alert(1)</script>\"'&";
  const state = new MatrixState();
  const problem = { code: hostile, message: hostile, why: hostile, hint: hostile, log: hostile };
  const cell = { ...cells[0]!, patches: [hostile], codes: [hostile], state: "failed" as const, problem };
  state.cells.set(cell.id, cell);
  state.packages.set(hostile, { ...packages[0]!, id: hostile, cves: [hostile], problem });
  for (const html of [gridPage(state, { live: true }), cellPage(cell, packages[0], { live: true })]) {
    expect(html).not.toContain("<script>alert");
    expect(html.match(/<script>/g)).toHaveLength(1);
    expect(html).toContain("default-src &#39;none&#39;".replaceAll("&#39;", "'"));
  }
});

test("a run is served with its state and metrics; cells are begun again only with the token", async () => {
  world.package("fix", "fail 4", ["newest"], "  cves: [CVE-2026-12345]");
  let seen: Record<string, string> = {};
  const said: [number, string][] = [];
  const result = await world.run({
    onStart: async (run: MatrixRun, store, engine) => {
      const depth = (): Promise<Readonly<Record<string, number>>> => engine.depth();
      const acts = { retry: (id: string) => run.retry(id), cancel: (id: string) => run.cancel(id) };
      const served = await serveMatrix(`${loopback}:0`, { state: run.state, store, depth, ...acts });
      const base = served.url.replace(/#.*/, "");
      const page = `cells/${cellFile("kpatch-module-fix/6.12.1-amd64")}`;
      const get = async (path: string): Promise<string> => (await fetch(base + path)).text();
      const post = async (token: string): Promise<void> => {
        const headers = { authorization: `Bearer ${token}` };
        const answer = await fetch(base + page.replace(".html", "/retry"), { method: "POST", headers });
        said.push([answer.status, await answer.text()]);
      };
      return async () => {
        seen = {
          index: await get(""),
          cell: await get(page),
          metrics: await get("metrics"),
          json: await get("matrix.json"),
        };
        expect((await fetch(`${base}store.json`)).status).toBe(404);
        expect((await fetch(`${base}reports/${"0".repeat(64)}.html`)).status).toBe(404);
        await post("wrong");
        await post(served.token);
        await expect
          .poll(() => run.state.packages.get("kpatch-module-fix")?.state, { timeout: 20_000 })
          .toBe("packaged");
        await post(served.token);
        await served.close();
      };
    },
  });
  expect(seen["index"]).toContain("failed NO_SPACE");
  expect(seen["cell"]).toContain("Begin again");
  expect(seen["cell"]).toContain("the disk is tired");
  expect(seen["metrics"]).toContain('kmend_matrix_cells{state="failed",code="NO_SPACE"} 1');
  expect(seen["metrics"]).toMatch(/^kmend_matrix_oldest_open_cve_seconds \d+$/m);
  expect(JSON.parse(seen["json"] ?? "")).toMatchObject({ counts: { failed: 1 } });
  expect(said.map(([status]) => status)).toEqual([403, 200, 409]);
  expect(result.counts).toMatchObject({ built: 1, failed: 0 });
});

test("metrics are in Prometheus' format", async () => {
  world.package("fix", "", ["newest"]);
  const state = new MatrixState();
  const { cells } = await world.run();
  for (const cell of cells) state.cells.set(cell.id, cell);
  const text = matrixMetrics(state, { waiting: 3 });
  expect(text).toContain('kmend_matrix_cells{state="built",code=""} 1\n');
  expect(text).toContain('kmend_matrix_queue_depth{state="waiting"} 3\n');
  expect(text).toMatch(/kmend_matrix_step_seconds_total\{step="build"\} [\d.]+\n/);
  const values = [{ labels: { a: 'x"\\\n' }, value: 1 }];
  expect(prometheusText([{ name: "m", type: "gauge", help: "h", values }])).toBe(
    '# HELP m h\n# TYPE m gauge\nm{a="x\\"\\\\\\n"} 1\n',
  );
});

test("a terminal shows the grid, which is drawn in place", async () => {
  world.package("fix", "refuse 6.1.0-2-amd64").package("other", "", ["newest"]);
  const state = new MatrixState();
  for (const cell of (await world.run()).cells) state.cells.set(cell.id, cell);
  const grid = liveGrid(state, 10);
  expect(grid.split("\n")).toEqual([
    "3 built, 1 refused",
    "                 kpatch-module-fix  kpatch-module-other",
    "  6.1.0-1-amd64  built              -",
    "  6.1.0-2-amd64  refused            -",
    "  6.12.1-amd64   built              built",
  ]);
  expect(liveGrid(state, 3).split("\n").at(-1)).toBe("  … and 2 kernels more");
  let text = "";
  const reporter = new Reporter({ isTTY: true, columns: 80, write: (piece) => (text += piece) }, 1);
  await reporter.phase("cells", "Build the cells", async (status) => {
    status(grid);
    await expect.poll(() => text, { timeout: 20_000 }).toContain("6.12.1-amd64");
  });
  reporter.stop();
  // Five lines are drawn, and five are taken away.
  expect(text).toContain("\u001b[5A");
});
