import { createHash } from "node:crypto";
import type { MemberText } from "../struct-text.ts";

/** How a new value starts: with zeros, with a constant, or with a call that initialises `shadow->member`. */
export type InitialValue = { readonly kind: "zero" } | { readonly kind: "constant" | "call"; readonly text: string };

/** A member that becomes a shadow variable. */
export interface ShadowMember {
  readonly tag: string;
  /** File that defines the type: others may have a type of that name. */
  readonly definition: string;
  readonly member: MemberText;
  readonly initial: InitialValue;
}

/** Names that an adapted patch gives to what belongs to a type, or to a member of it. */
export function shadowName(tag: string, member?: string): string {
  return member === undefined ? `kmend_${tag}` : `kmend_${tag}_${member}`;
}

/** Number of a shadow variable: the same in every patch that adds this member with this declaration to this type. */
function shadowId({ tag, definition, member }: Pick<ShadowMember, "tag" | "definition" | "member">): string {
  const text = `${definition}: struct ${tag} ${member.declaration}`;
  return `0x${createHash("sha256").update(text).digest("hex").slice(0, 16)}UL`;
}

/** Name of the constant that holds it. */
function idName(tag: string, member: string): string {
  return shadowName(tag, member).toUpperCase();
}

/** What the accessors of a type are made from. */
export interface AccessorPlan {
  readonly tag: string;
  readonly members: readonly ShadowMember[];
  /** Function that gives back a new object; undefined where none is created here. */
  readonly release: string | undefined;
  /** Members of which some use may be the first of an object from before the patch. */
  readonly written: ReadonlySet<string>;
  readonly hasEnds: boolean;
}

/** The C text that stands behind the definition of the type. */
export function accessorText(plan: AccessorPlan): string {
  const parts = plan.members.map((member) => memberText(member, plan.written.has(member.member.name)));
  if (plan.release !== undefined) parts.push(creationText(plan, plan.release));
  if (plan.hasEnds) parts.push(endText(plan));
  return parts.join("\n");
}

function memberText(shadow: ShadowMember, isWritten: boolean): string {
  const { tag, member, initial } = shadow;
  const name = shadowName(tag, member.name);
  const id = idName(tag, member.name);
  const value = initial.kind === "constant" ? initial.text : "0";
  const prepare = initial.kind === "zero" ? "NULL" : `${name}_init`;
  const start = initial.kind === "call" ? "an\n * initialised value" : value === "0" ? "0" : `\n * ${value}`;
  const lines = [
    "/*",
    ` * ${member.name} of struct ${tag}: objects of the running kernel have no room`,
    ` * for it, so it is a shadow variable. Those from before the patch start with ${start}.`,
    " */",
    `#define ${id}\t${shadowId(shadow)}`,
    "",
    `struct ${name} {`,
    `\t${member.declaration};`,
    "};",
    "",
  ];
  if (initial.kind !== "call") {
    const initializer = initial.kind === "constant" ? ` = {\n\t.${member.name} = ${value},\n}` : "";
    lines.push(
      `static const struct ${name} ${name}_initial${initializer};`,
      "",
      `static inline const struct ${name} *${name}(const struct ${tag} *obj)`,
      "{",
      `\tconst struct ${name} *shadow;`,
      "",
      `\tshadow = klp_shadow_get((void *)obj, ${id});`,
      `\treturn shadow ? shadow : &${name}_initial;`,
      "}",
      "",
    );
  }
  if (initial.kind !== "zero") {
    const statement = initial.kind === "constant" ? `shadow->${member.name} = ${value};` : initial.text;
    lines.push(
      `static __maybe_unused int ${name}_init(void *obj, void *data, void *arg)`,
      "{",
      `\tstruct ${name} *shadow = data;`,
      "",
      `\t${statement}`,
      "\treturn 0;",
      "}",
      "",
    );
  }
  if (isWritten)
    lines.push(
      "/* For a value that is changed. It may sleep, and never fails. */",
      `static inline struct ${name} *${name}_rw(struct ${tag} *obj)`,
      "{",
      `\treturn klp_shadow_get_or_alloc(obj, ${id},`,
      `\t\t\t\t       sizeof(struct ${name}),`,
      `\t\t\t\t       GFP_KERNEL | __GFP_NOFAIL,`,
      `\t\t\t\t       ${prepare}, NULL);`,
      "}",
      "",
    );
  return lines.join("\n");
}

function creationText({ tag, members }: AccessorPlan, release: string): string {
  const lines = [
    "/*",
    " * For a new object. Its address may be that of an earlier one, whose values it",
    " * must not get. Without memory for its own there is no object.",
    " */",
    `static inline struct ${tag} *${shadowName(tag)}_new(struct ${tag} *obj, gfp_t gfp)`,
    "{",
    "\tif (!obj)",
    "\t\treturn NULL;",
  ];
  for (const { member } of members) lines.push(`\tklp_shadow_free(obj, ${idName(tag, member.name)}, NULL);`);
  const allocations = members.map(({ member, initial }) => {
    const name = shadowName(tag, member.name);
    const prepare = initial.kind === "zero" ? "NULL" : `${name}_init`;
    return `!klp_shadow_alloc(obj, ${idName(tag, member.name)},\n\t\t\t      sizeof(struct ${name}), gfp,\n\t\t\t      ${prepare}, NULL)`;
  });
  lines.push(`\tif (${allocations.join(" ||\n\t    ")}) {`);
  for (const { member } of members.slice(0, -1))
    lines.push(`\t\tklp_shadow_free(obj, ${idName(tag, member.name)}, NULL);`);
  lines.push(`\t\t${release}(obj);`, "\t\treturn NULL;", "\t}", "\treturn obj;", "}", "");
  return lines.join("\n");
}

function endText({ tag, members }: AccessorPlan): string {
  return [
    "/* For an object that is about to be freed. */",
    `static inline struct ${tag} *${shadowName(tag)}_end(struct ${tag} *obj)`,
    "{",
    ...members.map(({ member }) => `\tklp_shadow_free(obj, ${idName(tag, member.name)}, NULL);`),
    "\treturn obj;",
    "}",
    "",
  ].join("\n");
}

/** The callback that frees all that is left when the patch is disabled for good; a patch that replaces this one keeps the values. */
export function disabledText(members: readonly Pick<ShadowMember, "tag" | "member">[]): string {
  return [
    "",
    "/* No code uses the values any more. A patch that replaces this one keeps them. */",
    "static void kmend_shadows_free(patch_object *obj)",
    "{",
    ...members.map(({ tag, member }) => `\tklp_shadow_free_all(${idName(tag, member.name)}, NULL);`),
    "}",
    "KPATCH_POST_UNPATCH_CALLBACK(kmend_shadows_free);",
    "",
  ].join("\n");
}
