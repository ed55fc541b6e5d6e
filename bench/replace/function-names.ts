import type { SourceFunction } from "../../src/change/source-functions.ts";

/** The name in the source of a function that the kernel knows as `foo.constprop.0` or `__x64_sys_read`. */
export function sourceNameOf(name: string, functions: readonly Pick<SourceFunction, "name">[]): string {
  const plain = name.replace(/\.(?:isra|constprop|part|cold|llvm)\b.*$/, "");
  if (functions.some((one) => one.name === plain)) return plain;
  return /^__(?:x64|ia32|se|do)_(?:compat_)?sys_(\w+)$/.exec(plain)?.[1] ?? plain;
}

/** Which of `candidates` the text of a function, or of anything else of that name, mentions: the compiler may have inlined them there. */
export function namedIn(
  name: string,
  candidates: readonly Pick<SourceFunction, "name">[],
  functions: readonly SourceFunction[],
): string[] {
  const text = functions.find((one) => one.name === name)?.text;
  if (text === undefined) return [];
  const words = new Set(text.slice(text.indexOf("{")).match(/\w+/g));
  return candidates.map((one) => one.name).filter((one) => one !== name && words.has(one));
}
