import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import type { HostEntry } from "../../../../lib/sandbox/config/host_layout.ts";
import type { IsolationOptions, SandboxUser } from "../../../../lib/sandbox/config/options.ts";
import {
  type RootlessFacts,
  type SandboxConfig,
  sandboxConfig,
  type SandboxFacts,
  type SandboxRequest,
} from "../../../../lib/sandbox/config/sandbox_config.ts";
import { parseConfig } from "../../../../lib/specs/parse.ts";

const layout: readonly HostEntry[] = [
  { path: "/usr", kind: "directory" },
  { path: "/bin", kind: "symlink", target: "usr/bin" },
  { path: "/lib64", kind: "symlink", target: "/usr/lib64" },
  { path: "/etc/alternatives", kind: "directory" },
  { path: "/etc/ld.so.cache", kind: "file" },
  { path: "/etc/localtime", kind: "symlink", target: "/usr/share/zoneinfo/UTC" },
  { path: "/etc/mime.types", kind: "symlink", target: "../var/mime" },
  { path: "/etc/ssl/certs", kind: "directory" },
];

const facts: SandboxFacts = { arch: "x86_64", controllers: new Set(["memory", "cpu", "pids"]), openFiles: 20000 };

function make(options: IsolationOptions = {}, more: Partial<SandboxRequest> = {}): SandboxConfig {
  return sandboxConfig({
    options,
    facts,
    root: { kind: "host", layout },
    rootPath: "/roots/1",
    args: ["/bin/true"],
    ...more,
  });
}

const mountsOf = ({ config }: SandboxConfig, destination: string) =>
  (config.mounts ?? []).filter((mount) => mount.destination === destination);

const namespacesOf = ({ config }: SandboxConfig) => config.linux!.namespaces!.map(({ type }) => type);

function refusal(options: IsolationOptions): string {
  const error = assertThrows(() => make(options), RuncError);
  assertEquals(error.code, "usage");
  return error.message;
}

Deno.test("sandboxConfig() is a valid config.json, which nothing is added to", () => {
  for (const options of [{}, { network: "host" as const, capabilities: ["NET_ADMIN"], seccomp: false as const }]) {
    const { config } = make(options);
    assertEquals(parseConfig(JSON.stringify(config)), JSON.parse(JSON.stringify(config)));
  }
});

Deno.test("by default, a sandbox has no capability, no network, no root, no way to more rights", () => {
  const made = make();
  const { process, linux, root } = made.config;
  assertEquals(process!.capabilities, { bounding: [], effective: [], permitted: [], inheritable: [], ambient: [] });
  assertEquals(process!.noNewPrivileges, true);
  assertEquals(process!.user, { uid: 65534, gid: 65534 });
  assertEquals(root, { path: "/roots/1", readonly: true });
  assertEquals(namespacesOf(made), ["pid", "ipc", "uts", "mount", "cgroup", "network"]);
  assertEquals(linux!.seccomp!.defaultAction, "SCMP_ACT_ERRNO");
  assertEquals(linux!.resources, {
    devices: [{ allow: false, access: "rwm" }],
    memory: { limit: 2 ** 30, swap: 2 ** 30 },
    pids: { limit: 512 },
  });
  assertEquals(made.unlimited, []);
});

Deno.test("all that the host's root shows is read-only, without setuid and devices", () => {
  const { config } = make();
  const host = config.mounts!.filter(({ type }) => type === "none");
  assertEquals(host.map(({ destination }) => destination), [
    "/usr",
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ssl/certs",
    "/etc/mime.types",
  ]);
  for (const { source, destination, options } of host) {
    assertEquals(source, destination);
    for (const option of ["rbind", "rro", "rnosuid", "rnodev"]) {
      assert(options!.includes(option), `${destination} ${option}`);
    }
  }
});

