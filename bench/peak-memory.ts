import { readdirSync, readFileSync } from "node:fs";

/** Most resident memory at any time, in MiB. */
export interface PeakMemory {
  /** Of the process itself. */
  readonly own: number;
  /** Of the largest process that it started, itself or through others: a compiler, as a rule. */
  readonly largestChild: number;
}

const sampleMilliseconds = 20;

/** Watches a process and its descendants through /proc until `ended`. What a child does within its last 20 ms may be missed. */
export async function peakMemory(pid: number, ended: Promise<unknown>): Promise<PeakMemory> {
  let own = 0;
  let largestChild = 0;
  const timer = setInterval(() => {
    own = Math.max(own, highWater(pid));
    for (const child of descendants(pid)) largestChild = Math.max(largestChild, highWater(child));
  }, sampleMilliseconds);
  await ended;
  clearInterval(timer);
  return { own: Math.round(own / 1024), largestChild: Math.round(largestChild / 1024) };
}

/** VmHWM of proc(5) in KiB; 0 for a process that is gone. */
function highWater(pid: number): number {
  try {
    return Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1] ?? 0);
  } catch {
    return 0;
  }
}

function descendants(pid: number): number[] {
  const children = new Map<number, number[]>();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const parent = parentOf(Number(name));
    const list = children.get(parent);
    if (list === undefined) children.set(parent, [Number(name)]);
    else list.push(Number(name));
  }
  const found: number[] = [];
  for (const queue = [pid]; queue.length > 0; ) {
    const next = children.get(queue.pop() as number) ?? [];
    found.push(...next);
    queue.push(...next);
  }
  return found;
}

function parentOf(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
  } catch {
    return 0;
  }
}
