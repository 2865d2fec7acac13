/** `doctor`: what it finds on this host, and on one that lacks something. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { type Box, boxTest, isSnapshot, program, type StartOptions } from "./harness.ts";
import { userTest } from "./rootless_harness.ts";

interface Diagnosis {
  readonly bundle?: string;
  readonly missing: boolean;
  readonly answers: readonly {
    readonly id: string;
    readonly area: string;
    readonly state: string;
    readonly message: string;
    readonly fix?: string;
  }[];
}

function doctor(box: Box, args: readonly string[] = [], options: StartOptions = {}): Diagnosis & { code: number } {
  const { code, stdout, stderr } = box.runc(["doctor", "--format", "json", ...args], options);
  assertEquals(stderr, "");
  return { ...JSON.parse(stdout), code };
}

const answerOf = ({ answers }: Diagnosis, id: string) => answers.find((answer) => answer.id === id);
/** A shell command before the runtime, in a mount namespace of its own. */
const afterMounts = (commands: string): StartOptions => ({
  prefix: ["/usr/bin/unshare", "--mount", "/bin/sh", "-ec", `${commands}; exec "$@"`, "sh"],
});

boxTest("doctor: this host, on which the other tests run, lacks nothing that root needs", (box) => {
  const diagnosis = doctor(box);
  assertEquals([diagnosis.code, diagnosis.missing, diagnosis.bundle], [0, false, undefined]);
  const unwell = diagnosis.answers.filter(({ area, state }) => area === "kernel" && state !== "ok");
  assertEquals(unwell, []);
  const text = box.must(["doctor"]);
  assertMatch(text, /^program\n {2}\S+ +.*\[snapshot\]\n/);
  assertMatch(text, /\n {2}ok {7}pid namespaces can be made \[namespace-pid\]\n/);
  assertMatch(text, /\nnothing is missing\n$/);
});

boxTest("doctor says how this program was started, and why not otherwise", (box) => {
  const snapshot = isSnapshot(program);
  const { state, message } = answerOf(doctor(box), "snapshot")!;
  assertEquals(state, snapshot ? "ok" : "limited", message);
  if (!snapshot) return;
  // The launcher beside the snapshot: as if the snapshot could not be resumed.
  const { code, stdout } = box.runc(["doctor"], { prefix: ["/bin/sh", "-c", 'shift; exec "$0.sh" "$@"', program] });
  assertEquals(code, 0);
  assertMatch(stdout, /limited {2}.*is a snapshot, but it cannot be resumed here: the processor lacks/);
});

boxTest("doctor tries namespaces out: without capabilities most cannot be made", (box) => {
  const prefix = ["/usr/bin/setpriv", "--bounding-set=-all", "--inh-caps=-all"];
  const diagnosis = doctor(box, [], { prefix });
  assertEquals([diagnosis.code, diagnosis.missing], [1, true]);
  const { state, message, fix } = answerOf(diagnosis, "namespace-pid")!;
  assertEquals([state, message], ["missing", "pid namespaces cannot be made: EPERM"]);
  assert(fix);
  assertEquals(answerOf(diagnosis, "namespace-user")?.state, "ok");
  assertEquals(answerOf(diagnosis, "privileges")?.state, "limited");
  assertMatch(box.runc(["doctor"], { prefix }).stdout, / {2}MISSING {2}pid namespaces.*\n +fix: .*CAP_SYS_ADMIN/);
});

boxTest("doctor finds a limit of namespaces, with the command that raises it", (box) => {
  const command = "echo 0 >/proc/sys/user/max_time_namespaces";
  const prefix = ["/usr/bin/unshare", "-Ur", "/bin/sh", "-ec", `${command}; exec "$@"`, "sh"];
  const diagnosis = doctor(box, [], { prefix });
  assertEquals(answerOf(diagnosis, "namespace-time"), {
    id: "namespace-time",
    area: "kernel",
    state: "off",
    message: "time namespaces cannot be made: ENOSPC",
    fix: "sysctl -w user.max_time_namespaces=100000",
  });
  assertMatch(answerOf(diagnosis, "privileges")!.message, /root of a user namespace/);
});

