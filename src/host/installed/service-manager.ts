import { spawn } from "node:child_process";
import { exists } from "../../support/cache.ts";
import { findProgram } from "../../support/find-program.ts";
import { ownProgram } from "../../support/own-program.ts";
import { run } from "../../support/run.ts";

async function systemctl(...words: readonly string[]): Promise<{ readonly ok: boolean; readonly text: string }> {
  const program = (await exists("/run/systemd/system")) ? await findProgram("systemctl") : undefined;
  if (program === undefined) return { ok: false, text: "" };
  const { exitCode, stdout } = await run(program, words, { allowFailure: true, timeout: 10_000 });
  return { ok: exitCode === 0, text: stdout.trim() };
}

/** Whether the system is on its orderly way down, as far as systemd tells. */
export async function isShuttingDown(): Promise<boolean> {
  return (await systemctl("is-system-running")).text === "stopping";
}

/** Has `kmend boot --confirm` called in so many seconds: by its unit, or where systemd has none by a process that outlives this one. */
export async function confirmLater(seconds: number): Promise<void> {
  if ((await systemctl("start", "--no-block", "kmend-confirm.service")).ok) return;
  const words = ["-c", `sleep ${seconds}; exec "$@"`, "sh", ...ownProgram(), "boot", "--confirm"];
  const child = spawn("sh", words, { detached: true, stdio: "ignore" });
  // Without it the next boot does not load the module, which is the safe side.
  child.on("error", () => {});
  child.unref();
}
