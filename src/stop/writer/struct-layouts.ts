import type { Btf } from "../../kernel/types/btf.ts";
import { BtfKind } from "../../kernel/types/btf-format.ts";
import { ExitCode, KmendError } from "../../support/errors.ts";

/** Size of a structure of the kernel and places of its members, in bytes. */
export interface StructLayout<Member extends string> {
  readonly size: number;
  readonly at: Readonly<Record<Member, number>>;
}

/** Members that a stop module fills, of each structure that it holds. All others are zero, as a compiler leaves them. */
const used = {
  klp_patch: ["mod", "objs", "replace"],
  klp_object: ["name", "funcs"],
  klp_func: ["old_name", "new_func", "old_sympos"],
  module: ["name", "init", "exit"],
  kernel_param: ["name", "mod", "ops", "perm", "level", "arg"],
} as const;

type Used = typeof used;

/** Layouts of the structures of a stop module, as one kernel has them. */
export type StopLayouts = { readonly [Name in keyof Used]: StructLayout<Used[Name][number]> };

/**
 * The layouts by the kernel's own types.
 * @throws KmendError `STOP_LAYOUT` (exit 4) when the kernel does not tell one, or tells several.
 */
export function stopLayouts(types: Btf): StopLayouts {
  const of = <Name extends keyof Used>(name: Name): StructLayout<Used[Name][number]> =>
    layoutOf(types, name, used[name]);
  return {
    klp_patch: of("klp_patch"),
    klp_object: of("klp_object"),
    klp_func: of("klp_func"),
    module: of("module"),
    kernel_param: of("kernel_param"),
  };
}

function layoutOf<Member extends string>(types: Btf, name: string, members: readonly Member[]): StructLayout<Member> {
  const [type, ...others] = types.find(BtfKind.struct, name);
  if (type === undefined) throw unknownLayout(name, "the kernel's types do not have it");
  const size = types.size(type);
  if (others.some((other) => types.size(other) !== size)) throw unknownLayout(name, "the kernel has several of them");
  const places: [string, number][] = [];
  // Members of a struct without a name count as the outer one's, as in C.
  const collect = (of: number, base: number): void => {
    for (const member of types.members(of)) {
      const at = base + member.offset;
      const inner = types.resolve(member.type);
      const isGroup = [BtfKind.struct, BtfKind.union].some((kind) => kind === types.kind(inner));
      if (member.name !== "") places.push([member.name, at]);
      else if (isGroup) collect(inner, at);
    }
  };
  collect(type, 0);
  const at = Object.fromEntries(places.filter(([, bits]) => bits % 8 === 0).map(([key, bits]) => [key, bits / 8]));
  const missing = members.find((member) => at[member] === undefined);
  if (missing !== undefined) throw unknownLayout(name, `it has no member ${missing}`);
  return { size, at: at as Record<Member, number> };
}

function unknownLayout(name: string, why: string): KmendError {
  return new KmendError({
    code: "STOP_LAYOUT",
    message: `the layout of struct ${name} is not known`,
    why,
    hint: "the kernel needs CONFIG_LIVEPATCH=y and CONFIG_DEBUG_INFO_BTF=y; kmend build makes modules for other kernels with the compiler",
    exitCode: ExitCode.refused,
  });
}
