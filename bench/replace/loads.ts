/** Work for a kernel, which checks its own results. */
export interface Load {
  readonly name: string;
  /** Modules of the kernel that it needs; one that the kernel does not have as a module is left out. */
  readonly modules: readonly string[];
  /** Text for sh in the guest; what it prints is the same each time. The programs are in `$programs`, a folder of its own is the current one. */
  readonly script: string;
  /** Seconds. */
  readonly limit: number;
  /** It also runs beside everything else, while modules are loaded. */
  readonly isStir?: true;
  /** Log lines that it is there to provoke, from the first pattern to the second. */
  readonly provokes?: readonly [from: RegExp, to: RegExp];
}

/** Programs of the host that the loads use; those that are missing are told. */
export const loadPrograms: readonly string[] = ["stress-ng", "ip", "tc", "mke2fs", "mkfs.xfs", "mkfs.btrfs"];

const files = `
mkdir tree
i=0
while [ $i -lt 120 ]; do
  mkdir -p tree/$((i % 7))/$((i % 5))
  seq $i $((i + 400)) >tree/$((i % 7))/$((i % 5))/$i
  ln -s $i tree/$((i % 7))/$((i % 5))/link$i
  ln tree/$((i % 7))/$((i % 5))/$i tree/hard$i
  i=$((i + 1))
done
find tree | sort | md5sum
tar cf all.tar tree && mkdir copy && tar xf all.tar -C copy
(cd tree; find . -type f | sort | xargs md5sum) | md5sum
(cd copy/tree; find . -type f | sort | xargs md5sum) | md5sum
mv tree moved && rm -r copy/tree/3 && ls copy/tree | md5sum
seq 1 9000 >numbers
dd if=numbers of=sparse bs=4k seek=1000 conv=fsync 2>/dev/null; md5sum <sparse
truncate -s 123456 sparse; md5sum <sparse
dd if=all.tar of=/dev/null bs=512 skip=3 count=100 2>&1 | head -2
chmod 000 all.tar; stat -c '%a %s' all.tar; touch -d '2001-02-03 04:05:06' all.tar; stat -c %Y all.tar
echo at the end >>moved/hard5; tail -n 1 moved/5/0/5; cmp moved/hard5 moved/hard6; echo $?
cat /nowhere 2>&1; rmdir moved 2>&1; mkdir moved 2>&1; ln moved moved2 2>&1
`;

const pipes = `
mkfifo fifo
seq 1 20000 >fifo &
md5sum <fifo
wait
i=0
while [ $i -lt 6 ]; do
  dd if=/dev/zero bs=3000 count=100 2>/dev/null | tr '\\0' x | gzip | gunzip | sed s/x/y/ | md5sum
  i=$((i + 1))
done
(sleep 1; echo late) | cat
yes | head -n 5000 | wc
seq 1 3000 | tee first >(cat >/dev/null) 2>/dev/null | wc -l
sh -c 'exec 3>&1 4<&0; echo three >&3; ls /proc/self/fd | wc -l'
`.replace(
  "seq 1 3000 | tee first >(cat >/dev/null) 2>/dev/null | wc -l",
  "seq 1 3000 | tee first second | wc -l; cmp first second && echo same",
);

const processes = `
i=0
while [ $i -lt 250 ]; do (exit $((i % 11))) & pids="$pids $!"; i=$((i + 1)); done
sum=0
for pid in $pids; do wait $pid; sum=$((sum + $?)); done
echo $sum
got=0; trap 'got=$((got + 1))' USR1
i=0
while [ $i -lt 40 ]; do kill -USR1 $$; i=$((i + 1)); done
echo $got
sleep 100 & child=$!
kill -STOP $child; usleep 50000; cut -d' ' -f3 /proc/$child/stat; kill -CONT $child; usleep 50000; cut -d' ' -f3 /proc/$child/stat; kill $child; wait $child; echo $?
for signal in TERM KILL HUP ABRT SEGV; do sh -c "kill -$signal \\$\\$" 2>/dev/null; echo $?; done
timeout 1 sleep 50; echo $?
i=0
while [ $i -lt 60 ]; do sh -c 'exec sh -c "exec true"' || echo no; i=$((i + 1)); done
sh -c 'ulimit -n 20; i=3; while [ $i -lt 30 ]; do eval "exec $i</dev/null" 2>/dev/null || break; i=$((i + 1)); done' 2>/dev/null; echo $?
setsid sh -c 'echo session'; chroot / /bin/true; echo $?
`;

