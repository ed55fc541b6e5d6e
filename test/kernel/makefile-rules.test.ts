import { expect, test } from "vitest";
import { mayMean } from "../../src/kernel/tree/makefile-names.ts";
import { readRules } from "../../src/kernel/tree/makefile-rules.ts";

const printed = `kmend-programs: gen_table
kmend-made: lib/oid.o lib/lib-ctype.o table.h
# Files

# Not a target:
lib/none.c: lib/none.h

lib/table.h: include/linux/oid.h lib/gen_table FORCE | lib
#  Implicit rule search has not been done.
	./lib/gen_table $< > $@

lib/string.o: arch/x86/boot/../boot/string.c FORCE
lib/table.h: quiet_cmd := GEN = x

# Implicit Rules

lib/%.o: lib/%.c FORCE

lib/lib-%.o: other/%.c FORCE
`;

test("the rules of a folder as make prints them", () => {
  const { rules, made, programs } = readRules(printed, "lib");
  expect(rules).toEqual([
    { target: "lib/table.h", prerequisites: ["include/linux/oid.h", "lib/gen_table"] },
    { target: "lib/string.o", prerequisites: ["arch/x86/boot/string.c"] },
    { target: "lib/lib-ctype.o", prerequisites: ["other/ctype.c"] },
  ]);
  expect([...made]).toEqual(["lib/oid.o", "lib/lib-ctype.o", "lib/table.h"]);
  expect([...programs]).toEqual(["lib/gen_table"]);
});

test.each([
  ["$(srctree)/lib/crypto/sha256.c", "lib/crypto/sha256.c", true],
  ["$(src)/../../include/asm/cpufeatures.h", "arch/x86/include/asm/cpufeatures.h", true],
  ["$(srctree)/lib/%.c", "lib/ctype.c", true],
  ["$(srctree)/include/xen/interface/xen*.h", "include/xen/interface/xen-mca.h", true],
  ["$(srctree)/lib/aes$(BITS).c", "lib/aes64.c", true],
  ["$(src)/%.c", "lib/ctype.c", false],
  ["$(src)/%.c", "arch/x86/purgatory/entry.c", true],
  ["sha256.c", "lib/crypto/xsha256.c", false],
])("%s in a Makefile may mean %s: %s", (name, path, expected) => {
  expect(mayMean({ makefile: "arch/x86/purgatory/Makefile", name }, path)).toBe(expected);
});
