import { readFile, realpath, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { exists, sha256 } from "../../support/cache.ts";
import { ExitCode, KmendError, messageOf } from "../../support/errors.ts";
import type { KernelImage } from "../image/kernel-image.ts";

/** The files of a folder that describes the kernel which is to be updated. */
export interface OriginalConfig {
  readonly folder: string;
  readonly config: string;
  readonly systemMap: string;
  /** `vmlinuz` or `vmlinux`. */
  readonly image: string | undefined;
  readonly symvers: string | undefined;
  /** Folder `modules`: what /lib/modules/RELEASE has. */
  readonly modules: string | undefined;
  /** Further arguments of make, from the file `flags`. */
  readonly makeFlags: readonly string[];
  /** Changes with the content of the files. */
  readonly digest: string;
}

/**
 * Reads such a folder.
 * @param given the folder; by default `ksplice` in the source tree, which is the only place in the tree where it may be.
 * @throws KmendError `ORIG_CONFIG`
 */
export async function readOriginalConfig(tree: string, given: string | undefined): Promise<OriginalConfig> {
  const folder = resolve(given ?? join(tree, "ksplice"));
  const info = await stat(folder).catch(() => undefined);
  if (info?.isDirectory() !== true) {
    throw configError(
      `there is no folder ${folder} with the configuration of the kernel`,
      "make it with the kernel's .config and System.map, or name it with --config=DIR",
    );
  }
  const [real, top] = [await realpath(folder), await realpath(tree)];
  if (given !== undefined && `${real}/`.startsWith(`${top}/`) && real !== join(top, "ksplice")) {
    throw configError(
      `${folder} is the source tree or a folder in it`,
      "what the kernel was built with has to lie outside, so that a build in the tree does not change it",
    );
  }
  const optional = async (name: string): Promise<string | undefined> =>
    (await exists(join(folder, name))) ? join(folder, name) : undefined;
  const required = async (name: string): Promise<string> => {
    const path = await optional(name);
    if (path === undefined) throw configError(`there is no ${name} in ${folder}`, `copy the kernel's ${name} there`);
    return path;
  };
  const config = await required(".config");
  const systemMap = await required("System.map");
  const image = (await optional("vmlinuz")) ?? (await optional("vmlinux"));
  const symvers = await optional("Module.symvers");
  const modules = await optional("modules");
  const flags = await optional("flags");
  const makeFlags = flags === undefined ? [] : shellWords((await contentOf(flags)).toString("utf8"), flags);
  const contents = await Promise.all(
    [config, systemMap, image, symvers, flags].map(async (path) => (path === undefined ? "" : contentOf(path))),
  );
  return {
    ...{ folder, config, systemMap, image, symvers, modules, makeFlags },
    digest: sha256(...contents.flatMap((content) => [sha256(content), "\0"])),
  };
}

function contentOf(path: string): Promise<Buffer> {
  return readFile(path).catch((error: unknown) => {
    throw configError(`${path} cannot be read: ${messageOf(error)}`, "put a readable file of the kernel there");
  });
}

/** Words as a shell takes them apart: blanks, both kinds of quotes, backslashes; nothing is expanded. */
function shellWords(text: string, where: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  for (let at = 0; at < text.length; at++) {
    const sign = text[at] as string;
    if (/\s/.test(sign)) {
      if (word !== undefined) words.push(word);
      word = undefined;
      continue;
    }
    word ??= "";
    if (sign === "'" || sign === '"') {
      const end = closingQuote(text, at, where);
      const inside = text.slice(at + 1, end);
      word += sign === "'" ? inside : inside.replaceAll(/\\(["\\$`])/g, "$1");
      at = end;
    } else if (sign === "\\") word += text[++at] ?? "";
    else word += sign;
  }
  return word === undefined ? words : [...words, word];
}

function closingQuote(text: string, open: number, where: string): number {
  for (let at = open + 1; at < text.length; at++) {
    if (text[at] === "\\" && text[open] === '"') at++;
    else if (text[at] === text[open]) return at;
  }
  throw configError(`a quote in ${where} is not closed`, "each word is an argument of make, as in a shell");
}

/** How many symbols of the map have to be known to the kernel for the comparison to say anything. */
const leastSymbols = 100;

/**
 * Holds System.map against a kernel image: every function that both know by a unique name has to be at the same address, since the image was linked once.
 * @returns a remark for a map that says nothing, as in the packages of Debian.
 * @throws KmendError `BAD_SYSTEM_MAP`
 */
export async function checkSystemMap(path: string, image: KernelImage): Promise<string | undefined> {
  const kallsyms = image.kallsyms();
  let compared = 0;
  for (const [, address = "", name = ""] of (await readFile(path, "latin1")).matchAll(
    /^([0-9a-f]{16}) [tT] (\S+)$/gm,
  )) {
    const indices = kallsyms.indicesOf(name);
    if (indices.length !== 1) continue;
    compared++;
    const known = kallsyms.addressOf(indices[0] as number);
    if ((BigInt(known) & 0xffff_ffff_ffff_ffffn) === BigInt(`0x${address}`)) continue;
    throw new KmendError({
      code: "BAD_SYSTEM_MAP",
      message: `System.map is of another build than the kernel image ${image.unpacked.path}`,
      where: path,
      why: `${name} is at ${address} in it, and elsewhere in the image`,
      hint: "take System.map and the image (vmlinuz) from the same build",
    });
  }
  return compared < leastSymbols
    ? `${path} names no functions of the kernel, so it was not compared with the image`
    : undefined;
}

function configError(message: string, hint: string): KmendError {
  return new KmendError({ code: "ORIG_CONFIG", message, hint, exitCode: ExitCode.usage });
}