const network = `
ip=$programs/ip tc=$programs/tc
for name in a b; do $ip netns delete $name 2>/dev/null; done
$ip netns add a && $ip netns add b
$ip link add va netns a type veth peer name vb netns b
$ip -n a addr add 10.9.0.1/24 dev va; $ip -n b addr add 10.9.0.2/24 dev vb
$ip -n a addr add fd09::1/64 dev va nodad; $ip -n b addr add fd09::2/64 dev vb nodad
for name in a b; do $ip -n $name link set lo up; $ip -n $name link set v$name up; done
$tc -n a qdisc add dev va root netem loss 3% delay 1ms
$tc -n b qdisc add dev vb root netem loss 3% delay 1ms reorder 5%
seq 1 60000 >data; md5sum <data
mkfifo hold; exec 9<>hold
for address in 10.9.0.2 fd09::2 10.9.0.2; do
  $ip netns exec b nc -l -p 5000 <&9 >got & server=$!
  tries=0
  until $ip netns exec b netstat -ltn 2>/dev/null | grep -q :5000 || [ $tries -ge 50 ]; do usleep 100000; tries=$((tries + 1)); done
  $ip netns exec a nc $address 5000 <data
  wait $server; md5sum <got
done
$ip netns exec a ping -q -c 30 -i 0.05 -W 2 10.9.0.2 >out; grep -q ' 0 packets received' out && echo none
$ip netns exec a ping -6 -q -c 5 -i 0.05 -W 2 fd09::2 >out; grep -q ' 0 packets received' out && echo none
$ip -n a route show | sed 's/ *$//' | sort
$ip netns delete a; $ip netns delete b
$ip link show type veth | wc -l
`;

const modules = `
i=0
while [ $i -lt 15 ]; do
  for other in $others; do
    name=\${other%=*}
    insmod \${other#*=} || echo "no: $name"
    ls /sys/module/$name/sections/.text >/dev/null || echo "not there: $name"
    rmmod $name || echo "stays: $name"
  done
  i=$((i + 1))
done
echo $others | wc -w
lsmod | grep -c -E "^(dummy|ifb|brd) "
`;

/** Swap on zram, twice as much as there is room for, and a group that is killed. */
const memory = `
echo 96M >/sys/block/zram0/disksize && mkswap /dev/zram0 >/dev/null && swapon /dev/zram0; echo $?
mkdir -p /cg/small && echo 40M >/cg/small/memory.max
sh -c 'echo $$ >/cg/small/cgroup.procs; awk "BEGIN { for (i = 0; i < 60000; i++) a[i] = sprintf(\\"%0500d\\", i); s = 0; for (i = 0; i < 60000; i++) s += length(a[i]); print s }"'
sh -c 'echo $$ >/cg/small/cgroup.procs; dd if=/dev/zero bs=1M count=60 of=big 2>/dev/null; md5sum big'; rm -f big
echo 0 >/cg/small/memory.swap.max
sh -c 'echo $$ >/cg/small/cgroup.procs; exec tail /dev/zero'; echo $?
grep -c . /cg/small/memory.stat >/dev/null; rmdir /cg/small; echo $?
swapoff /dev/zram0; echo 1 >/sys/block/zram0/reset; echo $?
$programs/stress-ng --vm 2 --vm-bytes 300M --vm-method all --verify --timeout 4s --quiet; echo $?
`;

const blocks = `
work() {
  mkdir -p at && mount -t $1 $2 at || return
  seq 1 40000 >at/data; mkdir at/many; i=0
  while [ $i -lt 150 ]; do echo $i >at/many/$i; i=$((i + 1)); done
  cp -r at/many at/copy; rm -r at/many; mv at/copy at/other; fallocate -l 2000000 at/room; truncate -s 70000 at/data
  sync; umount at; mount -t $1 $2 at
  md5sum <at/data; cat at/other/* | md5sum; stat -c %s at/room; ls at | grep -v lost | md5sum
  dd if=/dev/zero of=at/full bs=64k 2>&1 | grep -c 'No space'; rm at/full
  umount at; echo $1 $?
}
mkdir small; mount -t tmpfs -o size=2M tmpfs small; dd if=/dev/zero of=small/full bs=64k 2>&1 | grep -c 'No space'; umount small
echo 48M >/sys/block/zram1/disksize; $programs/mke2fs -q -F -t ext4 /dev/zram1 >/dev/null 2>&1; work ext4 /dev/zram1; echo 1 >/sys/block/zram1/reset
truncate -s 320M image; loop=$(losetup -f); losetup $loop image
[ -x $programs/mkfs.xfs ] && { $programs/mkfs.xfs -q -f $loop >/dev/null 2>&1; work xfs $loop; }
[ -x $programs/mkfs.btrfs ] && { $programs/mkfs.btrfs -q -f $loop >/dev/null 2>&1; work btrfs $loop; }
losetup -d $loop; echo $?
mkdir lower upper inner merged; echo low >lower/one; echo low >lower/two
mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=inner overlay merged; echo up >>merged/one; rm merged/two; ls -R merged upper | md5sum; cat merged/one; umount merged
`;

