import { spawn } from "node:child_process";
import { exists } from "../../support/cache.ts";
import { findProgram } from "../../support/find-program.ts";
import { ownProgram } from "../../support/own-program.ts";
import { run } from "../../support/run.ts";
import { type Expiry, expiryText } from "../stop/expiry-text.ts";

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
  // Without it the next boot does not load the module, which is the safe side.
  await runLater(seconds, ["boot", "--confirm"]);
}

/**
 * Has `kmend stop --expire` called in so many seconds, by a transient timer of systemd, or where there is none by a process that outlives this one.
 * @returns false when neither could be started.
 */
export async function expireLater(expiry: Expiry, seconds: number): Promise<boolean> {
  const words = ["stop", "--expire", expiryText(expiry)];
  const program = (await exists("/run/systemd/system")) ? await findProgram("systemd-run") : undefined;
  if (program === undefined) return runLater(seconds, words);
  const unit = `kmend-stop-${expiry.name}-${Date.parse(expiry.since)}`;
  const timer = ["--quiet", "--collect", `--unit=${unit}`, `--on-active=${seconds}`];
  const accuracy = "--timer-property=AccuracySec=1s";
  const { exitCode } = await run(program, [...timer, accuracy, "--", ...ownProgram(), ...words], {
    allowFailure: true,
    timeout: 30_000,
  });
  return exitCode === 0;
}

/** Runs this program later, in a process that outlives this one. @returns false when that cannot be started. */
function runLater(seconds: number, words: readonly string[]): Promise<boolean> {
  const child = spawn("sh", ["-c", `sleep ${seconds}; exec "$@"`, "sh", ...ownProgram(), ...words], {
    detached: true,
    stdio: "ignore",
  });
  child.unref();
  return new Promise((done) => {
    child.on("error", () => done(false));
    child.on("spawn", () => done(true));
  });
}
