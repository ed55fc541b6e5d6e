import { diffLines } from "diff";
import { counted } from "../../support/counted.ts";
import type { ProbeResult, TryResult } from "../../vm/try-types.ts";
import type { CommandContext } from "../command.ts";
import type { Style } from "../terminal/style.ts";

/** Lines of one difference that are shown; the rest is counted. */
const shownLines = 40;

/**
 * Prints the verdict of `try`, what the probes saw, and for a failed one what the kernel said.
 * @param hits whether the calls of each function are shown, and not only how many functions were called.
 */
export function reportTry(context: CommandContext, result: TryResult, hits = false): void {
  if (context.json) {
    context.printJson(result);
    return;
  }
  const { style } = context;
  for (const probe of result.probes) {
    context.print(`${style("bold", "probe:")} ${probe.command}`);
    for (const line of probeLines(probe, result, style)) context.print(`  ${line}`);
  }
  if (result.probes.length > 0) context.print("");
  if (result.transitionMilliseconds !== null) {
    context.print(`transition: ${(result.transitionMilliseconds / 1000).toFixed(2)} s`);
  }
  for (const line of callLines(result, hits)) context.print(line);
  for (const { task, name, stack } of result.stalledTasks) {
    context.print(`stalled: task ${task} (${name})${stack.length === 0 ? ", running" : ""}`);
    for (const frame of stack) context.print(`    ${frame}`);
  }
  if (result.verdict === "failed" && result.kernelLog.length > 0) {
    context.print("kernel log:");
    for (const line of result.kernelLog) context.print(`  ${line}`);
  }
  for (const remark of result.remarks) context.print(`${style("yellow", "remark:")} ${remark}`);
  const verdict =
    result.verdict === "passed"
      ? `${style(["bold", "green"], "passed:")} ${result.module} works on ${result.kernel}: loaded, active, reverted${result.staysInMemory ? "" : ", unloaded"}`
      : `${style(["bold", "red"], "failed:")} ${result.module} on ${result.kernel}: ${result.failure}`;
  context.print(verdict);
}

function callLines({ calls }: TryResult, hits: boolean): string[] {
  if (calls === undefined) return hits ? ["calls: the kernel of the trial could not count them"] : [];
  const called = calls.filter((one) => one.calls > 0).length;
  const counts = `calls: ${called} of ${counted(calls.length, "patched function")} ${called === 1 ? "was" : "were"} called`;
  if (!hits) return [called === 0 ? counts : `${counts} (--hits lists them)`];
  const width = Math.max(...calls.map((one) => `${one.calls}`.length));
  return [
    counts,
    ...calls.map(
      ({ object, name, calls: count }) =>
        `  ${`${count}`.padStart(width)}  ${name}${object === "vmlinux" ? "" : ` (${object})`}`,
    ),
  ];
}

function probeLines(probe: ProbeResult, result: TryResult, style: Style): string[] {
  // After a failed step the later runs did not take place, and an empty output would look like an effect.
  const complete = result.verdict === "passed" || probe.loaded !== "" || probe.after !== "";
  if (!complete) return ["was not run with the patch active"];
  const lines =
    probe.before === probe.loaded
      ? ["with the patch: no difference"]
      : ["with the patch:", ...difference(probe.before, probe.loaded, style)];
  const afterwards = result.staysInMemory ? "after it was reverted" : "after the unload";
  if (probe.varies === true) return [...lines, `varies by itself, so the run ${afterwards} proves nothing`];
  if (probe.before === probe.after) return [...lines, `${afterwards}: as before`];
  return [...lines, `${afterwards}:`, ...difference(probe.before, probe.after, style)];
}

function difference(before: string, after: string, style: Style): string[] {
  const lines: string[] = [];
  for (const { value, added, removed } of diffLines(`${before}\n`, `${after}\n`)) {
    if (!added && !removed) continue;
    for (const line of value.replace(/\n$/, "").split("\n")) {
      lines.push(added ? style("green", `+ ${line}`) : style("red", `- ${line}`));
    }
  }
  if (lines.length <= shownLines) return lines;
  return [...lines.slice(0, shownLines), `… and ${lines.length - shownLines} more lines`];
}
