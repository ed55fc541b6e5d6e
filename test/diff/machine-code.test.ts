import { describe, expect, test } from "vitest";
import { readUnitObject } from "../../src/diff/unit-object.ts";
import { assemble, compileC, link } from "../fixtures/compile.ts";

const source = "int f(int x) { return take(x); }";

describe("an object whose code the linker would make", () => {
  test("of gcc's slim LTO is refused", async () => {
    await expect(readUnitObject(compileC(source, ["-flto"]))).rejects.toMatchObject({
      code: "NO_MACHINE_CODE",
      message: expect.stringContaining("slim LTO"),
    });
  });

  test("is refused among others too", async () => {
    const joined = link([compileC("int g(int x) { return x; }"), compileC(source, ["-flto"])], ["-r"]);
    await expect(readUnitObject(joined)).rejects.toMatchObject({ code: "NO_MACHINE_CODE" });
  });

  test("that is LLVM bitcode is refused, bare or in a wrapper", async () => {
    for (const magic of ["4243c0de", "dec0170b"]) {
      const file = Buffer.concat([Buffer.from(magic, "hex"), Buffer.alloc(60)]);
      await expect(readUnitObject(file)).rejects.toMatchObject({
        code: "NO_MACHINE_CODE",
        message: expect.stringContaining("LLVM bitcode"),
      });
    }
  });

  test("that only embeds bitcode is refused", async () => {
    const empty = assemble('.section .llvmbc,"e",@progbits\n.byte 1');
    await expect(readUnitObject(empty)).rejects.toMatchObject({ code: "NO_MACHINE_CODE" });
  });
});

test("a fat object has machine code", async () => {
  const unit = await readUnitObject(compileC(source, ["-flto", "-ffat-lto-objects"]));
  expect(unit.atoms.map(({ name }) => name)).toContain("f");
});
