import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { OptionValues } from "../../src/cli/command.ts";
import { saveDebug } from "../../src/cli/compat/ksplice-debug.ts";

test("what is kept of a change holds nothing that a terminal would obey", async () => {
  const folder = mkdtempSync(join(tmpdir(), "kmend-debug-"));
  try {
    const file = join(folder, "debug.log");
    const options = { text: () => file, flag: () => false } as unknown as OptionValues;
    const details = ["\u009b31m C1", "\u001b[2J C0", "\u202e turned"];
    const rest = { schema: 1, outcome: "aborted", id: "a", cause: "no_match", tasks: [], notes: [] } as const;
    expect(await saveDebug(options, { ...rest, details })).toContain(file);
    const text = readFileSync(file, "utf8");
    expect(["\u001b", "\u009b", "\u202e"].filter((sign) => text.includes(sign))).toEqual([]);
    expect(JSON.parse(text.slice(0, text.indexOf("\n}\n") + 2))).toMatchObject({ details });
  } finally {
    rmSync(folder, { recursive: true });
  }
});
