import { setFlagsFromString } from "node:v8";

/** By version of V8, how often code has to run until it is worth the compiler's time. V8 prints an error for a setting that it does not have. */
const settings: readonly { readonly version: RegExp; readonly flag: string }[] = [
  { version: /^11\./, flag: "--interrupt-budget=1000000" },
  { version: /^1[23]\./, flag: "--invocation-count-for-turbofan=30000" },
];

/**
 * Lets V8 optimise code some ten times later than it would. A comparison of two objects is over before the optimised code is there: compiling it takes more
 * than a third of all the time of fifty of them, and what still runs after that is optimised then.
 */
export function optimiseLate(): void {
  const setting = settings.find(({ version }) => version.test(process.versions.v8));
  if (setting !== undefined) setFlagsFromString(setting.flag);
}
