import { afterEach, beforeEach, expect, test } from "vitest";
import { pendingTasks } from "../../src/host/kernel/tasks.ts";
import { FakeHost } from "./fake-host.ts";

let host: FakeHost;
beforeEach(() => {
  host = new FakeHost();
});
afterEach(() => host.dispose());

test.each([
  ["/system.slice/web@1\\x2da.service", "web@1\\x2da.service"],
  ["/user.slice/session-3.scope/own", "session-3.scope"],
  ["/user.slice/user-7.service/x; reboot.service", "user-7.service"],
  ["/user.slice/$(reboot).scope", null],
])("a task in the group %s belongs to %s", (group, unit) => {
  host.task(7, "cat", 0, ["f"]);
  host.write("proc/7/cgroup", `0::${group}\n`);
  expect(pendingTasks(host.root, true, new Set(["f"]))).toMatchObject([{ tid: 7, unit }]);
});

test("what a terminal would obey is not in the name of a task", () => {
  host.task(7, "a\u001b[2J\u009b1mb", 0, ["f"]);
  expect(pendingTasks(host.root, true, new Set(["f"]))).toMatchObject([{ name: "a?[2J?1mb", schedulerState: "S" }]);
});
