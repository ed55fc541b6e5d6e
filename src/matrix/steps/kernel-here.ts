import { findTargetKernel } from "../../kernel/find.ts";
import type { ArchiveChoice } from "../../kernel/sources/distribution/choose.ts";
import { SilentProgress } from "../../support/progress.ts";
import { factsOf, requireFacts } from "../kernel-facts.ts";
import type { KernelFacts } from "../step.ts";
import type { StepServices } from "./step-services.ts";

/** Options that say where kernels come from. */
export function archiveWords(archive: ArchiveChoice | null): readonly string[] {
  return [
    ...(archive?.distribution === undefined ? [] : ["--distribution", archive.distribution]),
    ...(archive?.sources === undefined ? [] : ["--archive", archive.sources]),
  ];
}

/** Facts of a kernel on this machine, found out once. */
export async function factsHere(
  release: string,
  archive: ArchiveChoice | null,
  { facts, signal }: StepServices,
): Promise<KernelFacts> {
  let found = facts.get(release);
  if (found === undefined) {
    found = findFacts(release, archive, signal);
    facts.set(release, found);
    found.catch(() => facts.delete(release));
  }
  return found;
}

async function findFacts(
  release: string,
  archive: ArchiveChoice | null,
  signal: AbortSignal | undefined,
): Promise<KernelFacts> {
  const progress = new SilentProgress();
  return factsOf(await findTargetKernel({ kernel: release, archive: archive ?? undefined, progress, signal }));
}

/** Makes sure that the kernel of a step is the same one here. @throws KmendError `KERNEL_DIFFERS` */
export async function requireKernel(
  { kernel, archive }: { readonly kernel: KernelFacts; readonly archive: ArchiveChoice | null },
  services: StepServices,
): Promise<void> {
  requireFacts(await factsHere(kernel.release, archive, services), kernel);
}
