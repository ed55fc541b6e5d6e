import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** Kernels whose trees are in test/fixtures/host-trees: 6.1 and 6.12 are recorded, the older ones are written after their sources (kernel/livepatch/core.c). */
export type RecordedKernel = "4.19" | "5.10" | "6.1" | "6.12";

/** Lays a recorded tree out in a new folder. @returns the folder. */
export function recordedHost(kernel: RecordedKernel): string {
  const root = mkdtempSync(join(tmpdir(), "kmend-tree-"));
  const file = fileURLToPath(new URL(`../fixtures/host-trees/${kernel}.tree`, import.meta.url));
  for (const part of readFileSync(file, "utf8").split(/^== /m).slice(1)) {
    const end = part.indexOf("\n");
    const path = join(root, part.slice(0, end));
    if (path.endsWith("/")) mkdirSync(path, { recursive: true });
    else {
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, part.slice(end + 1));
    }
  }
  return root;
}