Deno.test("the other directories are new, limited, and belong to the user", () => {
  const made = make({ disk: "1MiB", user: { uid: 5, gid: 6 } });
  for (const path of ["/tmp", "/var/tmp", "/run", "/root", "/home/sandbox"]) {
    const [mount, ...others] = mountsOf(made, path);
    assertEquals([mount?.type, others], ["tmpfs", []], path);
    for (const option of ["nosuid", "nodev", "size=1048576"]) {
      assert(mount!.options!.includes(option), `${path} ${option}`);
    }
  }
  assert(mountsOf(made, "/tmp")[0]!.options!.includes("mode=1777"));
  assert(mountsOf(made, "/home/sandbox")[0]!.options!.includes("uid=5"));
  assert(mountsOf(made, "/home/sandbox")[0]!.options!.includes("gid=6"));
});

const skeletonOf = (options: IsolationOptions = {}, more: Partial<SandboxRequest> = {}) =>
  new Map(make(options, more).skeleton.map((entry) => [entry.path, entry]));

Deno.test("the skeleton has symlinks as the host's, a place for each mount, and each parent before its children", () => {
  const skeleton = skeletonOf();
  assertEquals(skeleton.get("/bin"), { path: "/bin", kind: "symlink", target: "usr/bin" });
  assertEquals(skeleton.get("/etc/localtime")?.kind, "symlink");
  // It leads out of what is shown.
  assertEquals(skeleton.get("/etc/mime.types")?.kind, "file");
  const { config } = make();
  for (const { destination } of config.mounts!) {
    assert(skeleton.has(destination) || destination.startsWith("/dev/"), destination);
  }
  const seen = new Set([""]);
  for (const { path } of skeleton.values()) {
    assert(seen.has(path.slice(0, path.lastIndexOf("/"))), path);
    seen.add(path);
  }
});

Deno.test("the skeleton names the sandbox's users, each id once", () => {
  const users: readonly [user: IsolationOptions["user"], passwd: string, group: string][] = [
    [undefined, "root=0 sandbox=65534", "root=0 sandbox=65534 tty=5"],
    ["root", "root=0 nobody=65534", "root=0 tty=5 nogroup=65534"],
    [{ uid: 1000, gid: 5 }, "root=0 sandbox=1000 nobody=65534", "root=0 sandbox=5 nogroup=65534"],
  ];
  for (const [user, passwd, group] of users) {
    const skeleton = skeletonOf({ user });
    const idsOf = (path: string) => {
      const entry = skeleton.get(path);
      return entry?.kind === "file" && entry.content.trim().split("\n").map((line) => line.split(":"))
        .map(([name, , id]) => `${name}=${id}`).join(" ");
    };
    assertEquals([idsOf("/etc/passwd"), idsOf("/etc/group")], [passwd, group]);
  }
});

Deno.test("network: host shares the network, with its names", () => {
  const made = make({ network: "host" });
  assert(!namespacesOf(made).includes("network"));
  assertEquals(mountsOf(made, "/etc/resolv.conf").length, 1);
  assertEquals(mountsOf(make(), "/etc/resolv.conf").length, 0);
  assertMatch(refusal({ network: "bridge" as "host" }), /^network: "bridge" is not/);
});

Deno.test("limits are in the kernel's units", () => {
  const { config } = make({ memory: "64MiB", cpus: 0.5, pids: 10 });
  const { memory, cpu, pids } = config.linux!.resources!;
  assertEquals([memory, cpu, pids], [
    { limit: 67108864, swap: 67108864 },
    { quota: 50000, period: 100000 },
    { limit: 10 },
  ]);
});

Deno.test("the limit of open files is not above the caller's", () => {
  const limitOf = (openFiles: number) => {
    const { rlimits } = make({}, { facts: { ...facts, openFiles } }).config.process!;
    const found = rlimits!.find(({ type }) => type === "RLIMIT_NOFILE");
    return [found!.soft, found!.hard];
  };
  assertEquals([limitOf(2 ** 20), limitOf(20000), limitOf(256)], [[1024, 65536], [1024, 20000], [256, 256]]);
});

Deno.test("limits that the host cannot set are named", () => {
  const none = { facts: { ...facts, controllers: new Set<string>() } };
  assertEquals(make({ cpus: 1 }, none).unlimited, ["memory", "pids", "cpus"]);
  assertEquals(make({}, none).unlimited, ["memory", "pids"]);
  assertEquals(Object.keys(make({}, none).config.linux!.resources!), ["devices"]);
});

