import { rm } from "node:fs/promises";
import { join } from "node:path";
import { rethrowDiskErrors, writeFileAtomically } from "../../support/cache.ts";
import { makeFolder } from "../../support/make-folder.ts";
import { requireOutputFolder } from "../../support/output-folder.ts";
import type { MatrixState } from "../matrix-state.ts";
import { getObject } from "../store/records.ts";
import type { Store } from "../store/store.ts";
import { cellFile, cellPage, gridPage } from "./page.tsx";

/** How often the pages are written while a run goes on, in milliseconds. */
const writeMilliseconds = 5000;

/**
 * Writes the pages of a run into a folder, again and again while it goes on: only what has changed since.
 * @returns writes the last state, and ends.
 */
export async function keepPages(folder: string, state: MatrixState, store: Store): Promise<() => Promise<void>> {
  await makeFolder(folder).catch(rethrowDiskErrors);
  await requireOutputFolder(folder);
  const written = new Map<string, string>();
  const put = async (name: string, content: string | Uint8Array, mark: string): Promise<void> => {
    if (written.get(name) === mark) return;
    await writeFileAtomically(join(folder, name), content);
    written.set(name, mark);
  };
  const write = async (): Promise<void> => {
    for (const cell of state.cells.values()) {
      const owner = state.packages.get(cell.package);
      const html = cellPage(cell, owner, { live: false });
      await put(`cells/${cellFile(cell.id)}`, html, html);
      const { report } = cell;
      const name = `reports/${report}.html`;
      if (report !== null && !written.has(name)) await put(name, await getObject(store, report), report);
    }
    for (const { file, sha256 } of state.packages.values()) {
      const name = `packages/${file}`;
      if (file !== null && sha256 !== null && written.get(name) !== sha256)
        await put(name, await getObject(store, sha256), sha256);
    }
    const html = gridPage(state, { live: false });
    await put("index.html", html, html);
  };
  // What an earlier run of another manifest has left is not of this one.
  await rm(join(folder, "cells"), { recursive: true, force: true });
  await write();
  let isDirty = false;
  let working = Promise.resolve();
  let failure: unknown;
  state.onChange(() => {
    isDirty = true;
  });
  const timer = setInterval(() => {
    if (!isDirty) return;
    isDirty = false;
    working = working.then(write).catch((error: unknown) => {
      failure = error;
    });
  }, writeMilliseconds);
  return async () => {
    clearInterval(timer);
    await working;
    if (failure !== undefined) throw failure;
    await write();
  };
}