boxTest("doctor finds a covered /proc, hidepid, a read-only state directory and a missing tool", (box) => {
  const covered = doctor(box, [], afterMounts("mount --bind /dev/null /proc/keys"));
  assertEquals(answerOf(covered, "proc")?.fix, "umount /proc/keys");
  const hidden = doctor(box, [], afterMounts("mount -t proc -o hidepid=2 proc /proc"));
  assertMatch(answerOf(hidden, "proc")!.message, /hidepid=(2|invisible)/);
  const fixed = doctor(
    box,
    [],
    afterMounts(`mount --bind ${box.directory} ${box.directory}; mount -o remount,bind,ro ${box.directory}`),
  );
  assertEquals(answerOf(fixed, "state-directory")?.state, "missing");
  const poor = doctor(box, [], { env: { PATH: "/nowhere" } });
  assertMatch(answerOf(poor, "mapping-tools")!.fix!, /install|add|pacman/);
});

boxTest("doctor and check agree on a host with cgroup v2, whose controllers v1 may have taken", (box) => {
  const there = afterMounts("mount -t cgroup2 none /sys/fs/cgroup");
  const diagnosis = doctor(box, [], there);
  assertEquals(answerOf(diagnosis, "cgroup-mode")?.message, "cgroup v2");
  assertEquals(answerOf(diagnosis, "devices"), {
    id: "devices",
    area: "cgroups",
    state: "ok",
    message: "device filters can be loaded",
  });
  const memory = answerOf(diagnosis, "controller-memory")!;
  if (memory.state === "off") assertMatch(memory.fix!, /^boot with cgroup_no_v1=all cgroup_enable=memory/);
  box.write((config) => config.linux.resources = { ...config.linux.resources, memory: { limit: 1 << 26 } });
  const { stdout } = box.runc(["check"], there);
  assertEquals(stdout.includes("[controller-missing]"), memory.state === "off");
});

boxTest("doctor --for asks only about what the bundle needs, and what is off is missing", (box) => {
  box.write();
  const plain = doctor(box, ["--for", box.bundle]);
  assertEquals([plain.code, plain.bundle], [0, box.bundle]);
  const ids = plain.answers.map(({ id }) => id);
  for (const id of ["apparmor", "criu", "libseccomp", "controller-memory"]) assert(!ids.includes(id), id);
  box.write((config) => {
    config.linux.resources = { ...config.linux.resources, memory: { limit: 1 << 26 } };
    config.linux.intelRdt = { closID: "a" };
    config.linux.seccomp = { defaultAction: "SCMP_ACT_ALLOW" };
  });
  const rich = doctor(box, ["--for", "bundle"], { cwd: box.directory });
  const added = rich.answers.filter(({ id }) => !ids.includes(id));
  assertEquals(added.map(({ id }) => id), ["controller-memory", "resctrl", "seccomp", "libseccomp"]);
  assertEquals(answerOf(rich, "resctrl")?.state, "missing");
  assertEquals(rich.code, 1);
  const { code, stderr } = box.runc(["doctor", "--for", box.rootfs]);
  assertEquals(code, 1);
  assertMatch(stderr, /JSON specification file config\.json not found/);
});

/** Whether users may read files in /etc. Where they may not, nothing is known about their ids. */
const isEtcOpen = ((Deno.statSync("/etc").mode ?? 0) & 0o005) === 0o005;

userTest("doctor of a user without root: ids, tools and delegation", (user) => {
  user.write();
  const { stdout, stderr } = user.runc(["doctor", "--format", "json"]);
  assertEquals(stderr, "");
  const diagnosis: Diagnosis = JSON.parse(stdout);
  const ids = isEtcOpen ? /tester may map 65536 further ids/ : /may not read \/etc\/subuid/;
  assertMatch(answerOf(diagnosis, "subordinate-ids")!.message, ids);
  assertMatch(answerOf(diagnosis, "privileges")!.message, /the caller is user \d+/);
  assertEquals(answerOf(diagnosis, "cgroup-delegation")?.state, "off");
  assertEquals(answerOf(diagnosis, "namespace-user")?.state, "ok");
});

userTest("check of a user without root: ids that belong to nobody or to another user", (user) => {
  user.write();
  const check = () => {
    const { code, stdout } = user.runc(["check", "--format", "json"]);
    const findings: { rule: string; severity: string }[] = JSON.parse(stdout).findings;
    return { code, problems: findings.filter(({ severity }) => severity === "problem").map(({ rule }) => rule) };
  };
  assertEquals(check(), { code: 0, problems: [] });
  user.write(({ linux }) => {
    linux.uidMappings!.push({ containerID: 1, hostID: 300000, size: 100 });
    linux.gidMappings!.push({ containerID: 1, hostID: 500000, size: 100 });
  });
  assertEquals(check(), isEtcOpen ? { code: 1, problems: ["subordinate-ids"] } : { code: 0, problems: [] });
});