Deno.test("capabilities are those that are named, also for a user who is not root", () => {
  const own = make({ capabilities: ["NET_BIND_SERVICE", "CAP_CHOWN"] }).config.process!.capabilities!;
  for (const set of Object.values(own)) assertEquals(set, ["CAP_NET_BIND_SERVICE", "CAP_CHOWN"]);
  const root = make({ capabilities: ["CHOWN"], user: "root" }).config.process!.capabilities!;
  assertEquals([root.effective, root.ambient, root.inheritable], [["CAP_CHOWN"], [], []]);
  assertMatch(refusal({ capabilities: ["ALL"] }), /^capabilities: "ALL" is not a capability/);
});

Deno.test("seccomp: the profile follows the capabilities, another one replaces it, false is none", () => {
  const names = (options: IsolationOptions) =>
    make(options).config.linux!.seccomp?.syscalls?.flatMap((rule) => rule.names);
  assert(!names({})!.includes("mount"));
  assert(names({ capabilities: ["SYS_ADMIN"] })!.includes("mount"));
  const own = { defaultAction: "SCMP_ACT_ALLOW" };
  assertEquals(make({ seccomp: own }).config.linux!.seccomp, own);
  assertEquals(make({ seccomp: false }).config.linux!.seccomp, undefined);
});

Deno.test("mounts are read-only unless they say otherwise, and cover what is there", () => {
  const sources = new Map([["/host/file", "file" as const]]);
  const mounts = [
    { source: "/host/data", target: "/data" },
    { source: "/host/out", target: "/work/out", readonly: false },
    { source: "/host/file", target: "/etc/tool.conf" },
    { source: "/host/bin", target: "/usr/local/bin" },
    { source: "/host/tmp", target: "/tmp/in" },
  ];
  const made = make({ mounts }, { facts: { ...facts, sources } });
  const [data, out] = [mountsOf(made, "/data")[0]!, mountsOf(made, "/work/out")[0]!];
  assert(data.options!.includes("rro") && !out.options!.includes("rro"));
  for (const mount of [data, out]) assert(mount.options!.includes("rnosuid") && mount.options!.includes("rnodev"));
  assertEquals(made.config.mounts!.slice(-5).map(({ destination }) => destination), mounts.map(({ target }) => target));
  const skeleton = new Map(made.skeleton.map(({ path, kind }) => [path, kind]));
  const kinds = ["/data", "/work/out", "/etc/tool.conf", "/usr/local/bin", "/tmp/in"].map((path) => skeleton.get(path));
  assertEquals(kinds, ["directory", "directory", "file", undefined, undefined]);
});

const badMounts: readonly [source: string, target: string][] = [
  ["relative", "/a"],
  ["/a/../b", "/a"],
  ["/a", "a"],
  ["/a", "/"],
  ["/a", "/b/.."],
  ["/a", "/proc"],
  ["/a", "/proc/sys"],
  ["/a", "/dev/null"],
  ["/a", "/sys/x"],
  ["/a", "/a/"],
  ["/a\0", "/a"],
];

Deno.test("mounts with paths that are not clean, or on /proc, /dev and /sys, are refused", () => {
  for (const [source, target] of badMounts) assertMatch(refusal({ mounts: [{ source, target }] }), /^mounts: /);
});

Deno.test("options of the wrong kind are refused by name", () => {
  const rows: readonly [options: IsolationOptions, name: string][] = [
    [{ memory: "many" }, "memory"],
    [{ disk: 0 }, "disk"],
    [{ cpus: 0 }, "cpus"],
    [{ cpus: NaN }, "cpus"],
    [{ pids: 0.5 }, "pids"],
    [{ user: { uid: -1, gid: 0 } }, "user"],
    [{ user: { uid: 0, gid: 2 ** 32 } }, "user"],
    [{ env: { "A=B": "c" } }, "env"],
    [{ env: { A: "\0" } }, "env"],
    [{ readonly: false }, "readonly"],
  ];
  for (const [options, name] of rows) assert(refusal(options).startsWith(`${name}: `), name);
});

