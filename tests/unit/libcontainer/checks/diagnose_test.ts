import { assert, assertEquals } from "@std/assert";
import { diagnose, questions } from "../../../../lib/libcontainer/checks/doctor/diagnose.ts";
import type { DoctorFacts } from "../../../../lib/libcontainer/checks/doctor/facts.ts";
import { distributionOf, installCommand } from "../../../../lib/libcontainer/checks/doctor/packages.ts";
import { Errno } from "../../../../lib/ffi/errno.ts";
import { type Config, namespaceTypes } from "../../../../lib/specs/config.ts";
import { defaultSpec } from "../../../../lib/specs/default_spec.ts";
import { draft, host, withUser } from "./fixture.ts";

const errnos = (errno: number) =>
  Object.fromEntries(namespaceTypes.map((type) => [type, errno])) as DoctorFacts["namespaceErrnos"];

/** A host that has everything. */
const healthy: DoctorFacts = {
  caller: host.caller,
  appArmor: { isEnabled: true, profiles: ["a", ""] },
  seccomp: host.seccomp,
  selinux: true,
  fileAt: host.fileAt,
  program: { kind: "snapshot", path: "/p/runc", hasSnapshot: true },
  distribution: "debian",
  user: { name: "someone", subordinate: host.subordinate },
  kernelRelease: "6.1.0",
  unavailableCalls: [],
  isFiltered: false,
  inUserNamespace: false,
  namespaceErrnos: errnos(0),
  userNamespaceLimit: 1000,
  userNamespaceRestrictions: [],
  idmapErrnos: { "/": 0 },
  memfdNoexec: 0,
  keys: { used: 3, most: 200 },
  cgroups: {
    mode: "v2",
    controllers: ["memory", "cpu", "cpuset", "pids", "io", "hugetlb", "rdma"],
    hostControllers: ["memory", "cpu", "cpuset", "pids", "io", "hugetlb", "rdma"],
    closed: [],
    swap: true,
    deviceFilterErrno: 0,
  },
  systemd: { isRunning: true, hasLibrary: true, hasBus: true },
  proc: { covers: [], hidepid: "", mountErrno: 0 },
  modules: ["landlock", "apparmor"],
  landlockVersion: 3,
  libseccompVersion: "2.5.4",
  tools: { criu: "/c", newuidmap: "/u", newgidmap: "/g", ps: "/p" },
  powerless: [],
  state: { directory: "/run/runc", isWritable: true },
  resctrl: true,
};

const user: Partial<DoctorFacts> = { caller: { ...host.caller, uid: 1000, gid: 1000 } };
const cgroups = (values: Partial<DoctorFacts["cgroups"]>) => ({ cgroups: { ...healthy.cgroups, ...values } });

