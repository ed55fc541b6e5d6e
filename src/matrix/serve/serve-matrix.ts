import { randomBytes, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { sha256 } from "../../support/cache.ts";
import { matrixMetrics } from "../matrix-metrics.ts";
import type { MatrixState } from "../matrix-state.ts";
import { cellFile, cellPage, gridPage } from "../page/page.tsx";
import { getObject } from "../store/records.ts";
import type { Store } from "../store/store.ts";
import { type Answer, type Served, serve } from "./http-server.ts";

/** What is served, and what may be done. */
export interface ServedRun {
  readonly state: MatrixState;
  readonly store: Store;
  readonly depth: () => Promise<Readonly<Record<string, number>>>;
  /** Begins a cell again; false for one that cannot be. */
  readonly retry: (id: string) => boolean;
  readonly cancel: (id: string) => boolean;
}

const html = "text/html; charset=utf-8";

/**
 * Serves the pages of a run, its state as JSON and its metrics. Whoever has the token, which only the one who started it sees, may begin a cell again or cancel it.
 * @returns the address with the token behind `#`, where browsers keep it to themselves.
 */
export async function serveMatrix(address: string, run: ServedRun): Promise<Served & { readonly token: string }> {
  const token = randomBytes(16).toString("hex");
  const served = await serve(address, async (request) => answer(run, token, request));
  return { ...served, url: `${served.url}#token=${token}`, token };
}

async function answer(run: ServedRun, token: string, request: IncomingMessage): Promise<Answer | undefined> {
  const [path = ""] = (request.url ?? "").split("?");
  if (request.method === "POST") return act(run, token, request, path);
  if (request.method !== "GET") return { status: 405, type: "text/plain", body: "only GET and POST\n" };
  const { state } = run;
  if (path === "/" || path === "/index.html") return { type: html, body: gridPage(state, { live: true }) };
  if (path === "/metrics") {
    return { type: "text/plain; version=0.0.4", body: matrixMetrics(state, await run.depth()) };
  }
  if (path === "/matrix.json") {
    const body = {
      schema: 1,
      counts: state.counts(),
      cells: [...state.cells.values()],
      packages: [...state.packages.values()],
    };
    return { type: "application/json", body: JSON.stringify(body) };
  }
  return file(run, path);
}

async function file({ state, store }: ServedRun, path: string): Promise<Answer | undefined> {
  const [, folder, name = ""] = /^\/(cells|reports|packages)\/([A-Za-z0-9._+~-]+)$/.exec(path) ?? [];
  if (folder === "cells") {
    const cell = [...state.cells.values()].find(({ id }) => cellFile(id) === name);
    if (cell === undefined) return undefined;
    return { type: html, body: cellPage(cell, state.packages.get(cell.package), { live: true }) };
  }
  if (folder === "reports") {
    // Only what a cell names is shown, and nothing else of the store.
    const report = [...state.cells.values()].find((cell) => `${cell.report}.html` === name)?.report;
    return report == null ? undefined : { type: html, body: await getObject(store, report) };
  }
  const found = folder === "packages" ? [...state.packages.values()].find((one) => one.file === name) : undefined;
  if (found?.sha256 == null) return undefined;
  return { type: "application/octet-stream", body: await getObject(store, found.sha256) };
}

function act(
  { state, retry, cancel }: ServedRun,
  token: string,
  request: IncomingMessage,
  path: string,
): Answer | undefined {
  const plain = (status: number, body: string): Answer => ({ status, type: "text/plain", body: `${body}\n` });
  if (!isToken(request.headers.authorization, token)) return plain(403, "the token is missing or wrong");
  const [, name, action] = /^\/cells\/([0-9a-f]{16})\/(retry|cancel)$/.exec(path) ?? [];
  const cell = [...state.cells.values()].find(({ id }) => cellFile(id) === `${name}.html`);
  if (cell === undefined) return undefined;
  const isDone = action === "retry" ? retry(cell.id) : cancel(cell.id);
  const done = action === "retry" ? "begun again" : "cancelled";
  return isDone ? plain(200, done) : plain(409, `it is ${cell.state}, and cannot be ${done}`);
}

function isToken(header: string | undefined, token: string): boolean {
  // Digests, since only texts of the same length can be compared in the same time.
  return timingSafeEqual(Buffer.from(sha256(header ?? "")), Buffer.from(sha256(`Bearer ${token}`)));
}