/** Tracers, namespaces and groups that come and go. */
const tracers = `
tracing=/sys/kernel/tracing
for tracer in function function_graph nop; do echo $tracer >$tracing/current_tracer; find /proc/self >/dev/null 2>&1; done
echo >$tracing/trace
for function in vfs_read vfs_open do_exit wake_up_new_task; do echo "p:$function $function" >>$tracing/kprobe_events; echo "r:r$function $function" >>$tracing/kprobe_events; done
echo 1 >$tracing/events/kprobes/enable; i=0
while [ $i -lt 20 ]; do cat /proc/self/stat >/dev/null; i=$((i + 1)); done
echo 0 >$tracing/events/kprobes/enable
for name in vfs_read vfs_open do_exit; do grep -q " $name: " $tracing/trace && echo $name; done
echo >$tracing/kprobe_events; wc -c <$tracing/kprobe_events
for event in sched signal syscalls; do echo 1 >$tracing/events/$event/enable; done; (exit 3); sleep 1
for event in sched signal syscalls; do echo 0 >$tracing/events/$event/enable; done; echo >$tracing/trace
i=0
while [ $i -lt 12 ]; do unshare -mpinuf sh -c 'mount -t proc proc /proc; hostname inner; hostname; echo $$; mount -t tmpfs tmpfs /root; ls /root' ; i=$((i + 1)); done
hostname
i=0
while [ $i -lt 12 ]; do mkdir /cg/t$i; sh -c "echo \\$\\$ >/cg/t$i/cgroup.procs; cat /proc/self/cgroup"; echo 1 >/cg/t$i/cgroup.freeze; rmdir /cg/t$i; i=$((i + 1)); done
`;

/** Runs stressors one after the other and tells which did not pass. */
function stress(name: string, stressors: readonly string[]): Load {
  const script = `
for stressor in ${stressors.join(" ")}; do
  timeout -s KILL 40 $programs/stress-ng --$stressor 2 --timeout 1s --verify --temp-path . >out 2>&1
  echo $stressor $?
done
`;
  return { name, modules: [], script, limit: 45 * stressors.length };
}

const oom = [
  /invoked oom-killer/,
  /oom_reaper: reaped|Memory cgroup out of memory: Killed|Out of memory: Killed/,
] as const;

/** All loads by name. */
export const loads: readonly Load[] = [
  { name: "files", modules: [], script: files, limit: 120, isStir: true },
  { name: "pipes", modules: [], script: pipes, limit: 120, isStir: true },
  { name: "processes", modules: [], script: processes, limit: 120, isStir: true },
  { name: "network", modules: ["veth", "sch_netem"], script: network, limit: 180 },
  { name: "modules", modules: [], script: modules, limit: 120 },
  { name: "memory", modules: ["lzo_rle", "lz4", "zram"], script: memory, limit: 240, provokes: oom },
  { name: "blocks", modules: ["zram", "loop", "ext4", "xfs", "btrfs", "overlay"], script: blocks, limit: 300 },
  { name: "tracers", modules: [], script: tracers, limit: 240 },
  stress("stress-files", [
    ...["access", "chdir", "chmod", "copy-file", "dentry", "dir", "dirdeep", "dup", "fallocate", "fcntl", "file-ioctl"],
    ...[
      "filename",
      "flock",
      "fpunch",
      "fstat",
      "getdent",
      "hdd",
      "inotify",
      "iomix",
      "lease",
      "link",
      "lockf",
      "mknod",
    ],
    ...["open", "readahead", "rename", "seek", "symlink", "utime", "xattr"],
  ]),
  stress("stress-pipes", [
    "fifo",
    "pipe",
    "pipeherd",
    "sendfile",
    "splice",
    "tee",
    "vm-splice",
    "eventfd",
    "poll",
    "epoll",
  ]),
  stress("stress-processes", [
    ...["clone", "exec", "exit-group", "fork", "kill", "daemon", "pthread", "sigabrt", "sigchld", "sigfd", "sigio"],
    ...["signal", "signest", "sigpending", "sigpipe", "sigq", "sigsegv", "sigsuspend", "sigtrap", "spawn", "switch"],
    ...[
      "vfork",
      "wait",
      "zombie",
      "futex",
      "mutex",
      "sem",
      "sem-sysv",
      "shm",
      "msg",
      "mq",
      "timer",
      "timerfd",
      "nanosleep",
    ],
    ...["schedpolicy", "affinity", "set", "prctl", "procfs", "sysinfo"],
  ]),
  stress("stress-memory", [
    ...["brk", "bigheap", "fault", "madvise", "mincore", "mlock", "mmap", "mmapfork", "mmapmany", "mremap", "msync"],
    ...[
      "mprotect",
      "munmap",
      "remap",
      "shm-sysv",
      "userfaultfd",
      "vm",
      "vm-segv",
      "memfd",
      "tmpfs",
      "stack",
      "resources",
    ],
  ]),
  stress("stress-network", [
    "sock",
    "sockfd",
    "sockpair",
    "sockmany",
    "udp",
    "icmp-flood",
    "rawsock",
    "netdev",
    "ping-sock",
  ]),
];
