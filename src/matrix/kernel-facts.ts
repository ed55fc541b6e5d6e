import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { digestOfFile } from "../kernel/image/file-digest.ts";
import type { KernelSource } from "../kernel/sources/distribution/distribution.ts";
import type { TargetKernel } from "../kernel/target-kernel.ts";
import { cacheRoot, sha256 } from "../support/cache.ts";
import { KmendError } from "../support/errors.ts";
import type { KernelFacts } from "./step.ts";

/** What the key of a cell has in it of its kernel; the source is downloaded for it. @throws errors of downloading. */
export async function factsOf(kernel: TargetKernel): Promise<KernelFacts> {
  const cache = cacheRoot();
  const [sources, configuration] = await Promise.all([
    digestOfSource(await kernel.source(), cache),
    digestOfFile(kernel.configPath, cache),
  ]);
  const { release, packageVersion, buildId, image } = kernel;
  return { release, packageVersion, buildId, sources, configuration, compiler: image.banner.compiler };
}

async function digestOfSource(source: KernelSource, cache: string): Promise<string> {
  if (source.kind !== "archive") throw new Error("a source tree has no place in a matrix");
  const parts = [await digestOfFile(source.path, cache)];
  if (source.patches === undefined) return parts[0] as string;
  for (const name of (await readdir(source.patches)).sort()) {
    parts.push(name, await digestOfFile(join(source.patches, name), cache));
  }
  return sha256(parts.join("\n"));
}

/** @throws KmendError `KERNEL_DIFFERS` when a kernel of that name is another one here. */
export function requireFacts(found: KernelFacts, wanted: KernelFacts): void {
  const different = (Object.keys(wanted) as (keyof KernelFacts)[]).filter((name) => found[name] !== wanted[name]);
  if (different.length === 0) return;
  throw new KmendError({
    code: "KERNEL_DIFFERS",
    message: `kernel ${wanted.release} is another one on this machine: ${different.join(", ")}`,
    why: different.map((name) => `${name}: ${found[name]} here, ${wanted[name]} wanted`).join("\n"),
    hint: "run apt-get update here, so that all machines see the same archive",
  });
}
