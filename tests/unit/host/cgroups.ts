/**
 * The cgroup file systems of the fake host: what mkdir makes, who is in them, the freezers.
 *
 * @module
 */

import { Errno } from "../../../lib/ffi/errno.ts";
import { directory, file, type Inode, Refusal } from "./file_system.ts";
import type { FakeHost } from "./host.ts";
import type { Process } from "./processes.ts";

export type CgroupVersion = "v1" | "v2";

/** By directory below /sys/fs/cgroup. */
const hierarchies: Readonly<Record<string, string>> = {
  systemd: "name=systemd",
  cpuset: "cpuset",
  "cpu,cpuacct": "cpu,cpuacct",
  memory: "memory",
  devices: "devices",
  freezer: "freezer",
  pids: "pids",
};

const filesOf: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  cpuset: { "cpuset.cpus": "0-1\n", "cpuset.mems": "0\n" },
  "cpu,cpuacct": { "cpu.shares": "1024\n", "cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n" },
  memory: {
    "memory.limit_in_bytes": "9223372036854771712\n",
    "memory.soft_limit_in_bytes": "9223372036854771712\n",
    "memory.memsw.limit_in_bytes": "9223372036854771712\n",
    "memory.usage_in_bytes": "4096\n",
    "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n",
    "cgroup.event_control": "",
  },
  devices: { "devices.list": "a *:* rwm\n" },
  freezer: { "freezer.state": "THAWED\n", "freezer.self_freezing": "0\n" },
  pids: { "pids.max": "max\n", "pids.current": "1\n" },
  "": {
    "cgroup.controllers": "cpuset cpu io memory pids\n",
    "cgroup.subtree_control": "",
    "cgroup.type": "domain\n",
    "cgroup.freeze": "0\n",
    "cpu.max": "max 100000\n",
    "cpu.weight": "100\n",
    "memory.max": "max\n",
    "memory.current": "4096\n",
    "memory.swap.max": "max\n",
    "memory.low": "0\n",
    "memory.events": "oom 0\noom_kill 0\n",
    "pids.max": "max\n",
  },
};

/** Mounts the cgroup file systems. */
export function makeCgroups(host: FakeHost, version: CgroupVersion): void {
  const mounts = version === "v2" ? { "": "" } : hierarchies;
  const lines = ["20 1 0:19 / /sys rw - sysfs sysfs rw"];
  if (version === "v1") lines.push("24 20 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw");
  Object.entries(mounts).forEach(([name, controllers], index) => {
    const path = name === "" ? "/sys/fs/cgroup" : `/sys/fs/cgroup/${name}`;
    const top = host.fs.put(path, directory());
    furnish(host, { top, node: top, name, controllers, path: "/" });
    host.self.cgroups.set(controllers, "/");
    const kind = version === "v2" ? "cgroup2 cgroup2 rw" : `cgroup cgroup rw,${controllers}`;
    lines.push(`${30 + index} ${version === "v2" ? 20 : 24} 0:${30 + index} / ${path} rw - ${kind}`);
  });
  host.self.files.set("mountinfo", `${lines.join("\n")}\n`);
}

interface Cgroup {
  readonly top: Inode;
  readonly node: Inode;
  /** The hierarchy's directory below /sys/fs/cgroup; empty for cgroup2. */
  readonly name: string;
  readonly controllers: string;
  /** As in /proc/PID/cgroup. */
  readonly path: string;
}

/** Puts the files of a cgroup into its directory. */
function furnish(host: FakeHost, cgroup: Cgroup): void {
  const { node, name, controllers, path } = cgroup;
  const members = () => [...host.processes.values()].filter(({ cgroups }) => cgroups.get(controllers) === path);
  const enter = (text: string) => {
    const process = text.trim() === "0" ? host.self : host.process(Number(text));
    if (process === undefined || process.hasEnded) throw new Refusal(Errno.ESRCH);
    process.cgroups.set(controllers, path);
  };
  for (const each of ["cgroup.procs", "tasks"]) {
    node.add(each, file(() => members().map(({ pid }) => `${pid}\n`).join(""), enter));
  }
  for (const [each, text] of Object.entries(filesOf[name] ?? {})) node.add(each, ordinary(text));
  if (name === "devices") deviceRules(node);
  if (name === "freezer") freezer(host, cgroup, members);
  if (name === "") unified(host, cgroup, members);
  node.onMake = (made, child) => {
    furnish(host, { ...cgroup, node: made, path: path === "/" ? `/${child}` : `${path}/${child}` });
  };
  node.mayRemove = () => members().length === 0 && ![...node.entries!.values()].some(({ isDirectory }) => isDirectory);
}

