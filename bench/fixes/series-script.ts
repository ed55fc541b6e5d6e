import { guestOpening, transitionFunctions } from "../../src/vm/guest-script.ts";

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
loaded=" "

load_target() {
  case "$loaded" in *" $2 "*) return ;; esac
  timeout -s KILL ${loadLimit} insmod /kmend/modules/$2.ko >/tmp/out 2>&1
  status=$?
  [ $status = 0 ] && loaded="$loaded$2 "
  send target.$1.$2 $status </tmp/out
}

steps() {
  insmod /kmend/modules/$2.ko >/tmp/out 2>&1
  status=$?
  send load.$1 $status </tmp/out
  [ $status = 0 ] || return
  if ! wait_transition; then
    stalled_tasks 1 | send patched.$1 1
    echo 0 >$patches/$name/enabled
    wait_transition && wait_gone && unload
    return
  fi
  tell patched.$1
  echo 0 >$patches/$name/enabled
  if ! wait_transition; then
    stalled_tasks 0 | send disabled.$1 1
    return
  fi
  wait_gone
  send disabled.$1 $? </dev/null
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
