/** What a call does to a lock. */
export interface LockOperation {
  readonly name: string;
  /** `try`: it may fail, and then the lock is not held. */
  readonly act: "take" | "try" | "release";
  /** The lock when there is one of its kind in the kernel; undefined where the first parameter says which. */
  readonly only: string | undefined;
}

/** Taking and releasing of locks, by the symbols that they become. */
const lockCalls =
  /(^|_)(mutex|spin|rwlock|read|write|rtnl|rcu_read|srcu_read|down|up|bh|folio|page|buffer|console)_?(un)?(lock|trylock|read|write)|^(up|down)(_read|_write|_interruptible|_killable|_timeout|_trylock)*$|^(lock_sock|release_sock|lock_two_nondirectories|unlock_two_nondirectories)|^_*(un)?lock_(page|buffer|folio)/;

/** Releases, by the same names. */
const releases = /unlock|^up(_|$)|(^|_)up_(read|write)|release_sock/;

/** Locks that may fail to be taken. */
const attempts = /trylock|interruptible|killable|timeout|_try/;

/** Locks of which the first parameter tells which one is meant. */
const givenLocks =
  /mutex|^_*(raw_)?(spin|read|write)_|^_raw_|^(up|down)(_|$)|percpu_(up|down)|srcu|_sock|nondirectories|page|folio|buffer/;

/** @param name of a function that is called. Undefined when it is not known to take or release a lock. */
export function lockOperation(name: string): LockOperation | undefined {
  if (!lockCalls.test(name)) return undefined;
  const act = releases.test(name) ? "release" : attempts.test(name) ? "try" : "take";
  return { name, act, only: givenLocks.test(name) ? undefined : kindOf(name) };
}

/** `rcu_read` for `__rcu_read_lock` and `__rcu_read_unlock`. */
function kindOf(name: string): string {
  return name.replace(/^_+/, "").replace(/_?(un|try)?lock.*$/, "");
}
