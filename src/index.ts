/**
 * kmend as a library: what the commands do, without printing.
 * @packageDocumentation
 */
export { build } from "./build/build.ts";
export type { BuildOptions, BuildResult, BuiltFunction } from "./build/build-types.ts";
export type { DiffResult } from "./build/compare-objects.ts";
export { type DiffOptions, diffObjects } from "./build/diff-objects.ts";
export { type VerifiedItem, type VerifyOptions, type VerifyResult, verifyModule } from "./build/verify.ts";
export { type BootResult, boot, type ConfirmResult, confirm } from "./host/boot/boot.ts";
export type { BootPlan } from "./host/boot/boot-plan.ts";
export type { BootService } from "./host/boot/boot-service.ts";
export { type InstallOptions, type InstallResult, install, uninstall } from "./host/installed/install.ts";
export { type ModuleInfo, readModuleInfo } from "./host/kernel/patch-module-info.ts";
export { type ForceOptions, type ForceResult, force } from "./host/load/force.ts";
export { type ChangeOptions, type LoadOptions, type LoadResult, load, replace } from "./host/load/load.ts";
export { type UnloadOptions, type UnloadResult, unload } from "./host/load/unload.ts";
export { type Health, type HostStatus, judgeHealth, readHostStatus } from "./host/status/status.ts";
export { findTargetKernel } from "./kernel/find.ts";
export type { FindOptions, TargetKernel } from "./kernel/target-kernel.ts";
export type { MatrixResult } from "./matrix/matrix-result.ts";
export { type OrderOptions, type OrderOutcome, planOrder } from "./matrix/plan-order.ts";
export { type MatrixOptions, runMatrix } from "./matrix/start-matrix.ts";
export type { PackageOrder } from "./package/package-order.ts";
export type { PackageChoices, PackagePlan } from "./package/package-plan.ts";
export { type RepositoryResult, updateRepository } from "./package/repository/repository.ts";
export type { RepositoryRequest } from "./package/repository/repository-format.ts";
export { type PackageFormat, type WriteOptions, type WrittenPackage, writePackage } from "./package/write-package.ts";
export type { Manifest } from "./patch-module/manifest.ts";
export type { Refusal, RefusalCode } from "./refusals/refusals.ts";
export { type StopOptions, type StopOutcome, stop } from "./stop/stop.ts";
export type { ErrorDetails } from "./support/errors.ts";
export { ExitCode, KmendError } from "./support/errors.ts";
export { type Progress, SilentProgress } from "./support/progress.ts";
export { type Need, type Requirement, requirements } from "./support/requirement-table.ts";
export { checkRequirements, ensureRequirements, type RequirementStatus } from "./support/requirements.ts";
export { tryModule } from "./vm/try.ts";
export type { BootableKernel, ProbeResult, StalledTask, TryOptions, TryResult } from "./vm/try-types.ts";
