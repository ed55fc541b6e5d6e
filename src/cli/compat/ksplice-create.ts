import { hintIn } from "../../refusals/refusals.ts";
import { OptionValues } from "../command.ts";
import { createLines, runCreate } from "../commands/create.ts";
import { createOptions } from "../options/create-options.ts";
import { usageError } from "../options/usage.ts";
import { warningLines } from "../report/build-report.ts";
import { formatProblem } from "../report/problem.ts";
import { styleFor } from "../terminal/style.ts";
import { KspliceExit, type KspliceProgram, kspliceProgram } from "./ksplice-program.ts";

/** The interface of ksplice-create 0.9.9, as its manual describes it. */
export const kspliceCreate: KspliceProgram = {
  name: "ksplice-create",
  description: "Makes an update of the running kernel from a change to its source.",
  argument: { name: "KERNEL_SOURCE", description: "original source of the running kernel; it is only read" },
  options: createOptions,
  async run({ operand, options, reporter, io, print, warn, verbosity, raw }) {
    const { stderr, signal } = io;
    if (operand === undefined) throw usageError("ksplice-create", "KERNEL_SOURCE is missing");
    const given = new OptionValues({ ...options.all(), install: true });
    const result = await runCreate(this.name, { progress: reporter, signal }, operand, given);
    reporter.stop();
    const { build, notes, outcome } = result;
    if (!raw && verbosity >= 0) {
      for (const note of [...notes, ...(build?.notes ?? [])]) reporter.note(note);
      for (const line of build === null ? [] : warningLines(build)) reporter.warning(line);
    }
    for (const refusal of build?.refusals ?? []) {
      const { code, what, where, why } = refusal;
      const hint = hintIn(refusal, ({ name, value, effect }) => `--${name}=${value} ${effect}`);
      if (!raw) warn(formatProblem({ kind: "refused", code, message: what, where, why, hint }, styleFor(stderr)));
    }
    if (outcome === "unchanged") {
      warn("No changes detected.\n");
      return KspliceExit.unchanged;
    }
    if (outcome === "refused") {
      warn(
        raw
          ? `OTHER\n${(build?.refusals ?? []).map(({ code, what }) => `${code} ${what}`).join("\n")}\n`
          : "Aborting: the change cannot be made in a running kernel\n",
      );
      return KspliceExit.failure;
    }
    if (verbosity >= 0 && build !== null) {
      for (const { name, object, change } of build.functions) print(`${change} function: ${name} (${object})`);
    }
    for (const line of createLines(result)) print(line);
    return KspliceExit.done;
  },
};

/** Runs it. */
export const runKspliceCreate = kspliceProgram(kspliceCreate);
