import { expect, test } from "vitest";
import { lockChanges } from "../../../src/build/warnings/locks.ts";
import { diffPatched } from "../../diff/diff-units.ts";

const prelude = `
struct mutex { long owner; };
struct spinlock { int value; };
struct device { long flags; struct mutex config; struct mutex io; struct spinlock queue; struct device *parent; long state; };
extern void mutex_lock(struct mutex *), mutex_unlock(struct mutex *);
extern int mutex_trylock(struct mutex *), mutex_lock_killable(struct mutex *);
extern void _raw_spin_lock_irq(struct spinlock *), _raw_spin_unlock_irq(struct spinlock *);
extern unsigned long _raw_spin_lock_irqsave(struct spinlock *);
extern void _raw_spin_unlock_irqrestore(struct spinlock *, unsigned long);
extern void __rcu_read_lock(void), __rcu_read_unlock(void);
extern int prepare(struct device *), start(struct device *), is_busy(struct device *);
extern void log_text(const char *);
static struct mutex registry, users;
#line 1
`;

/** What is told of each changed function, between the brackets of the warning. */
async function told(source: string, isAboutLocks = true): Promise<string[]> {
  const diff = await diffPatched(`${prelude}${source}`, ["-g", "-fno-reorder-blocks-and-partition"]);
  expect(diff.changes.functions.size).toBeGreaterThan(0);
  const { original, patched, changes } = diff;
  const warnings = lockChanges({ plan: { original, patched, changes, pair: { source: "unit.c" } } }, isAboutLocks);
  return warnings.map(({ function: name, why }) => `${name}: ${/\((.*)\), and old/.exec(why)?.[1]}`);
}

/** Two bodies of `int work(struct device *d, int how)`. */
function work(before: string, after: string, outside = ""): string {
  return `${outside}\nint work(struct device *d, int how)\n{\n#ifdef PATCHED\n#line 100\n${after}\n#else\n#line 100\n${before}\n#endif\n}\n`;
}

test("the same call with another member of the object", async () => {
  const source = work(
    "mutex_lock(&d->config); start(d); mutex_unlock(&d->config); return 0;",
    "mutex_lock(&d->io); start(d); mutex_unlock(&d->io); return 0;",
  );
  expect(await told(source, false)).toEqual([
    "work: newly taken: mutex_lock of parameter 1 + 0x10, newly released: mutex_unlock of parameter 1 + 0x10, " +
      "no longer taken: mutex_lock of parameter 1 + 0x8, no longer released: mutex_unlock of parameter 1 + 0x8",
  ]);
});

test("the same call with another object of its own, and with the parent's lock", async () => {
  const source = work(
    "mutex_lock(&registry); start(d); mutex_unlock(&registry); return 0;",
    "mutex_lock(&users); start(d); mutex_unlock(&users); mutex_lock(&d->parent->io); start(d); mutex_unlock(&d->parent->io); return 0;",
  );
  const [clauses] = await told(source, false);
  expect(clauses).toContain("newly taken: mutex_lock of users");
  expect(clauses).toContain("newly taken: mutex_lock of *(parameter 1 + 0x20) + 0x10");
});

test("another variant of a lock", async () => {
  const source = work(
    "_raw_spin_lock_irq(&d->queue); d->state++; _raw_spin_unlock_irq(&d->queue); return 0;",
    "unsigned long flags = _raw_spin_lock_irqsave(&d->queue); d->state++; _raw_spin_unlock_irqrestore(&d->queue, flags); return 0;",
  );
  const [clauses] = await told(source);
  expect(clauses).toContain("newly taken: _raw_spin_lock_irqsave of parameter 1 + 0x18");
  expect(clauses).toContain("no longer released: _raw_spin_unlock_irq of parameter 1 + 0x18");
});

test("a lock that may now fail", async () => {
  const source = work(
    "mutex_lock(&d->io); start(d); mutex_unlock(&d->io); return 0;",
    "if (!mutex_trylock(&d->io)) return -16; start(d); mutex_unlock(&d->io); return 0;",
  );
  expect(await told(source)).toEqual([
    "work: newly taken: mutex_trylock of parameter 1 + 0x10, no longer taken: mutex_lock of parameter 1 + 0x10",
  ]);
});

test("an unlock that is missing on a way out", async () => {
  const source = work(
    "mutex_lock(&d->io); if (prepare(d)) { mutex_unlock(&d->io); return -1; } start(d); mutex_unlock(&d->io); return 0;",
    "mutex_lock(&d->io); if (prepare(d)) { return -1; } start(d); mutex_unlock(&d->io); return 0;",
  );
  expect(await told(source)).toEqual(["work: now may be held at the return: parameter 1 + 0x10"]);
});

