import { readFile, readlink } from "node:fs/promises";
import { hostname } from "node:os";
import { systemErrorCode } from "./errors.ts";

/** What is written for a fact that only /proc tells, where there is none. */
const unknown = "-";

/** Field 22 of /proc/PID/stat (proc(5)): start time in clock ticks after boot; "gone" when there is no such process. */
async function startTime(pid: number): Promise<string> {
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

/**
 * Whether a process of {@link ownIdentity} still runs; `unknown` when it ran on another machine or in another container, or when one of the two has no /proc to
 * tell by: a number alone may be another process's by now.
 */
export async function whetherAlive(identity: string): Promise<"alive" | "gone" | "unknown"> {
  const [number, started, host, boot, namespace] = identity.split(" ");
  const [ownBoot, ownNamespace] = await Promise.all([bootId(), pidNamespace()]);
  if (boot === undefined && host !== hostname()) return "unknown";
  if (boot === unknown || ownBoot === unknown) return "unknown";
  // A machine that has booted since has none of its processes any more; one line of an older kmend has no boot, only the name.
  if (boot !== undefined && boot !== ownBoot) return host === hostname() ? "gone" : "unknown";
  if (namespace !== undefined && namespace !== ownNamespace) return "unknown";
  return (await startTime(Number(number))) === started ? "alive" : "gone";
}

/** Whether there is a process of this number: by /proc, and where this is missing by kill(2) with no signal. */
export async function isRunning(pid: number): Promise<boolean> {
  if ((await startTime(pid)) !== "gone") return true;
  if ((await bootId()) !== unknown) return false;
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return systemErrorCode(error) === "EPERM";
  }
}

async function bootId(): Promise<string> {
  const text = await readFile("/proc/sys/kernel/random/boot_id", "utf8").catch(() => "");
  return text.trim() || unknown;
}

function pidNamespace(): Promise<string> {
  return readlink("/proc/self/ns/pid").catch(() => unknown);
}
