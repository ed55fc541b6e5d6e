import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { buildImage, type ImageInputs } from "../../src/kernel/tree/build-image.ts";
import { SilentProgress } from "../../src/support/progress.ts";

/** A makefile with the goals that kmend asks for; it compiles until there is a file `../go`, or fails on a file that is no C. */
const makefile = `
olddefconfig:
	@echo CONFIG_ADDED=y >> .config
bzImage:
	@echo built >> ../count
	@if grep -q broken kernel/fork.c; then echo "kernel/fork.c:1:1: error: expected something else"; exit 1; fi
	@n=0; while [ ! -e $(WAIT) ]; do n=$$((n+1)); echo "  CC      kernel/file$$n.o"; sleep 0.05; done
	@mkdir -p arch/x86/boot include/config && echo image > arch/x86/boot/bzImage && echo 6.1.9-own > include/config/kernel.release
	@echo symvers > Module.symvers && echo map > System.map
modules: bzImage
	@echo "  CC [M]  lib/crc7.o"; echo kernel/lib/crc7.ko > modules.order
modules_install:
	@mkdir -p $(INSTALL_MOD_PATH)/lib/modules/6.1.9-own && cp modules.order $(INSTALL_MOD_PATH)/lib/modules/6.1.9-own
`;

let root: string;
let progress: StatusProgress;

/** Keeps what is said about the phases while they last. */
class StatusProgress extends SilentProgress {
  readonly said: string[] = [];
  onStatus: (text: string) => void = () => {};

  override phase<Result>(
    name: string,
    title: string,
    work: (status: (text: string) => void) => Promise<Result>,
  ): Promise<Result> {
    return super.phase(name, title, () =>
      work((text) => {
        this.said.push(text);
        this.onStatus(text);
      }),
    );
  }
}

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "kmend-image-"));
  progress = new StatusProgress();
  const files = { Makefile: makefile, Kbuild: "", "scripts/x": "", "kernel/fork.c": "int fork;\n" };
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, "linux", path)), { recursive: true });
    await writeFile(join(root, "linux", path), text);
  }
  await writeFile(join(root, "config"), "CONFIG_LIVEPATCH=y\n");
  await writeFile(join(root, "go"), "");
});
afterEach(() => rm(root, { recursive: true, force: true }));

function inputs(more: Partial<ImageInputs> = {}): ImageInputs {
  const files = ["Makefile", "Kbuild", "scripts/x", "kernel/fork.c"];
  const source = { kind: "tree", path: join(root, "linux"), files, isUnchanged: async () => true } as const;
  const makeFlags = [`WAIT=${join(root, "go")}`];
  return { source, configPath: join(root, "config"), folder: join(root, "image"), makeFlags, progress, ...more };
}

const kept = async (): Promise<string[]> => (await readdir(join(root, "image"))).sort();
const timesBuilt = async (): Promise<number> =>
  (await readFile(join(root, "image/count"), "utf8").catch(() => "")).split("\n").length - 1;

describe("a kernel that is built from a tree", () => {
  test("is built once, and what patch modules need of it is kept", async () => {
    const first = await buildImage(inputs());
    expect(await readFile(first.imagePath, "utf8")).toBe("image\n");
    expect(await readFile(first.configPath, "utf8")).toBe("CONFIG_LIVEPATCH=y\nCONFIG_ADDED=y\n");
    expect(await readFile(join(first.modulesDir ?? "", "modules.order"), "utf8")).toBe("kernel/lib/crc7.ko\n");
    expect(await kept()).toEqual(["count", "image.guard", "image.log", "result"]);
    expect(progress.notes.join()).toContain("the whole kernel is compiled, once");
    expect(await buildImage(inputs())).toEqual(first);
    expect(await timesBuilt()).toBe(1);
  });

  test("two at the same time build it once", async () => {
    const [first, second] = await Promise.all([buildImage(inputs()), buildImage(inputs())]);
    expect(second).toEqual(first);
    expect(await timesBuilt()).toBe(1);
  });

  test("while it lasts the user is told how far it is; an interrupted one leaves nothing but its log", async () => {
    await rm(join(root, "go"));
    const controller = new AbortController();
    progress.onStatus = (text) => {
      if (/ [1-9]\d* files compiled/.test(text)) controller.abort();
    };
    await expect(buildImage(inputs({ signal: controller.signal }))).rejects.toBeDefined();
    expect(controller.signal.aborted, progress.said.join("\n")).toBe(true);
    expect(await kept()).toEqual(["count", "image.guard", "image.log"]);
    await writeFile(join(root, "go"), "");
    await buildImage(inputs());
    expect(await kept()).toContain("result");
  });

  test("what a killed run left behind is made anew", async () => {
    await mkdir(join(root, "image/tree"), { recursive: true });
    await mkdir(join(root, "image/.result.999999.00000000.tmp"));
    await writeFile(join(root, "image/tree/Makefile"), "half-written");
    await buildImage(inputs());
    expect(await kept()).toEqual(["count", "image.guard", "image.log", "result"]);
  });

  test("that does not compile is an error with the compiler's words", async () => {
    await writeFile(join(root, "linux/kernel/fork.c"), "broken\n");
    await expect(buildImage(inputs())).rejects.toMatchObject({
      code: "IMAGE_BUILD_FAILED",
      where: join(root, "image/image.log"),
      why: expect.stringContaining("kernel/fork.c:1:1: error"),
      exitCode: 5,
    });
    expect(await kept()).toEqual(["count", "image.guard", "image.log"]);
  });

  test("without live patching it is not begun", async () => {
    await writeFile(join(root, "config"), "# CONFIG_LIVEPATCH is not set\n");
    await expect(buildImage(inputs())).rejects.toMatchObject({ code: "CONFIG_WITHOUT_LIVEPATCH", exitCode: 2 });
    expect(await timesBuilt()).toBe(0);
  });
});
