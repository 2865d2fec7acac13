import { assertEquals, assertStringIncludes } from "@std/assert";
import { paintFor } from "../../../../lib/cli/output/colour.ts";
import { formatInspection, inspectionJson } from "../../../../lib/cli/output/inspect.ts";
import type { Inspection } from "../../../../lib/libcontainer/inspect/inspect.ts";

const inspection: Inspection = {
  id: "web",
  status: "running",
  pid: 42,
  findings: [
    { topic: "limits", name: "pids.max", config: "5", kernel: "max", verdict: "different", note: "why" },
    { topic: "limits", name: "cpu.shares", kernel: "1024", verdict: "unset" },
    { topic: "ids", name: "uid", config: "0", kernel: "0", verdict: "same" },
    { topic: "ids", name: "gid", config: "none", verdict: "unknown" },
    { topic: "ids", name: "groups", kernel: "7", verdict: "unknown", note: "config.json cannot be read" },
    { topic: "namespaces", name: "pid", config: "new", kernel: "pid:[1]", verdict: "same" },
    { topic: "security", name: "label", verdict: "unset" },
  ],
};

Deno.test("formatInspection() groups by topic, and marks what differs and what is unknown", () => {
  assertEquals(
    formatInspection(inspection, { diffOnly: false }),
    `web: running, pid 42, 1 difference

namespaces
   pid: new -> pid:[1]

ids
   uid: 0
 ? gid: none
 ? groups: 7
     note: config.json cannot be read

security
   label: not set

limits
 ! pids.max: 5
     kernel: max
     note: why
   cpu.shares: 1024 (not in the config)
`,
  );
});

Deno.test("formatInspection() with diffOnly has only differences, and says so if there are none", () => {
  assertEquals(
    formatInspection(inspection, { diffOnly: true }),
    "web: running, pid 42, 1 difference\n\nlimits\n ! pids.max: 5\n     kernel: max\n     note: why\n",
  );
  const same = { ...inspection, findings: inspection.findings.slice(1) };
  assertEquals(formatInspection(same, { diffOnly: true }), "web: running, pid 42, no differences\n");
  const ended: Inspection = { id: "web", status: "stopped", pid: 0, findings: [] };
  assertEquals(
    formatInspection(ended, { diffOnly: true }),
    "web: stopped, only its cgroup can be compared, no differences\n",
  );
});

Deno.test("formatInspection() colours whole lines, of differences and of what is unknown", () => {
  const lines = formatInspection(inspection, { diffOnly: false, paint: paintFor(true, () => undefined) }).split("\n");
  const coloured = lines.filter((line) => line.includes("\x1b"));
  assertEquals(coloured.length, 6);
  assertEquals(coloured.at(-1), "\x1b[31m     note: why\x1b[0m");
  assertEquals(coloured[0], "\x1b[33m ? gid: none\x1b[0m");
});

Deno.test("formatInspection() passes no control character of the container on", () => {
  const evil = "a\x1b]0;b\x07\x9b\r\nc";
  const findings = [
    { topic: "mounts", name: evil, kernel: evil, verdict: "unset" },
    { topic: "mounts", name: "/", config: evil, kernel: evil, verdict: "different", note: evil },
  ] as const;
  const safe = "a\\x1b]0;b\\x07\\x9b\\x0d\\x0ac";
  assertEquals(
    formatInspection({ ...inspection, findings }, { diffOnly: false }),
    `web: running, pid 42, 1 difference

mounts
   ${safe}: ${safe} (not in the config)
 ! /: ${safe}
     kernel: ${safe}
     note: ${safe}
`,
  );
});

Deno.test("inspectionJson() counts the differences whatever it shows", () => {
  const all = JSON.parse(inspectionJson(inspection, { diffOnly: false }));
  assertEquals(all, { id: "web", status: "running", pid: 42, differences: 1, findings: inspection.findings });
  const { findings, differences } = JSON.parse(inspectionJson(inspection, { diffOnly: true }));
  assertEquals([findings, differences], [inspection.findings.slice(0, 1), 1]);
});

Deno.test("inspectionJson() escapes every control character", () => {
  const findings = [{ topic: "mounts", name: "\x1b\x7f\x9bü", verdict: "unset" }] as const;
  const text = inspectionJson({ ...inspection, findings }, { diffOnly: false });
  assertStringIncludes(text, '"\\u001b\\u007f\\u009bü"');
  assertEquals(JSON.parse(text).findings, findings);
});
