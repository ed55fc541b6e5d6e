import { guestOpening, transitionFunctions } from "../../src/vm/guest-script.ts";
import { moduleSteps } from "../module-steps.ts";

/** One patch module of a series; numbers are those of the files /kmend/modules/N.ko. */
export interface SeriesEntry {
  /** As the kernel knows it. */
  readonly name: string;
  readonly file: number;
  /** Modules to load first, in this order. */
  readonly targets: readonly number[];
}

/** Seconds for each transition. */
const transitionLimit = 60;

/** Seconds for the loading of a module that looks for its hardware. */
const loadLimit = 40;

/**
 * Init script of a guest that takes patch modules one after the other through load, transition, transition back and unload. Frames for entry N: `start.N`,
 * `target.N.FILE` with insmod's status, `targets.N`, `load.N`, `patched.N`, `disabled.N`, `unload.N`, `log.N`, `end.N`; steps after a failed one are missing.
 */
export function seriesScript(token: string, entries: readonly SeriesEntry[]): string {
  const calls = entries.map(
    ({ name, file, targets }, number) => `entry ${number} ${file} ${name} ${targets.join(" ")}`,
  );
  return `${guestOpening(token)}
${transitionFunctions(transitionLimit)}
${moduleSteps(loadLimit)}
steps() {
  put_in_force $1 $2 && take_back $1 || return
  unload
  send unload.$1 $? </tmp/out
}

entry() {
  number=$1 file=$2 name=$3
  shift 3
  tell start.$number
  for target in "$@"; do load_target $number $target; done
  tell targets.$number
  dmesg -c >/dev/null
  steps $number $file
  dmesg -c >/tmp/log
  send log.$number 0 </tmp/log
  tell end.$number
}

dmesg -n 8
tell booted
${calls.join("\n")}
tell done
poweroff -f
`;
}
