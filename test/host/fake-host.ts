import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { ElfReader } from "../../src/elf/reader.ts";
import type { Host } from "../../src/host/kernel/host.ts";
import { readPatchFile } from "../../src/host/load/patch-file.ts";
import { KmendError } from "../../src/support/errors.ts";
import { buildId, release } from "./patch-files.ts";

/** A transition that has begun. */
interface Moving {
  readonly name: string;
  enabling: boolean;
  /** Time at which it ends; none while a task holds it up. */
  end: number;
}

/**
 * A folder that looks like a running kernel of the shape of 6.1, and does what that does: loads and unloads modules, makes transitions, replaces. Its clock
 * goes forward only when somebody sleeps.
 */
export class FakeHost implements Host {
  readonly root = mkdtempSync(join(tmpdir(), "kmend-host-"));
  readonly release = release;
  privileged = true;
  /** Milliseconds that a transition takes. */
  transitionTime = 1500;
  /** A direction in which no transition ends. */
  stuck: "enabling" | "disabling" | "both" | "none" = "none";
  /** Called at each sleep. */
  onSleep: () => void = () => {};
  /** Called when a module is about to be loaded. */
  onInsert: (name: string) => void = () => {};
  /** Thrown by the next load. */
  insertError: KmendError | undefined;
  /** How often rmmod says that the module is in use. */
  busy = 0;
  /** What was done, in order. */
  readonly done: string[] = [];
  #clock = 0;
  #moving: Moving | undefined;

  constructor() {
    this.write("proc/modules", "");
    this.write("proc/uptime", "100.00 50.00\n");
    this.write("proc/sys/kernel/random/boot_id", "first\n");
    this.folder("sys/kernel/livepatch");
    const note = Buffer.alloc(16 + 20);
    [4, 20, 3].forEach((value, index) => void note.writeUInt32LE(value, index * 4));
    note.write("GNU\0", 12, "latin1");
    Buffer.from(buildId, "hex").copy(note, 16);
    this.write("sys/kernel/notes", note);
    this.write("sys/kernel/tracing/enabled_functions", "");
  }

  write(path: string, content: string | Uint8Array): void {
    mkdirSync(dirname(join(this.root, path)), { recursive: true });
    writeFileSync(join(this.root, path), content);
  }

  folder(path: string): void {
    mkdirSync(join(this.root, path), { recursive: true });
  }

  has(path: string): boolean {
    return existsSync(join(this.root, path));
  }

  names(path: string): string[] {
    return readdirSync(join(this.root, path)).sort();
  }

  read(path: string): string {
    return readFileSync(join(this.root, path), "utf8").trim();
  }

  /** Names of the live patches, and of patch modules in memory. */
  get state(): { readonly patches: readonly string[]; readonly modules: readonly string[] } {
    const modules = this.has("sys/module") ? readdirSync(join(this.root, "sys/module")) : [];
    return {
      patches: readdirSync(join(this.root, "sys/kernel/livepatch")),
      modules: modules.filter((name) => this.has(`sys/module/${name}/taint`)),
    };
  }

  /** A task of a transition: 0 runs the original code, 1 the patched. */
  task(tid: number, name: string, patchState: number, stack: readonly string[], state = "S", flags = 0): void {
    const folder = `proc/${tid}/task/${tid}`;
    this.write(`${folder}/patch_state`, `${patchState}\n`);
    this.write(`${folder}/comm`, `${name}\n`);
    this.write(`${folder}/stat`, `${tid} (${name}) ${state} 1 1 1 0 -1 ${flags} 0 0\n`);
    this.write(`${folder}/stack`, stack.map((frame) => `[<0>] ${frame}+0x1/0x2\n`).join(""));
  }

