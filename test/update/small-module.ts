import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** What a small stand-in for a patch module says about itself. */
export interface SmallModule {
  readonly name: string;
  readonly release: string;
  /** More `.modinfo` texts, or some instead of the usual ones. */
  readonly info?: Readonly<Record<string, string>>;
  /** Lets two modules differ. */
  readonly text?: string;
}

/** Compiles an object with the .modinfo of a patch module; it has all that packaging looks at, and debug information that stripping would remove. */
export function smallModule(folder: string, { name, release, info = {}, text = "" }: SmallModule): string {
  mkdirSync(folder, { recursive: true });
  const source = join(folder, `${name}.c`);
  const path = join(folder, `${name}.ko`);
  const values = {
    livepatch: "Y",
    license: "GPL",
    depends: "",
    name: name.replaceAll("-", "_"),
    vermagic: `${release} SMP preempt mod_unload modversions `,
    ...info,
  };
  const lines = Object.entries(values).map(
    ([key, value], index) =>
      `static const char info${index}[] __attribute__((used, section(".modinfo"))) = ${JSON.stringify(`${key}=${value}`)};`,
  );
  const id = Buffer.from(`${name}${release}${text}`.padEnd(20).slice(-20)).toString("hex");
  const note = `static const unsigned char note[] __attribute__((used, section(".note.gnu.build-id"))) = "${id}";`;
  writeFileSync(source, `${lines.join("\n")}\n${note}\nint value(void) { return ${text.length}; }\n`);
  execFileSync("gcc", ["-g", "-c", "-o", path, source]);
  return path;
}
