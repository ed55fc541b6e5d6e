import { guestOpening, transitionFunctions } from "../../src/vm/guest-script.ts";
import { moduleSteps } from "../module-steps.ts";

/** One patch module of a series; numbers are those of the files /kmend/modules/N.ko. */
export interface SeriesEntry {
  /** As the kernel knows it. */
  readonly name: string;
  readonly file: number;
  /** It holds itself, as its manifest says. */
  readonly staysInMemory: boolean;
  /** Modules to load first, in this order. */
  readonly targets: readonly number[];
}

/** Seconds for each transition. */
const transitionLimit = 60;

/** Seconds for the loading of a module that looks for its hardware. */
const loadLimit = 40;

/**
 * Init script of a guest that takes patch modules one after the other through load, transition, transition back and unload, the last but for those that stay in
 * memory. Frames for entry N: `start.N`,
 * `target.N.FILE` with insmod's status, `targets.N`, `load.N`, `patched.N`, `disabled.N`, `unload.N`, `log.N`, `end.N`; steps after a failed one are missing.
 */
export function seriesScript(token: string, entries: readonly SeriesEntry[]): string {
  const calls = entries.map(
    ({ name, file, staysInMemory, targets }, number) =>
      `entry ${number} ${file} ${name} ${staysInMemory ? "stays" : "goes"} ${targets.join(" ")}`,
  );
  return `${guestOpening(token)}
${transitionFunctions(transitionLimit)}
${moduleSteps(loadLimit)}
steps() {
  put_in_force $1 $2 && take_back $1 || return
  case $3 in stays) [ -d /sys/module/$name ] ;; *) unload ;; esac
  send unload.$1 $? </tmp/out
}

entry() {
  number=$1 file=$2 name=$3 lifetime=$4
  shift 4
  tell start.$number
  for target in "$@"; do load_target $number $target; done
  tell targets.$number
  dmesg -c >/dev/null
  steps $number $file $lifetime
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
