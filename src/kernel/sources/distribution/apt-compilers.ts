import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { describePackages } from "./apt.ts";
import type { AptContext } from "./apt-archive.ts";
import type { CompilerArchive } from "./compiler-archive.ts";

/** The archives that kernels are taken from, as a place for their compilers. */
export function aptCompilers(context: AptContext): CompilerArchive {
  const { file, sources } = context.apt;
  return {
    name: file ?? "the archive of this machine",
    offered: async (names) =>
      (await describePackages(names, context)).flatMap((stanza) => {
        const [name, version] = [stanza.get("package"), stanza.get("version")];
        if (name === undefined || version === undefined || !stanza.has("filename")) return [];
        return [{ name, version, size: Number(stanza.get("size") ?? 0) }];
      }),
    sources: async () => {
      const folder = join(sources, "sources.list.d");
      const names = await readdir(folder).catch(() => [] as string[]);
      const parts = names.filter((name) => /\.(list|sources)$/.test(name)).sort();
      const paths = [join(sources, "sources.list"), ...parts.map((name) => join(folder, name))];
      const sizes = await Promise.all(
        paths.map((path) =>
          stat(path)
            .then(({ size }) => size)
            .catch(() => 0),
        ),
      );
      return paths.filter((_, index) => (sizes[index] as number) > 0);
    },
  };
}
