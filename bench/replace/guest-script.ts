import { guestOpening, transitionFunctions } from "../../src/vm/guest-script.ts";
import { moduleSteps } from "../module-steps.ts";

/** One patch module; numbers are those of the files /kmend/modules/N.ko. */
export interface ReplaceEntry {
  /** As the kernel knows it. */
  readonly name: string;
  readonly file: number;
  readonly staysInMemory: boolean;
  /** Modules to load first, in this order. */
  readonly targets: readonly number[];
}

export interface ReplacePlan {
  readonly token: string;
  readonly entries: readonly ReplaceEntry[];
  /** Modules that the loads need, in this order. */
  readonly needed: readonly number[];
  /** Modules for the load that loads modules: `NAME=FILE`. */
  readonly others: readonly string[];
  /** Loads with their limits in seconds; load N is /kmend/probes/N. */
  readonly loads: readonly { readonly name: string; readonly limit: number }[];
  /** Numbers of those that run while modules are loaded. */
  readonly stirred: readonly number[];
  /** How often all loads are run. */
  readonly rounds: number;
  /** All modules are in force at once, and stay; else each is taken back before the next. */
  readonly stack: boolean;
}

/** Seconds for each transition. */
const transitionLimit = 120;

/** Seconds for the loading of a module that looks for its hardware. */
const targetLimit = 40;

/** Seconds for which a module that is loaded alone is worked with, and a module that comes and goes many times. */
const [aloneSeconds, briefSeconds] = [4, 1];

/**
 * Init script of the guest. Frames, in this order: `booted`, `pace.before`; for each entry N `start.N`, `target.N.FILE`, `load.N`, `patched.N`, then unless stacked `disabled.N`
 * and `unload.N`, and `log.N`, `end.N`; `stir`; for each round R and load L `run.R.L` and `log.R.L`; `slabs.before` after the first of several rounds, `slabs.after`, `pace.after`; `called` if stacked; `done`.
 */
export function replaceScript(plan: ReplacePlan): string {
  const entries = plan.entries.map(
    ({ name, file, staysInMemory, targets }, number) =>
      `entry ${number} ${file} ${name} ${staysInMemory ? 1 : 0} ${targets.join(" ")}`,
  );
  const modules = plan.entries.map(({ name }) => name);
  const isRepeated = new Set(modules).size < modules.length;
  const runs = plan.loads.map(({ limit }, number) => `run $round ${number} ${limit}`);
  return `${guestOpening(plan.token)}
${transitionFunctions(transitionLimit)}
mkdir -p /dev/pts /dev/shm /room /cg /var/run
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs -o size=900M tmpfs /room
mount -t cgroup2 cgroup2 /cg && echo +memory >/cg/cgroup.subtree_control
mount -t tracefs tracefs /sys/kernel/tracing
hostname outer
echo "127.0.0.1 localhost" >/etc/hosts
export programs=/kmend/programs LD_LIBRARY_PATH=/kmend/programs
export others="${plan.others.join(" ")}"
echo -1000 >/proc/self/oom_score_adj

# Runs load $1 in a folder of its own; what it prints goes to $2.
work() {
  rm -rf /room/$1.$2; mkdir -p /room/$1.$2
  (cd /room/$1.$2; echo 0 >/proc/self/oom_score_adj; exec timeout -s KILL $3 sh /kmend/probes/$1) >/tmp/out.$2 2>&1
  status=$?
  rm -rf /room/$1.$2
  return $status
}

stir() {
  while [ ! -e /tmp/still ]; do
    for load in ${plan.stirred.join(" ")}; do
      work $load stir 300
      echo "$load $? $(md5sum </tmp/out.stir)" >>/tmp/stir
    done
  done
}

run() {
  work $2 front $3
  status=$?
  tail -c 20000 /tmp/out.front | send run.$1.$2 $status
  dmesg -c | send log.$1.$2 0
}

# Hundredths of a second for system calls in a bare loop, several times.
pace() {
  for turn in 1 2 3 4 5; do
    read -r up rest </proc/uptime; began=\${up%.*}\${up#*.}
    dd if=/dev/zero of=/dev/null bs=1 count=100000 2>/dev/null
    read -r up rest </proc/uptime; ended=\${up%.*}\${up#*.}
    echo $((ended - began))
  done | send pace.$1 0
}

slabs() {
  sync
  echo 3 >/proc/sys/vm/drop_caches; sleep 3; echo 3 >/proc/sys/vm/drop_caches
  send slabs.$1 0 </proc/slabinfo
}

${moduleSteps(targetLimit)}
steps() {
  put_in_force $1 $2 || return
  ${plan.stack ? "return" : ""}
  sleep ${isRepeated ? briefSeconds : aloneSeconds}
  take_back $1 || return
  if [ $3 = 1 ]; then [ -d /sys/module/$name ]; else unload; fi
  send unload.$1 $? </tmp/out
}

entry() {
  number=$1 file=$2 name=$3 stays=$4
  shift 4
  tell start.$number
  for target in "$@"; do load_target $number $target; done
  tell targets.$number
  dmesg -c >/dev/null
  steps $number $file $stays
  dmesg -c | send log.$number 0
  tell end.$number
}

dmesg -n 8
tell booted
for module in ${plan.needed.join(" ")}; do load_target needed $module; done
[ -e /sys/class/zram-control ] && cat /sys/class/zram-control/hot_add >/dev/null
pace before
stir &
stirring=$!
${entries.join("\n")}
tell loaded
touch /tmp/still; wait $stirring
send stir 0 </tmp/stir
dmesg -c | send log.stir 0
${plan.rounds === 1 ? "slabs before" : ""}
round=0
while [ $round -lt ${plan.rounds} ]; do
  ${runs.join("\n  ")}
  ${plan.rounds > 1 ? "[ $round = 0 ] && slabs before" : ""}
  round=$((round + 1))
done
slabs after
pace after
${plan.stack && modules.length > 0 ? callsScript(modules, plan) : ""}
dmesg -c | send log.end 0
tell done
poweroff -f
`;
}

/**
 * Finds out which functions of the modules are called, in one more round under the function tracer: what was seen is not traced again, so that what is called
 * often leaves room for the rest.
 */
function callsScript(modules: readonly string[], { loads, stirred }: ReplacePlan): string {
  const passes = [...stirred, ...loads.keys()].map((load) => `traced ${load} ${loads[load]?.limit}`);
  return `tracing=/sys/kernel/tracing
: >/tmp/called
echo 0 >$tracing/tracing_on
echo 0 >$tracing/options/overwrite
echo 6000 >$tracing/buffer_size_kb
for module in ${modules.join(" ")}; do echo "*:mod:$module" >>$tracing/set_ftrace_filter; done
traced() {
  echo function >$tracing/current_tracer
  echo >$tracing/trace
  echo 1 >$tracing/tracing_on
  work $1 front $2
  echo 0 >$tracing/tracing_on
  sed -n 's/^.*: \\([A-Za-z0-9_.]*\\)\\( \\[[a-z0-9_]*\\]\\)* <-.*/\\1/p' $tracing/trace | sort -u >/tmp/seen
  cat /tmp/seen >>/tmp/called
  echo nop >$tracing/current_tracer
  while read -r function; do echo $function; done </tmp/seen >>$tracing/set_ftrace_notrace
  tell traced.$1
}
${passes.join("\n")}
echo >$tracing/set_ftrace_filter; echo >$tracing/set_ftrace_notrace; echo 1 >$tracing/tracing_on
sort -u /tmp/called | send called 0`;
}
