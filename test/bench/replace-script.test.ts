import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";
import { type ReplacePlan, replaceScript } from "../../bench/replace/guest-script.ts";
import { loads } from "../../bench/replace/loads.ts";

const plan: ReplacePlan = {
  token: "t",
  entries: [{ name: "replace_a", file: 4, staysInMemory: true, targets: [1, 2] }],
  needed: [0],
  others: ["dummy=/kmend/modules/3.ko"],
  loads,
  stirred: [0, 1],
  rounds: 2,
  stack: true,
};

test.each<readonly [string, string]>([
  ["stacked", replaceScript(plan)],
  ["one after the other", replaceScript({ ...plan, stack: false })],
  ["without modules", replaceScript({ ...plan, entries: [], needed: [], others: [] })],
  ...loads.map(({ name, script }) => [`the load ${name}`, script] as const),
])("the guest's shell accepts the script, %s", (_, script) => {
  expect(() => execFileSync("busybox", ["sh", "-n"], { input: script, stdio: ["pipe", "pipe", "pipe"] })).not.toThrow();
});

test("stacked modules stay", () => {
  expect(replaceScript(plan)).toContain("  put_in_force $1 $2 || return\n  return\n");
  expect(replaceScript({ ...plan, stack: false })).not.toContain("  put_in_force $1 $2 || return\n  return\n");
  expect(replaceScript(plan)).toContain("entry 0 4 replace_a 1 1 2\n");
});

test("a module that comes and goes many times is worked with briefly", () => {
  const entries = [...plan.entries, ...plan.entries];
  const script = replaceScript({ ...plan, entries, stack: false });
  expect(script).toContain("entry 1 4 replace_a 1 1 2\n");
  expect(script).toContain("  put_in_force $1 $2 || return\n  \n  sleep 1\n  take_back $1 || return\n");
  expect(script).toContain("\n  tell patched.$1\n}\n\ntake_back() {\n  echo 0 >$patches/$name/enabled\n");
  expect(replaceScript({ ...plan, stack: false })).toContain("  sleep 4\n  take_back $1 || return\n");
});

test("caches are counted before the last rounds and after them", () => {
  const order = (rounds: number): string[] =>
    [...replaceScript({ ...plan, rounds }).matchAll(/^.*slabs (?:before|after)$|^round=0$|^done$/gm)].map(([line]) =>
      line.trim(),
    );
  expect(order(1).filter((line) => line !== "done")).toEqual(["slabs before", "round=0", "slabs after"]);
  expect(order(2).filter((line) => line !== "done")).toEqual([
    "round=0",
    "[ $round = 0 ] && slabs before",
    "slabs after",
  ]);
});

test("a module whose transition does not end is taken back, so that the next one can be loaded", () => {
  expect(replaceScript(plan)).toContain(
    "    echo 0 >$patches/$name/enabled\n    wait_transition && wait_gone && unload\n",
  );
});
