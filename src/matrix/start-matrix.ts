import { join, resolve } from "node:path";
import { type ArchiveChoice, chooseDistribution } from "../kernel/sources/distribution/choose.ts";
import { readManifest } from "../package/package-manifest.ts";
import type { PackageFormat } from "../package/write-package.ts";
import { cacheRoot, rethrowDiskErrors, withLock, writeFileAtomically } from "../support/cache.ts";
import { ExitCode, KmendError } from "../support/errors.ts";
import { makeFolder } from "../support/make-folder.ts";
import { requireOutputFolder } from "../support/output-folder.ts";
import type { Progress } from "../support/progress.ts";
import { cellsOf } from "./cell.ts";
import type { SignerFacts } from "./cell-steps.ts";
import type { Engine } from "./engine/engine.ts";
import { type KernelOffer, KernelPatterns } from "./kernel-patterns.ts";
import { type FixLookup, ManifestFixes } from "./manifest-fixes.ts";
import { type MatrixResult, resultOf } from "./matrix-result.ts";
import type { MatrixState } from "./matrix-state.ts";
import { Publisher, type PublishRequest } from "./publisher.ts";
import { MatrixRun } from "./run-matrix.ts";
import { openStore } from "./store/open-store.ts";
import type { Store } from "./store/store.ts";

/** What `kmend matrix` is asked to do. */
export interface MatrixOptions {
  readonly manifest: string;
  readonly output: string;
  /** Folder of the store, or `s3://BUCKET/FOLDER`; default `store` in the output. */
  readonly store?: string | undefined;
  readonly archive?: ArchiveChoice | undefined;
  /** Opens what vulnerabilities of the manifest are looked up in. */
  readonly fixes?: (() => Promise<FixLookup>) | undefined;
  /** Options of `kmend build` for all cells. */
  readonly words?: readonly string[] | undefined;
  /** Words that workers have to be able to do. */
  readonly needs?: readonly string[] | undefined;
  readonly format: PackageFormat;
  readonly tries?: boolean | undefined;
  readonly verifies?: boolean | undefined;
  /** Make the review report of each cell. */
  readonly report?: boolean | undefined;
  readonly signer?: SignerFacts | undefined;
  readonly repository?: Omit<PublishRequest, "progress" | "signal"> | undefined;
  /** Makes the engine when everything else is known to be there. */
  readonly engine: (store: Store) => Promise<Engine>;
  /** Called before the first cell begins; what it returns is waited for at the end. */
  readonly onStart?:
    | ((run: MatrixRun, store: Store, engine: Engine) => Promise<(() => Promise<void>) | undefined>)
    | undefined;
  /** The state in words, for whoever watches; default the number of cells in each state. */
  readonly status?: ((state: MatrixState) => string) | undefined;
  /** Kernels on offer, in place of those of the archive. */
  readonly offer?: KernelOffer | undefined;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

/**
 * Reads a manifest, and takes all its cells from source to package. Started again, it goes on where it was; one process at a time works for an output folder.
 * @throws KmendError for what can be known before work starts: `MANIFEST`, `MATRIX_KERNELS` (exit 2), a store, an output or a repository that cannot be written, a queue.
 */
export async function runMatrix(options: MatrixOptions): Promise<MatrixResult> {
  const { progress, signal } = options;
  const output = resolve(options.output);
  await makeFolder(output).catch(rethrowDiskErrors);
  await requireOutputFolder(output);
  return withLock(join(output, ".kmend.lock"), () => runLocked(options, output), {
    onWait: (owner) => progress.note(`waiting for process ${owner}, which works for this output folder`),
    signal,
  });
}

async function runLocked(options: MatrixOptions, output: string): Promise<MatrixResult> {
  const { progress, signal } = options;
  const offer =
    options.offer ?? (await progress.phase("kernels", "Read which kernels are on offer", () => offerOf(options)));
  const patterns = new KernelPatterns(offer);
  const orders = await readManifest(options.manifest, {
    releasesOf: (pattern, architecture) => patterns.releasesOf(pattern, architecture),
    takesFixes: true,
  });
  patterns.requireAll(options.manifest);
  const store = await openStore(options.store ?? join(output, "store"));
  const folder = options.repository?.folder;
  if (folder !== undefined) {
    await makeFolder(folder).catch(rethrowDiskErrors);
    await requireOutputFolder(folder);
  }
  const fixes = new ManifestFixes(join(output, "fixes"), offer.kernels, options.fixes ?? noFixes);
  const packages = await cellsOf(orders, store, fixes);
  requireRelative(packages.flatMap(({ cells }) => cells.map(({ id }) => id)));
  const publisher =
    options.repository === undefined ? undefined : new Publisher({ ...options.repository, progress, signal });
  const engine = await options.engine(store);
  try {
    const { archive = null, words = [], needs = [], report = false, format, signer } = options;
    const run = new MatrixRun({
      ...{ packages, offer, format, signer, engine, store, output, publisher, signal },
      settings: { archive, words, needs: [...new Set(needs)].sort(), report, twice: options.verifies === true },
      tries: options.tries === true,
    });
    const places = { output, store: store.place, repository: folder ?? null };
    const ended = await options.onStart?.(run, store, engine);
    await progress.phase("cells", "Build the cells", async (status) => {
      const tell = seldom(() => status((options.status ?? statusOf)(run.state)));
      run.state.onChange(tell);
      await run.run();
    });
    await ended?.();
    const result = resultOf(run.state, places);
    await writeFileAtomically(join(output, "matrix.json"), `${JSON.stringify(result, null, 2)}\n`);
    return result;
  } finally {
    await engine.close();
  }
}

function noFixes(): never {
  throw new Error("nothing was given in which vulnerabilities are looked up");
}

/** Calls something at most five times a second, and once more for what came between. */
function seldom(work: () => void): () => void {
  let isWaiting = false;
  return () => {
    if (isWaiting) return;
    isWaiting = true;
    setTimeout(() => {
      isWaiting = false;
      work();
    }, 200).unref();
  };
}

function statusOf(state: MatrixState): string {
  const counts = Object.entries(state.counts()).filter(([, count]) => count > 0);
  return counts.map(([name, count]) => `${count} ${name}`).join(", ");
}

async function offerOf({ archive, progress, signal }: MatrixOptions): Promise<KernelOffer> {
  const distribution = await chooseDistribution(archive);
  const context = { cache: cacheRoot(), progress, signal };
  const [kernels, newest] = await Promise.all([distribution.kernels(context), distribution.newest(context)]);
  return { kernels, newest };
}

/** Cells become names of files. */
function requireRelative(ids: readonly string[]): void {
  const wrong = ids.find((id) => id.split("/").some((part) => part === "" || part === "." || part === ".."));
  if (wrong === undefined) return;
  throw new KmendError({
    code: "MANIFEST",
    message: `${wrong} cannot be the name of a cell`,
    hint: "name packages with letters, digits and ._+-",
    exitCode: ExitCode.usage,
  });
}
