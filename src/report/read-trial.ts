import * as z from "zod/mini";
import { ExitCode, KmendError, messageOf } from "../support/errors.ts";
import { readInputFile } from "../support/input-file.ts";
import type { TryResult } from "../vm/try-types.ts";

const texts = z.array(z.string());

const shape = {
  schema: z.literal(1),
  verdict: z.enum(["passed", "failed"]),
  kernel: z.string(),
  module: z.string(),
  sha256: z.optional(z.string().check(z.regex(/^[0-9a-f]{64}$/))),
  staysInMemory: z.boolean(),
  transitionMilliseconds: z.nullable(z.number()),
  probes: z.array(
    z.object({
      ...{ command: z.string(), before: z.string(), loaded: z.string(), after: z.string() },
      varies: z.optional(z.literal(true)),
    }),
  ),
  calls: z.optional(z.array(z.object({ object: z.string(), name: z.string(), calls: z.number() }))),
  kernelLog: texts,
  failure: z.nullable(z.string()),
  stalledTasks: z.array(z.object({ task: z.number(), name: z.string(), stack: texts })),
  remarks: texts,
  accelerator: z.enum(["kvm", "tcg"]),
  milliseconds: z.record(z.string(), z.number()),
} satisfies Record<keyof TryResult, z.ZodMiniType>;

/** Reads what `kmend try --json` printed into a file. @throws KmendError `NOT_A_TRIAL` (exit 2) for anything else. */
export async function readTrial(file: string): Promise<TryResult> {
  const broken = (why: string, cause?: unknown): KmendError =>
    new KmendError({
      code: "NOT_A_TRIAL",
      message: `${file} is not the result of a trial`,
      why,
      hint: "kmend try livepatch-fix.ko --json > trial.json",
      exitCode: ExitCode.usage,
      cause,
    });
  let value: unknown;
  try {
    value = JSON.parse((await readInputFile(file)).toString("utf8"));
  } catch (error) {
    throw broken(messageOf(error), error);
  }
  const result = z.object(shape).safeParse(value);
  if (!result.success)
    throw broken(`${result.error.issues[0]?.path.map(String).join(".") || "it"} is not what it has to be`);
  const { probes, ...rest } = result.data;
  return {
    ...rest,
    probes: probes.map(({ varies, ...probe }) => (varies === undefined ? probe : { ...probe, varies })),
  };
}
