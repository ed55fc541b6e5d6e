/** What the guest's init does; every limit is in seconds. */
export interface GuestPlan {
  /** Random word that marks frames and kernel log lines. */
  readonly token: string;
  /** How many files /kmend/modules/0.ko … there are, loaded in this order. */
  readonly moduleCount: number;
  /** Numbers of those that may fail to start on this machine: only the patch module is about them. */
  readonly optional?: readonly number[];
  /** How many files /kmend/probes/0 … there are. */
  readonly probeCount: number;
  /** Names of functions in the patch module whose calls are counted while it is active. */
  readonly counted?: readonly string[];
  readonly probeLimit: number;
  readonly transitionLimit: number;
  /** True for a patch module that holds itself in memory: it is taken out of force and not unloaded. */
  readonly staysInMemory: boolean;
}

/** Bytes of a probe's output that are kept. */
const probeOutputLimit = 65_536;

/** Exit status that is sent for a probe which did not end in time, as timeout(1) of coreutils gives it. */
export const probeTimedOut = 124;

/** Text that begins a line of the kernel log which the guest wrote itself: the step that starts there follows. */
export function logMarker(token: string): string {
  return `kmend-${token} `;
}

const opening = `#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /run /root /etc
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root LC_ALL=C
exec </dev/null >/dev/ttyS0 2>&1
mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null
ifconfig lo up 2>/dev/null
echo root:x:0:0:root:/root:/bin/sh >/etc/passwd
cd /root
stty -F /dev/ttyS1 raw -echo 115200
`;

/** The beginning of every guest script: mounts, and the functions `send NAME STATUS <data`, `tell NAME` and `mark STEP`. */
export function guestOpening(token: string): string {
  return `${opening}
send() { { echo "@${token}< $1 $2"; base64; echo "@${token}> $1"; } >/dev/ttyS1; }
tell() { send "$1" 0 </dev/null; }
mark() { echo "<5>${logMarker(token)}$1" >/dev/kmsg; }
`;
}

/**
 * Shell functions around the transition of the live patch `$name`: `seconds` sets $now, `wait_transition` fails after `limit` seconds, `stalled_tasks STATE`
 * names the tasks that hold it up, `wait_gone` waits for the patch to leave sysfs, `unload` removes the module.
 */
export function transitionFunctions(limit: number): string {
  return `patches=/sys/kernel/livepatch

seconds() { read -r up rest </proc/uptime; now=\${up%%.*}; }

# Prints the tasks that have not reached patch state $1 (-1: not part of a transition), each with its kernel stack.
stalled_tasks() {
  for task in /proc/[0-9]*/task/[0-9]*; do
    read -r state 2>/dev/null <$task/patch_state || continue
    [ "$state" = "$1" ] || [ "$state" = -1 ] && continue
    echo "task \${task##*/} $(cat $task/comm)"
    cat $task/stack
  done
}

# Waits until the transition of $name is over; a patch that is gone has ended it too.
wait_transition() {
  seconds
  limit=$((now + ${limit}))
  while read -r state 2>/dev/null <$patches/$name/transition && [ "$state" = 1 ]; do
    seconds
    [ $now -ge $limit ] && return 1
    usleep 20000
  done
  return 0
}

wait_gone() {
  tries=0
  while [ -d $patches/$name ] && [ $tries -lt 250 ]; do usleep 20000; tries=$((tries + 1)); done
  [ ! -d $patches/$name ]
}

unload() {
  tries=0
  until rmmod "$name" >/tmp/out 2>&1; do
    tries=$((tries + 1))
    [ $tries -ge 50 ] && break
    usleep 50000
  done
  [ ! -d /sys/module/$name ]
}
`;
}

/**
 * Shell functions that count calls of functions in the module `$name`, by a kprobe at each: `count_calls` begins, `counted_calls` prints the kernel's table of
 * events `fN` with their hits (Documentation/trace/kprobetrace.rst, Linux 6.1) and ends. Where the kernel cannot do that they print nothing.
 */