/** A file of numbers: a write replaces it. */
function ordinary(text: string): Inode {
  const made = file(text);
  made.write = (written) => {
    made.bytes = new TextEncoder().encode(written.endsWith("\n") ? written : `${written}\n`);
  };
  return made;
}

/** `a` allows or denies all; other rules are added to the list or taken out. */
function deviceRules(node: Inode): void {
  const list = node.child("devices.list")!;
  const rules = () => list.text.split("\n").filter((line) => line !== "");
  const set = (lines: readonly string[]) => list.write!(lines.join("\n"));
  node.add("devices.allow", file("", (rule) => set(rule.trim() === "a" ? ["a *:* rwm"] : [...rules(), rule.trim()])));
  node.add(
    "devices.deny",
    file("", (rule) => set(rule.trim() === "a" ? [] : rules().filter((each) => each !== rule.trim()))),
  );
}

/** Dies of the signal that it has been sent while it was frozen. */
function thaw(processes: readonly Process[]): void {
  for (const process of processes) if (process.pending !== undefined) process.end({ signal: process.pending });
}

function freezer(_: FakeHost, { node, path }: Cgroup, members: () => readonly Process[]): void {
  if (path === "/") return;
  const state = node.child("freezer.state")!;
  const write = state.write!;
  state.write = (text) => {
    write(text);
    node.child("freezer.self_freezing")!.write!(text.trim() === "FROZEN" ? "1" : "0");
    if (text.trim() === "THAWED") thaw(members());
  };
}

function unified(host: FakeHost, { node, path }: Cgroup, members: () => readonly Process[]): void {
  if (path === "/") {
    node.child("cgroup.subtree_control")!.bytes = new TextEncoder().encode("cpuset cpu io memory pids\n");
    return;
  }
  const isFrozen = () => node.child("cgroup.freeze")!.text.trim() === "1";
  node.add(
    "cgroup.events",
    file(() => `populated ${members().length > 0 ? 1 : 0}\nfrozen ${isFrozen() ? 1 : 0}\n`),
  );
  node.add(
    "cgroup.kill",
    file(() => "", () => {
      for (const process of members()) {
        host.calls.push(`cgroup.kill ${process.pid}`);
        process.end({ signal: 9 });
      }
    }),
  );
}

/** Whether a process may die: on v1 its freezer does not hold it. */
export function thawed({ fs, cgroups }: FakeHost, process: Process): boolean {
  if (cgroups === "v2") return true;
  const path = process.cgroups.get("freezer");
  return fs.find(`/sys/fs/cgroup/freezer${path}/freezer.state`)?.text.trim() !== "FROZEN";
}

/** Puts a process into the cgroup `path` of every hierarchy that has it. */
export function enterCgroups({ fs, cgroups }: FakeHost, process: Process, path: string): void {
  const mounts = cgroups === "v2" ? { "": "" } : hierarchies;
  for (const [name, controllers] of Object.entries(mounts)) {
    const place = name === "" ? `/sys/fs/cgroup${path}` : `/sys/fs/cgroup/${name}${path}`;
    if (fs.find(place) !== undefined) process.cgroups.set(controllers, path);
  }
}

/** The directories of a container's cgroups, sorted. */
export function cgroupDirectories({ fs, cgroups }: FakeHost, path: string): readonly string[] {
  const names = cgroups === "v2" ? [""] : Object.keys(hierarchies);
  return names.map((name) => name === "" ? `/sys/fs/cgroup${path}` : `/sys/fs/cgroup/${name}${path}`)
    .filter((each) => fs.find(each) !== undefined);
}
