import { type Answer, CodeSection, Jump, type Target } from "./machine-code.ts";
import type { CodeStyle } from "./shipped-facts.ts";

/** Bounds of the running kernel's notes (NOTES of include/asm-generic/vmlinux.lds.h). */
const noteBounds = ["__start_notes", "__stop_notes"] as const;

/** ENOEXEC of include/uapi/asm-generic/errno-base.h. */
const noExec = 8n;

/** What the init function compares and hands on. */
export interface InitPlan {
  /** The kernel's build id note: a copy in the module, and where it begins behind `__start_notes`. */
  readonly note: { readonly copy: Target; readonly offset: number; readonly size: number };
  /** Format of the message for another kernel. */
  readonly message: Target;
  /** The `struct klp_patch`. */
  readonly patch: Target;
}

/**
 * Code of `init_module`. Whoever loads the module may know nothing of build ids, so it compares that of the running kernel with the one that it was made for,
 * and only then enables the patch:
 *
 *     if (__start_notes + offset + size > __stop_notes || memcmp(__start_notes + offset, copy, size)) {
 *             printk(message);
 *             return -ENOEXEC;
 *     }
 *     return klp_enable_patch(&patch);
 */
export function initCode(style: CodeStyle, { note, message, patch }: InitPlan): CodeSection {
  const code = new CodeSection(style);
  const [start, stop] = noteBounds;
  const body = (): void => {
    const fail = (): void => {
      code.put(0x48, 0xc7, 0xc7); // mov $message,%rdi
      code.address(message);
      code.put(0x31, 0xc0); // xor %eax,%eax: no vector registers are passed
      code.call("_printk");
      code.answer({ kind: "value", value: -noExec, bytes: 4 });
      code.return();
    };
    code.put(0x48, 0xc7, 0xc7); // mov $__start_notes+offset,%rdi
    code.address({ kernel: start }, note.offset);
    code.put(0x48, 0x8d, 0x47, note.size); // lea size(%rdi),%rax
    code.put(0x48, 0x3d); // cmp $__stop_notes,%rax
    code.address({ kernel: stop });
    code.put(0xb9, note.size, 0, 0, 0); // mov $size,%ecx
    code.unless(Jump.ifAbove, () => {
      code.put(0x48, 0xc7, 0xc6); // mov $copy,%rsi
      code.address(note.copy);
      code.put(0xf3, 0xa6); // repz cmpsb
      code.unless(Jump.ifNotEqual, () => {
        code.put(0x48, 0xc7, 0xc7); // mov $patch,%rdi
        code.address(patch);
        code.tailCall("klp_enable_patch");
      });
    });
    fail();
  };
  code.function("init_module", body, { preamble: style.preambles?.init });
  return code;
}

/** Code of `cleanup_module`, which has nothing to do: without one, the kernel would never unload the module. It is not traced (`__exit` of include/linux/init.h). */
export function exitCode(style: CodeStyle): CodeSection {
  const code = new CodeSection(style);
  code.function("cleanup_module", () => code.return(), { traced: false, preamble: style.preambles?.exit });
  return code;
}

/** A function that answers in place of a stopped one. */
export interface StopCode {
  readonly name: string;
  readonly answer: Answer;
  /** Counts and reports each call; undefined leaves that out. */
  readonly log?: { readonly counter: Target; readonly format: Target; readonly name: Target } | undefined;
}

/**
 * Code of the functions that answer. The kernel enters them from ftrace, behind the place where a call through a pointer checks the type of the stopped
 * function, so they have no hashes of types. With a log:
 *
 *     atomic_long_inc(&counter);
 *     if (__printk_ratelimit(name))
 *             printk(format, __builtin_return_address(0));
 */
export function stopCode(style: CodeStyle, functions: readonly StopCode[]): CodeSection {
  const code = new CodeSection(style);
  for (const { name, answer, log } of functions) {
    code.function(name, () => {
      if (log !== undefined) {
        code.put(0xf0, 0x48, 0xff, 0x05); // lock incq counter(%rip)
        code.distance(log.counter);
        code.put(0x48, 0xc7, 0xc7); // mov $name,%rdi
        code.address(log.name);
        code.call("__printk_ratelimit");
        code.put(0x85, 0xc0); // test %eax,%eax
        code.unless(Jump.ifEqual, () => {
          code.put(0x48, 0x8b, 0x34, 0x24); // mov (%rsp),%rsi
          code.put(0x48, 0xc7, 0xc7); // mov $format,%rdi
          code.address(log.format);
          code.put(0x31, 0xc0); // xor %eax,%eax
          code.call("_printk");
        });
      }
      code.answer(answer);
      code.return();
    });
  }
  return code;
}
