/**
 * Symbols that the compiler, ftrace and the kernel's hardening put into nearly every function, such as `__fentry__`, `__stack_chk_fail` and
 * `__x86_return_thunk`: they say nothing about what a change does.
 */
export function isOfCompiler(name: string): boolean {
  return /^(__fentry__|__stack_chk_\w+|__x86_\w+|__(ubsan|asan|kasan|tsan|kcsan|sanitizer)_\w+|_GLOBAL_OFFSET_TABLE_)$/.test(
    name,
  );
}