test("a lock that is taken on a condition", async () => {
  const source = work(
    "mutex_lock(&d->io); start(d); mutex_unlock(&d->io); return 0;",
    "if (how) mutex_lock(&d->io); start(d); if (how) mutex_unlock(&d->io); return 0;",
  );
  expect((await told(source))[0]).toContain("no longer always held at <stdin>:100: parameter 1 + 0x10");
});

test("two locks in the other order", async () => {
  const source = work(
    "mutex_lock(&d->config); mutex_lock(&d->io); start(d); mutex_unlock(&d->io); mutex_unlock(&d->config); return 0;",
    "mutex_lock(&d->io); mutex_lock(&d->config); start(d); mutex_unlock(&d->config); mutex_unlock(&d->io); return 0;",
  );
  const [clauses] = await told(source);
  expect(clauses).toContain("newly taken while another is held: parameter 1 + 0x10 → parameter 1 + 0x8");
});

test("a lock that is held for longer, and one that is let go earlier", async () => {
  const longer = work(
    "prepare(d);\nmutex_lock(&d->io);\nstart(d); mutex_unlock(&d->io); return 0;",
    "mutex_lock(&d->io); prepare(d);\n\nstart(d); mutex_unlock(&d->io); return 0;",
  );
  expect(await told(longer)).toEqual(["work: now always held at <stdin>:100: parameter 1 + 0x10"]);
  const shorter = work(
    "mutex_lock(&d->io);\nstart(d); \nprepare(d); mutex_unlock(&d->io); return 0;",
    "mutex_lock(&d->io);\nstart(d); mutex_unlock(&d->io);\nprepare(d); return 0;",
  );
  expect(await told(shorter)).toEqual(["work: no longer always held at <stdin>:102: parameter 1 + 0x10"]);
});

test("a lock within a function that is called", async () => {
  const outside =
    "static noinline void locked(struct device *d) { mutex_lock(&d->io); start(d); mutex_unlock(&d->io); }";
  expect(await told(work("return prepare(d);", "locked(d); return prepare(d);", outside))).toEqual([
    "work: newly taken: mutex_lock of parameter 1 + 0x10, newly released: mutex_unlock of parameter 1 + 0x10",
  ]);
});

test("the same function inlined or not is no change", async () => {
  const source = `
#ifdef PATCHED
#define kind inline __attribute__((always_inline))
#else
#define kind noinline
#endif
static kind struct device *above(struct device *d) { return d->parent; }
static kind void enter(struct device *d) { mutex_lock(&above(d)->io); }
static kind void leave(struct device *d) { mutex_unlock(&above(d)->io); }
int work(struct device *d)
{
	enter(d);
	if (prepare(d)) {
		leave(d);
		return -1;
	}
	start(d);
	leave(d);
	return 0;
}
`;
  expect(await told(source)).toEqual([]);
});

test("a call that the compiler wrote for each way apart is no change", async () => {
  const source = work(
    "mutex_lock(&d->io); if (prepare(d)) start(d); mutex_unlock(&d->io); return 0;",
    'if (is_busy(d)) { log_text("busy"); mutex_lock(&d->io); } else mutex_lock(&d->io); if (prepare(d)) { start(d); mutex_unlock(&d->io); return 0; } mutex_unlock(&d->io); return 0;',
  );
  expect(await told(source)).toEqual([]);
});

test("the ways of a condition that is asked for twice count only where the text is about locks", async () => {
  const source = work(
    "int global = is_busy(d); if (global) mutex_lock(&registry); start(d); if (global) mutex_unlock(&registry); return 0;",
    'int global = is_busy(d); if (global) { mutex_lock(&registry); start(d); log_text("x"); mutex_unlock(&registry); return 0; } start(d); log_text("x"); return 0;',
  );
  expect(await told(source, false)).toEqual([]);
});

test("read sections have no lock that a parameter names", async () => {
  const source = work(
    "__rcu_read_lock(); start(d); __rcu_read_unlock(); return 0;",
    "__rcu_read_lock(); if (prepare(d->parent)) { __rcu_read_unlock(); return 1; } start(d); __rcu_read_unlock(); return 0;",
  );
  expect(await told(source)).toEqual([]);
  const gone = work("__rcu_read_lock(); start(d); __rcu_read_unlock(); return 0;", "start(d); return 0;");
  expect(await told(gone)).toEqual(["work: no longer taken: __rcu_read_lock, no longer released: __rcu_read_unlock"]);
});
