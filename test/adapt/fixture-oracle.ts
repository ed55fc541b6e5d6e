import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type Diagnostic, diagnosticFlags, readDiagnostics } from "../../src/adapt/diagnostics.ts";
import type { Oracle, TextOverlay } from "../../src/adapt/oracle.ts";

/** What the fixtures use of the kernel's headers. */
const headers: Readonly<Record<string, string>> = {
  "linux/slab.h": `#ifndef SLAB_H
#define SLAB_H
typedef unsigned long size_t;
typedef unsigned int gfp_t;
typedef _Bool bool;
#define NULL ((void *)0)
#define __maybe_unused __attribute__((unused))
#define GFP_KERNEL 1u
#define GFP_ATOMIC 2u
#define __GFP_ZERO 4u
#define __GFP_NOFAIL 8u
#define offsetof(type, member) __builtin_offsetof(type, member)
#define container_of(ptr, type, member) ({ void *__mptr = (void *)(ptr); ((type *)(__mptr - offsetof(type, member))); })
#define READ_ONCE(x) (*(const volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, value) do { *(volatile __typeof__(x) *)&(x) = (value); } while (0)
#define struct_size(p, member, count) (sizeof(*(p)) + sizeof(*(p)->member) * (count))
#define BUILD_BUG_ON(condition) _Static_assert(!(condition), "build bug")
void *kzalloc(size_t size, gfp_t gfp);
void *kmalloc(size_t size, gfp_t gfp);
void *kcalloc(size_t count, size_t size, gfp_t gfp);
void *memset(void *to, int value, size_t size);
void *memcpy(void *to, const void *from, size_t size);
void kfree(const void *object);
#define kfree_rcu(object, member) kfree(object)
void use(const void *object);
gfp_t take(gfp_t gfp);
struct mutex { int owner; };
void mutex_lock(struct mutex *lock);
void mutex_unlock(struct mutex *lock);
void mutex_init(struct mutex *lock);
#endif
`,
  "linux/vmalloc.h": "void *vzalloc(unsigned long size);\nvoid vfree(const void *object);\n",
  "linux/mempool.h": "void mempool_free(void *element, void *pool);\n",
  "linux/device.h": "void *devm_kzalloc(void *device, unsigned long size, unsigned int gfp);\n",
  "linux/livepatch.h": `#ifndef LIVEPATCH_H
#define LIVEPATCH_H
#include <linux/slab.h>
typedef int (*klp_shadow_ctor_t)(void *obj, void *shadow_data, void *ctor_data);
typedef void (*klp_shadow_dtor_t)(void *obj, void *shadow_data);
void *klp_shadow_get(void *obj, unsigned long id);
void *klp_shadow_alloc(void *obj, unsigned long id, size_t size, gfp_t gfp_flags, klp_shadow_ctor_t ctor, void *ctor_data);
void *klp_shadow_get_or_alloc(void *obj, unsigned long id, size_t size, gfp_t gfp_flags, klp_shadow_ctor_t ctor, void *ctor_data);
void klp_shadow_free(void *obj, unsigned long id, klp_shadow_dtor_t dtor);
void klp_shadow_free_all(unsigned long id, klp_shadow_dtor_t dtor);
#endif
`,
  "kpatch-macros.h": `#include <linux/livepatch.h>
typedef struct klp_object patch_object;
#define KPATCH_POST_UNPATCH_CALLBACK(fn) void (*const kmend_callback)(patch_object *) = fn
`,
};

/** The compiler, asked about small files of a test in place of a kernel's. */
export class FixtureOracle implements Oracle {
  readonly units: readonly string[];
  readonly jobs = 2;
  readonly #files: Readonly<Record<string, string>>;

  /** @param files by name; those that end in `.c` are the units. */
  constructor(files: Readonly<Record<string, string>>) {
    this.#files = files;
    this.units = Object.keys(files).filter((name) => name.endsWith(".c"));
  }

  async diagnose(unit: string, files: TextOverlay, probe?: string): Promise<Diagnostic[]> {
    const folder = mkdtempSync(join(tmpdir(), "kmend-oracle-"));
    try {
      const all = new Map<string, string | null>([...Object.entries({ ...headers, ...this.#files }), ...files]);
      if (probe !== undefined) all.set("probe.h", probe);
      for (const [name, text] of all) {
        if (text === null) continue;
        mkdirSync(join(folder, dirname(name)), { recursive: true });
        writeFileSync(join(folder, name), text, "latin1");
      }
      const include = probe === undefined ? [] : ["-include", "probe.h"];
      const flags = [...diagnosticFlags, "-std=gnu11", "-Wall", "-Wcast-qual", "-Wno-unused", "-I.", "-fsyntax-only"];
      return readDiagnostics(messagesOf("gcc", [...flags, ...include, unit], folder));
    } finally {
      rmSync(folder, { recursive: true });
    }
  }

  async read(path: string): Promise<string | undefined> {
    return this.#files[path] ?? headers[path];
  }
}

function messagesOf(program: string, args: readonly string[], cwd: string): string {
  const { stderr, error } = spawnSync(program, args, { cwd, encoding: "utf8", env: { ...process.env, LC_ALL: "C" } });
  if (error !== undefined) throw error;
  return stderr;
}