/** What is not right with a host, as its only answer that is not ok: question, state, and words of the fix. */
const cases: readonly [id: string, facts: Partial<DoctorFacts>, state: string, fix?: RegExp][] = [
  ["snapshot", { program: { kind: "launcher", path: "/p/runc", hasSnapshot: true } }, "limited", /deno task build/],
  ["snapshot", { program: { kind: "launcher", path: "/p/runc", hasSnapshot: false } }, "limited", /deno task build/],
  ["snapshot", { program: { kind: "source", path: "/p/main.ts", hasSnapshot: false } }, "limited"],
  ["state-directory", { state: { directory: "/run", isWritable: false } }, "missing", /XDG_RUNTIME_DIR/],
  ["system-calls", { unavailableCalls: ["openat2"] }, "missing", /Linux 5\.14/],
  ["system-calls", { unavailableCalls: ["openat2"], isFiltered: true }, "limited", /seccomp=unconfined/],
  ["privileges", { inUserNamespace: true }, "limited"],
  ["namespace-pid", { namespaceErrnos: { ...errnos(0), pid: Errno.EPERM } }, "missing", /CAP_SYS_ADMIN/],
  [
    "namespace-mount",
    { namespaceErrnos: { ...errnos(0), mount: Errno.ENOSPC } },
    "missing",
    /user\.max_mnt_namespaces/,
  ],
  ["namespace-time", { namespaceErrnos: { ...errnos(0), time: Errno.EINVAL } }, "off", /CONFIG_TIME_NS/],
  ["namespace-time", { namespaceErrnos: { ...errnos(0), time: undefined } }, "limited"],
  ["proc", { proc: { ...healthy.proc, covers: ["/proc/kcore"] } }, "off", /^umount \/proc\/kcore$/],
  ["proc", { proc: { ...healthy.proc, hidepid: "invisible" } }, "limited", /hidepid=0/],
  ["proc", { proc: { ...healthy.proc, mountErrno: Errno.EPERM } }, "limited"],
  ["idmapped-mounts", { idmapErrnos: { "/a": Errno.EINVAL, "/b": 0 } }, "off", /ext4/],
  ["idmapped-mounts", { idmapErrnos: { "/a": undefined } }, "limited"],
  ["memory-files", { memfdNoexec: 2 }, "limited", /vm\.memfd_noexec=1/],
  ["keys", { keys: { used: 200, most: 200 } }, "missing", /kernel\.keys\.root_maxkeys=400/],
  [
    "cgroup-mode",
    cgroups({ mode: undefined, controllers: healthy.cgroups.controllers.concat("devices", "blkio") }),
    "missing",
    /mount -t cgroup2/,
  ],
  ["controller-memory", cgroups({ controllers: healthy.cgroups.controllers.slice(1) }), "off", /Delegate=cpu/],
  [
    "controller-rdma",
    cgroups({ controllers: healthy.cgroups.controllers.slice(0, -1), hostControllers: [] }),
    "off",
    /boot/,
  ],
  [
    "controller-io",
    cgroups({
      mode: "v1",
      controllers: ["memory", "cpu", "cpuset", "pids", "hugetlb", "rdma", "devices"],
      hostControllers: ["blkio"],
    }),
    "off",
    /mount -t cgroup -o blkio/,
  ],
  ["devices", cgroups({ deviceFilterErrno: Errno.EPERM }), "missing", /CAP_BPF/],
  ["cgroup-delegation", cgroups({ closed: ["/sys/fs/cgroup"] }), "missing", /remount,rw/],
  ["swap-accounting", cgroups({ swap: false }), "off", /swapaccount=1/],
  ["systemd", { systemd: { ...healthy.systemd, isRunning: false } }, "off"],
  ["systemd", { systemd: { ...healthy.systemd, hasLibrary: false } }, "off", /apt-get install -y libsystemd0/],
  ["systemd", { systemd: { ...healthy.systemd, hasBus: false } }, "off", /linger/],
  ["resctrl", { resctrl: false }, "off", /mount -t resctrl/],
  ["user-namespace-limit", { userNamespaceLimit: 0 }, "off", /sysctl -w user\.max_user_namespaces/],
  [
    "unprivileged-user-namespaces",
    {
      userNamespaceRestrictions: [
        "kernel.unprivileged_userns_clone=0",
        "kernel.apparmor_restrict_unprivileged_userns=1",
      ],
    },
    "off",
    /^sysctl -w kernel\.unprivileged_userns_clone=1 && sysctl -w kernel\.apparmor_restrict_unprivileged_userns=0$/,
  ],
  ["mapping-tools", { tools: { ...healthy.tools, newuidmap: undefined } }, "off", /apt-get install -y uidmap/],
  ["mapping-tools", { powerless: ["/u"] }, "off", /^chmod u\+s \/u$/],
  ["lsm", { modules: [] }, "limited", /securityfs/],
  ["apparmor", { appArmor: { isEnabled: false } }, "off", /apparmor=1/],
  ["selinux", { selinux: false }, "off", /selinux=1/],
  ["landlock", { landlockVersion: 0 }, "off", /lsm=landlock/],
  ["seccomp", { seccomp: { ...host.seccomp, actions: undefined } }, "off", /CONFIG_SECCOMP_FILTER/],
  ["libseccomp", { libseccompVersion: undefined, distribution: "fedora" }, "off", /dnf install -y libseccomp/],
  ["ps", { tools: { ...healthy.tools, ps: undefined } }, "off", /procps/],
  ["criu", { tools: { ...healthy.tools, criu: undefined } }, "off", /criu/],
];

for (const [id, facts, state, fix] of cases) {
  Deno.test(`${id} is ${state} with ${JSON.stringify(Object.keys(facts))}, and the only one`, () => {
    const unwell = diagnose({ ...healthy, ...facts }).filter((answer) => answer.state !== "ok");
    assertEquals(unwell.map((answer) => [answer.id, answer.state]), [[id, state]]);
    const command = unwell[0]!.fix;
    assert(fix === undefined ? command === undefined : fix.test(command ?? ""), command);
  });
}