  async insertModule(file: string, _named?: string): Promise<void> {
    if (this.insertError !== undefined) throw this.insertError;
    const { name, manifest, buildIdNote } = await readPatchFile(file);
    if (this.has(`sys/module/${name}`)) throw new KmendError({ code: "LOAD_FAILED", message: "File exists" });
    this.onInsert(name);
    this.done.push(`insmod ${name}`);
    this.write("proc/modules", `${name} 16384 1 - Live 0x0 (OEK)\n${this.read("proc/modules")}\n`);
    for (const [file, text] of Object.entries({ refcnt: "1", initstate: "live", taint: "OEK" })) {
      this.write(`sys/module/${name}/${file}`, `${text}\n`);
    }
    if (buildIdNote !== undefined) this.write(`sys/module/${name}/notes/.note.gnu.build-id`, buildIdNote);
    const note = new ElfReader(readFileSync(file)).section(".note.kmend");
    if (note !== undefined) this.write(`sys/module/${name}/notes/.note.kmend`, note.data);
    for (const { object, name: entry } of manifest?.functions ?? []) {
      this.write(`sys/kernel/livepatch/${name}/${object}/patched`, "1\n");
      this.folder(`sys/kernel/livepatch/${name}/${object}/${entry},1`);
    }
    this.#begin(name, true);
  }

  async removeModule(name: string): Promise<boolean> {
    this.done.push(`rmmod ${name}`);
    if (this.has(`sys/kernel/livepatch/${name}`)) return false;
    if (this.busy-- > 0) return false;
    rmSync(join(this.root, "sys/module", name), { recursive: true });
    const lines = this.read("proc/modules").split("\n");
    this.write("proc/modules", lines.filter((line) => !line.startsWith(`${name} `)).join("\n"));
    return true;
  }

  async writeState(path: string, text: string): Promise<void> {
    this.done.push(`${text} >${path.replace("/sys/kernel/livepatch/", "")}`);
    const [, name = "", file] = /^\/sys\/kernel\/livepatch\/(\w+)\/(\w+)$/.exec(path) ?? [];
    if (file !== "enabled") return;
    if (this.#moving !== undefined && this.#moving.name !== name) throw systemError("EBUSY");
    if (this.read(path) === text) throw systemError("EINVAL");
    this.#begin(name, text === "1");
  }

  /** Seconds of each wait that was asked for. */
  readonly waits: number[] = [];
  shuttingDown = false;

  async confirmLater(seconds: number): Promise<void> {
    this.waits.push(seconds);
  }

  /** Loads that are to end, with the seconds until then. */
  readonly expiries: { readonly name: string; readonly since: string; readonly seconds: number }[] = [];
  /** Whether a timer can be set. */
  timers = true;

  async expireLater({ name, since }: { name: string; since: string }, seconds: number): Promise<boolean> {
    if (this.timers) this.expiries.push({ name, since, seconds });
    return this.timers;
  }

  async isShuttingDown(): Promise<boolean> {
    return this.shuttingDown;
  }

  now(): number {
    return this.#clock;
  }

  async sleep(milliseconds: number): Promise<void> {
    this.#clock += milliseconds;
    this.onSleep();
    const moving = this.#moving;
    if (moving === undefined || this.#clock < moving.end) return;
    if (this.stuck === "both" || this.stuck === (moving.enabling ? "enabling" : "disabling")) return;
    this.#moving = undefined;
    this.write(`sys/kernel/livepatch/${moving.name}/transition`, "0\n");
    if (!moving.enabling) this.#remove(moving.name);
    else if (this.#isCumulative(moving.name)) {
      for (const other of this.state.patches) if (other !== moving.name) this.#remove(other);
    }
  }

  #begin(name: string, enabling: boolean): void {
    this.#moving = { name, enabling, end: this.#clock + this.transitionTime };
    this.write(`sys/kernel/livepatch/${name}/enabled`, enabling ? "1\n" : "0\n");
    this.write(`sys/kernel/livepatch/${name}/transition`, "1\n");
  }

  #remove(name: string): void {
    rmSync(join(this.root, "sys/kernel/livepatch", name), { recursive: true });
    this.write(`sys/module/${name}/refcnt`, "0\n");
  }

  #isCumulative(name: string): boolean {
    const note = `sys/module/${name}/notes/.note.kmend`;
    return this.has(note) && this.read(note).includes('"replace":true');
  }

  dispose(): void {
    rmSync(this.root, { recursive: true, force: true });
  }
}

function systemError(code: string): Error {
  return Object.assign(new Error(code), { code });
}