function countingFunctions(symbols: readonly string[]): string {
  if (symbols.length === 0) return "count_calls() { :; }\ncounted_calls() { :; }\n";
  return `tracing=/sys/kernel/tracing
count_calls() {
  mount -t tracefs tracefs $tracing
  [ -w $tracing/kprobe_events ] || return
  event=0
  for symbol in ${symbols.join(" ")}; do
    echo "p:kmend/f$event $name:$symbol" >>$tracing/kprobe_events && echo 1 >$tracing/events/kmend/f$event/enable
    event=$((event + 1))
  done
} 2>/tmp/out

counted_calls() {
  [ -d $tracing/events/kmend ] || return
  cat $tracing/kprobe_profile
  echo 0 >$tracing/events/kmend/enable
  echo >$tracing/kprobe_events
}
`;
}

/** The smallest guest: it says \`booted\` and powers off. */
export function bootOnlyScript(token: string): string {
  return `${guestOpening(token)}
tell booted
poweroff -f
`;
}

/**
 * The init script of the guest. It sends, in this order, the frames \`booted\`, \`module.N\`, \`before.N\` and \`again.N\` for each probe, \`load\`,
 * \`name\`, \`patched\`, \`loaded.N\`, \`calls\`, \`disable\`, \`disabled\`, \`unload\`, \`after.N\`, \`log\`, \`done\`; after a failed step, or a probe that cannot work, it goes straight to \`log\`.
 * Kernel interfaces: Documentation/livepatch/livepatch.rst and Documentation/ABI/testing/sysfs-kernel-livepatch (Linux 6.1).
 */
export function guestScript(plan: GuestPlan): string {
  return `${guestOpening(plan.token)}
${transitionFunctions(plan.transitionLimit)}
${countingFunctions(plan.counted ?? [])}
finish() {
  mark end
  dmesg | sed -n '/${logMarker(plan.token)}start/,$p' >/tmp/log
  dmesg -n 1
  send log 0 </tmp/log
  tell done
  poweroff -f
}

run_probes() {
  probe=0
  while [ $probe -lt ${plan.probeCount} ]; do
    seconds
    began=$now
    timeout -s KILL ${plan.probeLimit} sh -c "$(cat /kmend/probes/$probe)" >/tmp/out 2>&1
    status=$?
    seconds
    # An oops kills with the same signal, but sooner.
    [ $status = 137 ] && [ $((now - began)) -ge $((${plan.probeLimit} - 1)) ] && status=${probeTimedOut}
    head -c ${probeOutputLimit} /tmp/out | send "$1.$probe" $status
    case $1.$status in before.126 | before.127 | before.${probeTimedOut}) finish ;; esac
    probe=$((probe + 1))
  done
}

dmesg -n 8
tell booted
mark start
module=0
while [ $module -lt ${plan.moduleCount} ]; do
  insmod /kmend/modules/$module.ko >/tmp/out 2>&1
  status=$?
  # One of them may be an earlier patch module, and the kernel makes one transition at a time.
  for name in $(ls $patches 2>/dev/null); do
    wait_transition || { echo "its transition does not end" >>/tmp/out; status=1; }
  done
  send module.$module $status </tmp/out
  if [ $status != 0 ]; then
    case " ${(plan.optional ?? []).join(" ")} " in
    *" $module "*) ;;
    *) finish ;;
    esac
  fi
  module=$((module + 1))
done
run_probes before
run_probes again

ls $patches >/tmp/patches 2>/dev/null
mark patch
insmod /kmend/patch.ko >/tmp/out 2>&1
status=$?
send load $status </tmp/out
[ $status = 0 ] || finish
name=
for patch in $(ls $patches 2>/dev/null); do
  grep -qxF "$patch" /tmp/patches || name=$patch
done
echo "$name" | send name 0
[ -n "$name" ] || finish
if ! wait_transition; then
  stalled_tasks 1 | send patched 1
  finish
fi
tell patched
count_calls
run_probes loaded
counted_calls | send calls 0

mark unpatch
echo 0 2>/tmp/out >$patches/$name/enabled
status=$?
send disable $status </tmp/out
[ $status = 0 ] || finish
if ! wait_transition; then
  stalled_tasks 0 | send disabled 1
  finish
fi
wait_gone
send disabled $? </dev/null
${plan.staysInMemory ? "[ -d /sys/module/$name ]" : "unload"}
send unload $? </tmp/out
run_probes after
finish
`;
}
