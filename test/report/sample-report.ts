import type { ModuleComparison } from "../../src/report/compare-modules.ts";
import type { ReviewReport } from "../../src/report/report-types.ts";

/** A small report with something in each of its parts. */
export const sampleReport: ReviewReport = {
  schema: 1,
  subject: { kind: "patch", files: ["fix.patch"] },
  verdict: {
    outcome: "built",
    kernel: { release: "6.1.0-9-amd64", buildId: "00ff" },
    module: { name: "livepatch-fix", sha256: "ab".repeat(32), bytes: 23_456 },
    file: "intact",
    cves: ["CVE-2026-12345"],
    functions: { changed: 1, new: 1, proven: 1 },
    trial: "passed",
    refusals: [
      {
        code: "DATA_CHANGED",
        what: "limit",
        where: "fs/a.c:4",
        why: "it is live",
        hint: "set it otherwise",
        unit: "fs/a.c",
      },
    ],
    warnings: [
      {
        code: "LOCKS_CHANGED",
        function: "a_show",
        unit: "fs/a.c",
        place: "fs/a.c:3",
        why: "it locks otherwise",
        hint: "check",
      },
    ],
    notes: ["hunk 1 applied with fuzz"],
    attention: [{ who: "reviewer", what: "a_show: it locks otherwise", section: "state" }],
    adapted: { parts: ["struct a: a shadow variable"], assumptions: ["nobody copies it"] },
  },
  files: [
    {
      path: "fs/a.c",
      kind: "modified",
      fates: [],
      hunks: [
        {
          oldStart: 3,
          newStart: 3,
          lines: [
            { kind: "context", old: 3, new: 3, text: "\tint n; /* a", refused: [] },
            { kind: "removed", old: 4, new: null, text: '\tputs("old");', refused: [] },
            { kind: "added", old: null, new: 4, text: '\tputs("new");', refused: ["DATA_CHANGED: limit: it is live"] },
          ],
          fates: [
            {
              kind: "edited",
              text: "a_show is replaced",
              source: ["a_show"],
              functions: [{ id: "fn-1", name: "a_show", object: "vmlinux", unit: "fs/a.c" }],
            },
          ],
        },
      ],
    },
  ],
  functions: [
    {
      ...{ id: "fn-1", name: "a_show", object: "vmlinux", unit: "fs/a.c", sympos: 2, change: "changed", proven: true },
      ...{ reason: "refers to another text", bytes: { shipped: 20, patched: 24 }, inlined: ["a_inline"] },
      code: {
        differing: 1,
        rows: [
          {
            shipped: { at: 0, text: "call __fentry__", names: [], jump: null },
            patched: { at: 0, text: "call __fentry__", names: [], jump: null },
            differs: false,
            source: { place: "a.c:3", text: "{", added: 'puts("new");' },
          },
          {
            shipped: { at: 5, text: "mov $0,%rdi", names: ['"old"'], jump: null },
            patched: { at: 5, text: "mov $0,%rdi", names: ['"new"'], jump: null },
            differs: true,
          },
          { shipped: null, patched: { at: 12, text: "jne 0", names: [], jump: 0 }, differs: true },
        ],
      },
      proof: {
        ...{ method: "bytes", address: "0xffffffff81000000", bytes: 20 },
        masked: [
          { offset: 1, width: 4, symbol: "__fentry__", address: "0xffffffff81000100", confirmed: "symbol" },
          { offset: 8, width: 4, symbol: '"old"', address: "0xffffffff82000000", confirmed: "content" },
        ],
        content: [{ name: '"old"', bytes: 4 }],
        tables: [{ table: "__bug_table", entries: 3 }],
      },
      state: {
        locks: [{ what: "mutex_lock of a_lock", before: false, after: true }],
        data: [{ what: "reads a_count", before: true, after: true }],
        calls: [{ what: "seq_puts", before: true, after: true }],
      },
    },
    {
      ...{ id: "fn-2", name: "a_new", object: "vmlinux", unit: "fs/a.c", sympos: 0, change: "new", proven: null },
      ...{ reason: "new in this unit", bytes: { shipped: null, patched: 3 }, inlined: [], proof: null, state: null },
      code: {
        differing: 1,
        rows: [{ shipped: null, patched: { at: 0, text: "ret", names: [], jump: null }, differs: true }],
      },
    },
  ],
  units: [{ path: "fs/a.c", object: "vmlinux", matched: 9, functions: 10 }],
  symbols: [{ name: "a_count", object: "vmlinux", sympos: 0, proof: "the only symbol of this name" }],
  graph: {
    nodes: [
      { id: "vmlinux:a_show", name: "a_show", object: "vmlinux", kind: "changed", mark: null },
      { id: "vmlinux:a_boot", name: "a_boot", object: "vmlinux", kind: "caller", mark: "init" },
      { id: "ext4:a_read", name: "a_read", object: "ext4", kind: "reached", mark: null },
    ],
    edges: [
      { from: "vmlinux:a_boot", to: "vmlinux:a_show", kind: "calls" },
      { from: "vmlinux:a_show", to: "ext4:a_read", kind: "reaches" },
    ],
    leftOut: 2,
  },
  types: [
    {
      ...{ name: "struct a", object: "vmlinux", size: { shipped: 16, patched: 24 }, isChanged: true },
      rows: [
        {
          shipped: { at: "0", size: "8", text: "long first" },
          patched: { at: "0", size: "8", text: "long first" },
          ...{ differs: false, isUsed: true },
        },
        {
          shipped: { at: "8", size: "8", text: null },
          patched: { at: "8", size: "16", text: "char more[16]" },
          differs: true,
          isUsed: false,
        },
      ],
    },
  ],
  module: {
    sections: [{ name: ".text.a_show", bytes: 24, kind: "code", isLoaded: true }],
    ...{ memory: 24, imports: ["__fentry__"], signed: false, replacesAll: true, afterUnload: "nothing" },
    relocations: [{ object: "vmlinux", section: ".text.a_show", count: 1, symbols: ["a_count,0"] }],
    tables: [{ name: "__bug_table", noun: "a BUG()", bytes: 12 }],
    modinfo: [{ key: "license", value: "GPL" }],
    callbacks: [{ object: "vmlinux", kind: "pre_patch", function: "a_pre" }],
    keptAddresses: ["a timer may run a_new"],
  },
  trial: {
    ...{ verdict: "passed", kernel: "6.1.0-9-amd64", module: "livepatch_fix", staysInMemory: false },
    ...{ transitionMilliseconds: 1234, failure: null, accelerator: "tcg" },
    probes: [{ command: "cat /proc/a", before: "old", loaded: "new", after: "old" }],
    calls: [{ object: "vmlinux", name: "a_show", calls: 1234 }],
    kernelLog: ["livepatch: enabling patch"],
    stalledTasks: [{ task: 12, name: "kworker", stack: ["a_show+0x5"] }],
    remarks: ["zram does not start here"],
  },
  repeat: {
    commands: ["kmend build fix.patch"],
    versions: [{ what: "kmend", version: "0.1.0" }],
    digests: [{ what: "fix.patch", sha256: "cd".repeat(32) }],
  },
};