Deno.test("each question has a case, or one of the user's below", () => {
  const asked = new Set([...cases.map(([id]) => id), "subordinate-ids"]);
  const alike = questions.map(({ id }) => id).filter((id) => !/^(namespace|controller)-/.test(id));
  assertEquals(alike.filter((id) => !asked.has(id)), []);
});

Deno.test("a host that has everything lacks nothing, and each id is unique", () => {
  const answers = diagnose(healthy);
  assertEquals(answers.filter(({ state, fix }) => state !== "ok" || fix !== undefined), []);
  assertEquals(answers.length, new Set(answers.map(({ id }) => id)).size);
});

Deno.test("what is missing comes with a command", () => {
  const broken: Partial<DoctorFacts> = {
    ...cgroups({
      mode: undefined,
      controllers: [],
      hostControllers: [],
      closed: ["/c"],
      swap: false,
      deviceFilterErrno: 1,
    }),
    namespaceErrnos: errnos(Errno.EPERM),
    unavailableCalls: ["clone3"],
    state: { directory: "/", isWritable: false },
    keys: { used: 1, most: 1 },
    userNamespaceLimit: 0,
  };
  const missing = diagnose({ ...healthy, ...broken }).filter(({ state }) => state === "missing");
  assert(missing.length >= 9, `${missing.length}`);
  assertEquals(missing.filter(({ fix }) => fix === undefined), []);
});

Deno.test("without root, ids and delegation count", () => {
  const poor: Partial<DoctorFacts> = {
    ...user,
    ...cgroups({ closed: ["/sys/fs/cgroup/user.slice"], controllers: [] }),
    user: { name: "someone", subordinate: { uid: [], gid: [], missingTools: [] } },
  };
  const answers = new Map(diagnose({ ...healthy, ...poor }).map((answer) => [answer.id, answer]));
  assertEquals(
    answers.get("subordinate-ids")?.fix,
    "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 someone",
  );
  const unknown = { user: { name: "someone", subordinate: { missingTools: [] } } };
  const unread = diagnose({ ...healthy, ...poor, ...unknown }).find(({ id }) => id === "subordinate-ids");
  assertEquals([unread?.state, unread?.fix], ["limited", "chmod a+rx /etc"]);
  assertEquals(answers.get("cgroup-delegation")?.fix, "systemd-run --user --scope -p Delegate=yes $SHELL");
  assert(answers.get("controller-memory")?.fix?.includes("Delegate=cpu cpuset io memory pids"));
});

Deno.test("with a bundle, only its needs are asked for, and what is off is missing", () => {
  const config = draft() as Config;
  const ids = (config: Config, facts: Partial<DoctorFacts> = {}) =>
    diagnose({ ...healthy, ...facts }, config).map(({ id }) => id);
  const plain = ids(config);
  assert(plain.includes("libseccomp"));
  for (const id of ["controller-memory", "apparmor", "criu", "systemd", "namespace-user"]) {
    assert(!plain.includes(id), id);
  }
  const rich = draft();
  withUser(rich);
  rich.linux.resources.memory = { limit: 1 } as never;
  rich.process.apparmorProfile = "x";
  rich.annotations = { "org.opencontainers.landlock.read": "/" };
  const added = ids(rich as Config).filter((id) => !plain.includes(id));
  assertEquals(added, ["namespace-user", "proc", "controller-memory", "user-namespace-limit", "apparmor", "landlock"]);
  const missing = diagnose({ ...healthy, landlockVersion: 0 }, rich as Config).filter(({ state }) =>
    state === "missing"
  );
  assertEquals(missing.map(({ id }) => id), ["landlock"]);
  assert(ids(rich as Config, user).includes("subordinate-ids"));
  assert(!ids(defaultSpec({ cgroup2: true })).includes("libseccomp"));
});

Deno.test("distributionOf() reads os-release, and installCommand() knows the package manager", () => {
  const texts = [
    "ID=debian\n",
    'NAME="x"\nID="rocky"\nID_LIKE="rhel centos fedora"\n',
    "ID=nixos\n",
    "ID=ubuntu\nID_LIKE=debian\n",
  ];
  assertEquals(texts.map(distributionOf), ["debian", "fedora", "other", "debian"]);
  assertEquals(installCommand("alpine", "uidmap"), "apk add shadow-subids");
  assertEquals(installCommand("other", "procps"), "install the package of procps");
});
