import type { OfferedKernel } from "../kernel/sources/distribution/distribution.ts";
import { type Architecture, architectures, isRelease } from "../package/package-name.ts";
import { ExitCode, KmendError } from "../support/errors.ts";

/** Kernels of an archive that patterns are about. */
export interface KernelOffer {
  readonly kernels: readonly OfferedKernel[];
  /** What `newest` means. */
  readonly newest: string;
}

/**
 * Turns kernels of a manifest into releases: `all`, `newest`, a release with or without its architecture, or a pattern with `*` for any characters and `?` for
 * one. Patterns mean the kernels whose source is on offer. What means no kernel is kept, so that all of it can be reported at once.
 */
export class KernelPatterns {
  readonly #offer: KernelOffer;
  readonly #problems: string[] = [];

  constructor(offer: KernelOffer) {
    this.#offer = offer;
  }

  /** The releases that a pattern means, oldest first; none where it means none. */
  releasesOf(pattern: string, architecture: Architecture): readonly string[] {
    const { kernels, newest } = this.#offer;
    if (pattern === "newest") return [newest];
    const own = kernels.filter(({ release }) => isOf(release, architecture));
    if (pattern !== "all" && !/[*?]/.test(pattern)) return this.#one(pattern, own, architecture);
    const matches = pattern === "all" ? /./ : globOf(pattern);
    const found = own.filter(({ release }) => matches.test(release));
    const withSource = found.filter(({ hasSource }) => hasSource).map(({ release }) => release);
    if (withSource.length === 0) {
      this.#problems.push(
        found.length === 0
          ? `${pattern} matches none of the ${own.length} kernels on offer`
          : `${pattern} matches kernels without source on offer only: ${found.map(({ release }) => release).join(", ")}`,
      );
    }
    return withSource;
  }

  #one(name: string, own: readonly OfferedKernel[], architecture: Architecture): readonly string[] {
    const found = own.find(({ release }) => isRelease(release, name, architecture));
    if (found === undefined) this.#problems.push(`there is no kernel ${name}`);
    else if (!found.hasSource) this.#problems.push(`the source of ${found.release} is not on offer`);
    return found === undefined ? [] : [found.release];
  }

  /** @throws KmendError `MATRIX_KERNELS` (exit 2) with everything that meant no kernel. */
  requireAll(manifest: string): void {
    if (this.#problems.length === 0) return;
    const releases = this.#offer.kernels.filter(({ hasSource }) => hasSource).map(({ release }) => release);
    throw new KmendError({
      code: "MATRIX_KERNELS",
      message: "the manifest names kernels that are not there",
      where: manifest,
      why: [...new Set(this.#problems)].join("\n"),
      hint: `kernels with source on offer: ${releases.join(", ") || "none; run apt-get update"}`,
      exitCode: ExitCode.usage,
    });
  }
}

/** Releases end in the name of their architecture where they name one. */
function isOf(release: string, { rpm, deb }: Architecture): boolean {
  const named = Object.values(architectures).find((one) => new RegExp(`[-.](${one.deb}|${one.rpm})$`).test(release));
  return named === undefined || named.rpm === rpm || named.deb === deb;
}

function globOf(pattern: string): RegExp {
  const text = pattern.replace(/[.+^${}()|[\]\\]/g, "\\$&");
  return new RegExp(`^${text.replaceAll("*", ".*").replaceAll("?", ".")}$`);
}