/** Fields whose words are ours, or which refer to each other. */
const own = new Set(
  [
    "kind",
    "change",
    "outcome",
    "trial",
    "who",
    "section",
    "mark",
    "verdict",
    "confirmed",
    "method",
    "accelerator",
    "id",
    "from",
    "to",
  ].concat(["code", "schema", "role"]),
);

/** A comparison of two modules with something in each of its parts. */
export const sampleComparison: ModuleComparison = {
  schema: 1,
  old: comparedModule("old.ko", "old"),
  new: comparedModule("new.ko", "new"),
  sameKernel: true,
  functions: [
    {
      ...{ name: "a_show", object: "vmlinux", sympos: 0, unit: "fs/a.c", role: "replaces", kind: "changed" },
      tables: ["__jump_table"],
      code: sampleReport.functions[0]?.code ?? null,
    },
    {
      ...{ name: "a_new", object: "this module", sympos: 0, unit: "fs/a.c", role: "brings", kind: "added", tables: [] },
      code: null,
    },
    {
      ...{ name: "a_old", object: "vmlinux", sympos: 0, unit: "fs/a.c", role: "replaces", kind: "dropped", tables: [] },
      code: null,
    },
  ],
  data: [{ name: "a_table", what: "variable", section: ".data.a_table", kind: "changed" }],
  patches: [{ what: "fix.patch", before: true, after: false }],
  cves: [{ what: "CVE-2026-1", before: false, after: true }],
  callbacks: [{ what: "vmlinux: pre_patch a_pre", before: true, after: false }],
  modinfo: [{ what: "license=GPL", before: true, after: true }],
  symbols: [{ what: "a_count", before: true, after: true }],
  sections: [{ name: ".rodata", old: 10, new: 12 }],
  remarks: ["the old module is not cumulative"],
};

function comparedModule(file: string, name: string): ModuleComparison["old"] {
  return {
    ...{ file, name, sha256: "ef".repeat(32), bytes: 1000, memory: 500, signed: false, replacesAll: true },
    ...{ kernel: { release: "6.1.0-9-amd64", buildId: "ab".repeat(20) }, afterUnload: "nothing" },
  };
}

/** A tree with something added to each text that comes from outside. */
export function withText<T>(tree: T, addition: string): T {
  const mapped = (value: unknown, key: string): unknown => {
    if (typeof value === "string") return own.has(key) ? value : `${value}${addition}`;
    if (Array.isArray(value)) return value.map((one) => mapped(one, key));
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, mapped(inner, name)]));
  };
  return mapped(tree, "") as T;
}
