import { readFile, readlink } from "node:fs/promises";
import { hostname } from "node:os";

/** Field 22 of /proc/PID/stat (proc(5)): start time in clock ticks after boot; "gone" when there is no such process. */
export async function startTime(pid: number): Promise<string> {
  try {
    const text = await readFile(`/proc/${pid}/stat`, "utf8");
    return text.slice(text.lastIndexOf(")") + 2).split(" ")[19] ?? "gone";
  } catch {
    return "gone";
  }
}

/** This process in one line, for {@link whetherAlive}: its number, start time, machine, boot, and the namespace that the number counts in. */
export async function ownIdentity(): Promise<string> {
  const name = hostname().replaceAll(/\s/g, "_") || "-";
  return [process.pid, await startTime(process.pid), name, await bootId(), await pidNamespace()].join(" ");
}

/** Whether a process of {@link ownIdentity} still runs; `unknown` when it ran on another machine or in another container. */
export async function whetherAlive(identity: string): Promise<"alive" | "gone" | "unknown"> {
  const [pid, started, host, boot, namespace] = identity.split(" ");
  const sameBoot = boot === (await bootId());
  // A machine that has booted since has none of its processes any more; one line of an older kmend has no boot, only the name.
  if (boot !== undefined && !sameBoot) return host === hostname() ? "gone" : "unknown";
  if (boot === undefined && host !== hostname()) return "unknown";
  if (namespace !== undefined && namespace !== (await pidNamespace())) return "unknown";
  return (await startTime(Number(pid))) === started ? "alive" : "gone";
}

async function bootId(): Promise<string> {
  const text = await readFile("/proc/sys/kernel/random/boot_id", "utf8").catch(() => "");
  return text.trim() || "-";
}

function pidNamespace(): Promise<string> {
  return readlink("/proc/self/ns/pid").catch(() => "-");
}
