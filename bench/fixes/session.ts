import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { compareCompiler, toolchainFolder } from "../../src/kernel/compiler.ts";
import { findTargetKernel } from "../../src/kernel/find.ts";
import { Debian } from "../../src/kernel/sources/distribution/debian.ts";
import type { TargetKernel } from "../../src/kernel/target-kernel.ts";
import { UnitCache } from "../../src/kernel/tree/compile.ts";
import { type PreparedTree, prepareTree } from "../../src/kernel/tree/prepare.ts";
import { cacheRoot, sha256 } from "../../src/support/cache.ts";
import { type Progress, SilentProgress } from "../../src/support/progress.ts";
import { type Corpus, makeCorpus } from "./corpus.ts";
import { choosePair, type VersionPair } from "./versions.ts";

/** The two versions, the prepared older one, and what differs. */
export interface Session {
  readonly pair: VersionPair;
  readonly kernel: TargetKernel;
  readonly tree: PreparedTree;
  readonly corpus: Corpus;
  readonly cache: UnitCache;
  /** Folder of the cache for everything of this pair; survives the run. */
  readonly folder: string;
}

export interface SessionOptions {
  readonly from?: string | undefined;
  readonly to?: string | undefined;
  /** Folders of the tree to compare; none for all of it. */
  readonly within?: readonly string[] | undefined;
  readonly progress?: Progress | undefined;
}

/** Fetches, unpacks and compares the two versions; what an earlier run made is used again. */
export async function openSession(options: SessionOptions = {}): Promise<Session> {
  const { from, to, within = [], progress = new SilentProgress() } = options;
  const distribution = new Debian();
  const context = { cache: cacheRoot(), progress };
  const pair = choosePair(await distribution.kernels(context), from, to);
  const kernel = await findTargetKernel({ kernel: pair.older.release, progress });
  const compiler = await compareCompiler(kernel.image.banner);
  const tree = await prepareTree(kernel, { compiler: compiler.program, progress });
  const newer = await distribution.fetch({ kind: "release", release: pair.newer.release }, context);
  const part = within.length === 0 ? "" : `-${sha256(within.join(" ")).slice(0, 8)}`;
  const folder = join(context.cache, "bench", `${kernel.packageVersion}-${newer.packageVersion}${part}`);
  await mkdir(folder, { recursive: true });
  const corpus = await progress.phase("corpus", "Compare the two versions", async () =>
    makeCorpus((await newer.source()).path, tree, kernel.folder, join(folder, "corpus-2"), within),
  );
  const cache = new UnitCache(toolchainFolder(kernel.folder, compiler));
  return { pair, kernel, tree, corpus, cache, folder };
}
