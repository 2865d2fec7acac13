import { assertEquals } from "@std/assert";
import { cgroupFindings } from "../../../../lib/libcontainer/inspect/cgroups.ts";
import { topics } from "../../../../lib/libcontainer/inspect/finding.ts";
import { findingsOf } from "../../../../lib/libcontainer/inspect/findings.ts";
import { endedView, process, stateOf, viewOf } from "./fixed.ts";

Deno.test("findingsOf() has the topics in the order of the output", () => {
  const state = stateOf({ linux: { maskedPaths: ["/proc/keys"] } });
  const cgroups = {
    paths: { memory: "/m" },
    entered: { memory: "/m" },
    files: { "memory/memory.limit_in_bytes": "1\n" },
    ceilings: {},
  };
  const own = { namespaces: { pid: "pid:[1]" }, seccomp: "0" };
  const found = findingsOf(state, viewOf({ limits: { RLIMIT_CPU: "1 1" } }, { cgroups, own }), process);
  assertEquals<readonly string[]>([...new Set(found.map(({ topic }) => topic))], topics);
});

Deno.test("of a container that has ended nothing is called different", () => {
  const state = stateOf({
    mounts: [{ destination: "/proc", type: "proc", source: "proc" }],
    linux: {
      namespaces: [{ type: "pid" }, { type: "network", path: "/run/netns/web" }],
      maskedPaths: ["/proc/keys"],
      readonlyPaths: ["/proc/sys"],
      seccomp: { defaultAction: "SCMP_ACT_ERRNO" },
      resources: { pids: { limit: 5 } },
    },
    process: { capabilities: {}, noNewPrivileges: true, apparmorProfile: "x" },
  });
  const ended = { ...endedView, cgroups: { ...endedView.cgroups, paths: { pids: "/p" } } };
  const rlimits = [{ type: "RLIMIT_CPU", soft: 1, hard: 1 }];
  const found = findingsOf(state, ended, { ...process, rlimits });
  assertEquals(found.filter(({ verdict }) => verdict === "different" || verdict === "same"), []);
});

Deno.test("a process may be in a cgroup below the container's, and nowhere else", () => {
  const cgroups = {
    paths: { memory: "/m/box", pids: "/p/box", "": "/u/box" },
    entered: { memory: "/m/box/init.scope", pids: "/p/box2" },
    files: {},
    ceilings: {},
  };
  assertEquals(cgroupFindings(viewOf({}, { cgroups })).map(({ name, verdict, note }) => [name, verdict, note]), [
    ["memory", "same", "a cgroup below the container's"],
    ["pids", "different", undefined],
    ["cgroup2", "unknown", undefined],
  ]);
});
