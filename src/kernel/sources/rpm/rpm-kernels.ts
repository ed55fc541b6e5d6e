import { arch } from "node:os";
import { ExitCode, KmendError } from "../../../support/errors.ts";
import { once } from "../../../support/once.ts";
import { ensureRequirements } from "../../../support/requirements.ts";
import type {
  Distribution,
  DistributionContext,
  KernelFiles,
  KernelRequest,
  OfferedKernel,
} from "../distribution/distribution.ts";
import { downloadKernelRpms } from "./dnf.ts";
import { packagedRelease, requireOneBuild, unpackKernel } from "./kernel-packages.ts";
import { type RpmFile, readRpm } from "./rpm-file.ts";
import { preparedSource } from "./source-rpm.ts";

/** RPMs that a kernel is taken from. */
export interface RpmRequest {
  /** The source RPM; without it there is a kernel to try and to verify modules with, but none to build for. */
  readonly sourceRpm?: string | undefined;
  /** Core, modules and devel packages; without any, dnf is asked for those that were built from the source RPM. */
  readonly kernelRpms?: readonly string[] | undefined;
  /** dnf.conf in place of the system's. */
  readonly dnfConfiguration?: string | undefined;
}

/** RPM's names of the machine architectures that Node names. */
const architectures: Readonly<Record<string, string>> = { x64: "x86_64", arm64: "aarch64", ppc64: "ppc64le" };

/** The one kernel of a set of RPMs of Fedora's kind: the source RPM, and the packages that were built from it. */
export class RpmKernels implements Distribution {
  readonly name = "rpm";
  readonly #request: RpmRequest;
  readonly #architecture: string;

  constructor(request: RpmRequest, architecture = architectures[arch()] ?? arch()) {
    this.#request = request;
    this.#architecture = architecture;
  }

  /** The packages of one build name each other; their images name none. */
  packageVersionIn(): undefined {
    return undefined;
  }

  async kernels(context: DistributionContext): Promise<readonly OfferedKernel[]> {
    const { release, packageVersion } = await this.fetch({ kind: "newest" }, context);
    return [{ release, packageVersion, installed: false, hasSource: this.#request.sourceRpm !== undefined }];
  }

  async newest(context: DistributionContext): Promise<string> {
    return (await this.fetch({ kind: "newest" }, context)).release;
  }

  /** The packages themselves say which kernel they are. */
  async releaseNamed(name: string): Promise<string> {
    return name;
  }

  async fetch(request: KernelRequest, context: DistributionContext): Promise<KernelFiles> {
    const { sourceRpm, kernelRpms = [], dnfConfiguration } = this.#request;
    await ensureRequirements({ needs: ["source-rpm"], install: false, progress: context.progress });
    const release = request.kind === "release" ? request.release : undefined;
    const source = sourceRpm === undefined ? undefined : await readRpm(sourceRpm, context);
    requireOneBuild([], source);
    const paths =
      kernelRpms.length > 0 || source === undefined
        ? kernelRpms
        : await downloadKernelRpms(
            { source, configuration: dnfConfiguration, kernel: release, architecture: this.#architecture },
            context,
          );
    const packages = await Promise.all(paths.map((path) => readRpm(path, context)));
    requireOneBuild(packages, source);
    const kernel = await unpackKernel(packages, packagedRelease(packages, release), context);
    return {
      ...kernel,
      sourceKey: source?.digest.slice(0, 16),
      source: once(async () => {
        if (source === undefined) throw noSource(packages[0]);
        const architecture = packages[0]?.architecture ?? this.#architecture;
        const path = await preparedSource({ rpm: source, architecture, release: kernel.release }, context);
        return { kind: "archive", path };
      }),
    };
  }
}

function noSource(rpm: RpmFile | undefined): KmendError {
  return new KmendError({
    code: "SOURCE_RPM_MISSING",
    message: "no source RPM was given",
    why: "a patch is built from the source of the kernel",
    hint: `give ${rpm?.sourceRpm ?? "the kernel's source RPM"} with --sourcerpm FILE`,
    exitCode: ExitCode.usage,
  });
}
