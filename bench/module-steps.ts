/**
 * Functions of a guest's script that bring patch modules in force and take them back, in place after `transitionFunctions()` of src/vm/guest-script.ts. Numbers are those of
 * the files /kmend/modules/N.ko; `$name` is the module as the kernel knows it. Frames of `load_target N FILE`: `target.N.FILE`; of `put_in_force N FILE`: `load.N`,
 * `patched.N`; of `take_back N`: `disabled.N`.
 * @param targetLimit seconds for the loading of a module that looks for its hardware.
 */
export function moduleSteps(targetLimit: number): string {
  return `loaded=" "
load_target() {
  case "$loaded" in *" $2 "*) return ;; esac
  timeout -s KILL ${targetLimit} insmod /kmend/modules/$2.ko >/tmp/out 2>&1
  status=$?
  [ $status = 0 ] && loaded="$loaded$2 "
  send target.$1.$2 $status </tmp/out
}

put_in_force() {
  insmod /kmend/modules/$2.ko >/tmp/out 2>&1
  status=$?
  send load.$1 $status </tmp/out
  [ $status = 0 ] || return 1
  if ! wait_transition; then
    stalled_tasks 1 | send patched.$1 1
    # The kernel makes one transition at a time, and the next module is to have its chance.
    echo 0 >$patches/$name/enabled
    wait_transition && wait_gone && unload
    return 1
  fi
  tell patched.$1
}

take_back() {
  echo 0 >$patches/$name/enabled
  if ! wait_transition; then
    stalled_tasks 0 | send disabled.$1 1
    return 1
  fi
  wait_gone
  send disabled.$1 $? </dev/null
}
`;
}
