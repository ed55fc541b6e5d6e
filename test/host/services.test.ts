import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";
import { root } from "../tidy/source-files.ts";

const analyze = spawnSync("systemd-analyze", ["--version"], { encoding: "utf8" });
/** Looking at a file that is not installed came with systemd 250. */
const isKnown = Number(/systemd (\d+)/.exec(analyze.stdout ?? "")?.[1] ?? 0) >= 250;

test.skipIf(!isKnown).each(["kmend.service", "kmend-confirm.service"])(
  "%s is exposed by less than 4 of 10, as systemd counts it",
  (name) => {
    const words = ["security", "--no-pager", "--offline=true", "--threshold=39", join(root, "system", name)];
    const { status, stdout, stderr } = spawnSync("systemd-analyze", words, { encoding: "utf8" });
    expect(status, `${stdout}${stderr}`).toBe(0);
    expect(stdout).toMatch(/Overall exposure level for .*: [0-3]\.\d/);
  },
);