Deno.test("the environment is the sandbox's own, with what is asked for", () => {
  const { env, cwd } = make({ env: { A: "b=c", LANG: "de" } }).config.process!;
  assertEquals(env, [
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME=/home/sandbox",
    "LANG=de",
    "A=b=c",
  ]);
  assertEquals([cwd, make({ cwd: "/tmp" }).config.process!.cwd], ["/home/sandbox", "/tmp"]);
  assertEquals(make({ user: "root" }).config.process!.cwd, "/root");
});

const rootless: RootlessFacts = { uid: 1000, gid: 1001 };
const withRanges: RootlessFacts = {
  ...rootless,
  subuids: { first: 100000, count: 65536 },
  subgids: { first: 200000, count: 65536 },
};

Deno.test("without root, one id: the caller is 0 in a user namespace, and no other id is used", () => {
  const made = make({}, { facts: { ...facts, rootless } });
  const { linux, process } = made.config;
  assert(namespacesOf(made).includes("user"));
  assertEquals(linux!.uidMappings, [{ containerID: 0, hostID: 1000, size: 1 }]);
  assertEquals(linux!.gidMappings, [{ containerID: 0, hostID: 1001, size: 1 }]);
  assertEquals(process!.user, { uid: 0, gid: 0 });
  const options = made.config.mounts!.flatMap((mount) => mount.options ?? []);
  assertEquals(options.filter((option) => /^[ug]id=/.test(option) && !/=0$/.test(option)), []);
});

Deno.test("without root, a user beyond the ranges is an error, whoever asks for it", () => {
  const rootless: RootlessFacts = {
    uid: 1000,
    gid: 100,
    subuids: { first: 1, count: 10 },
    subgids: { first: 1, count: 20 },
  };
  const users: readonly [SandboxUser, boolean][] = [
    [{ uid: 10, gid: 20 }, true],
    [{ uid: 11, gid: 20 }, false],
    [{ uid: 10, gid: 21 }, false],
    [{ uid: 10, gid: 20, additionalGids: [21] }, false],
  ];
  for (const [user, isThere] of users) {
    const image = { facts: { ...facts, rootless }, root: { kind: "directory" as const, user } };
    for (const attempt of [() => make({}, image), () => make({ user }, { facts: { ...facts, rootless } })]) {
      if (isThere) assertEquals(attempt().config.process!.user, user);
      else assertEquals(assertThrows(attempt, RuncError).code, "host-lacks");
    }
  }
  assertThrows(() => make({ user: { uid: 1, gid: 0 } }, { facts: { ...facts, rootless: { uid: 1000, gid: 100 } } }));
});

Deno.test("without root, with ranges: the user is nobody, or the highest id", () => {
  const made = make({}, { facts: { ...facts, rootless: withRanges } });
  assertEquals(made.config.linux!.uidMappings, [
    { containerID: 0, hostID: 1000, size: 1 },
    { containerID: 1, hostID: 100000, size: 65536 },
  ]);
  assertEquals(made.config.process!.user, { uid: 65534, gid: 65534 });
  assert(mountsOf(made, "/dev/pts")[0]!.options!.includes("gid=5"));
  const small = { ...rootless, subuids: { first: 100000, count: 10 }, subgids: { first: 200000, count: 3 } };
  const few = make({}, { facts: { ...facts, rootless: small } });
  assertEquals(few.config.process!.user, { uid: 10, gid: 3 });
  assert(!mountsOf(few, "/dev/pts")[0]!.options!.includes("gid=5"));
});

Deno.test("a directory as root has the image's defaults, and is not written to unless that is asked for", () => {
  const root = { kind: "directory" as const, user: { uid: 7, gid: 8 }, env: ["PATH=/x", "A=b"], cwd: "/w" };
  const made = make({ env: { A: "c" } }, { root });
  const { user, env, cwd } = made.config.process!;
  assertEquals([user, env, cwd], [{ uid: 7, gid: 8 }, ["PATH=/x", "A=c"], "/w"]);
  assertEquals([made.skeleton, made.config.root!.readonly], [[], true]);
  assertEquals(make({ readonly: false }, { root }).config.root!.readonly, false);
  assertEquals(make({ user: { uid: 1, gid: 1 } }, { root }).config.process!.user.uid, 1);
});
