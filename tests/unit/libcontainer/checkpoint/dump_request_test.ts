// What runc sends was read from Debian's runc 1.1.5 with strace, and decoded by protoc, for the same container.
import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { type DumpFacts, dumpRequest } from "../../../../lib/libcontainer/checkpoint/dump_request.ts";
import { externalNamespaces } from "../../../../lib/libcontainer/checkpoint/external.ts";
import { CgMode, ReqType } from "../../../../lib/libcontainer/checkpoint/rpc.ts";
import { state } from "./states.ts";

const facts: DumpFacts = {
  resolve: (path) => path,
  cgroupBinds: [
    { name: "cpu,cpuacct", source: "/sys/fs/cgroup/cpu,cpuacct/box" },
    { name: "systemd", source: "/sys/fs/cgroup/systemd/box" },
  ],
  namespaces: [],
  isRoot: true,
  imagesDirFd: 7,
  maskedFiles: ["/proc/kcore"],
};
const options = { imagePath: "/images" };
const same = (...paths: readonly string[]) => paths.map((path) => ({ key: path, val: path }));
const devices = same("/dev/null", "/dev/random", "/dev/full", "/dev/tty", "/dev/zero", "/dev/urandom", "/dev/fuse");

Deno.test("dumpRequest() asks for what runc asks for", () => {
  assertEquals(dumpRequest(state(), options, facts), {
    type: ReqType.DUMP,
    opts: {
      images_dir_fd: 7,
      work_dir_fd: undefined,
      log_level: 4,
      log_file: "dump.log",
      root: "/srv/bundle/rootfs",
      manage_cgroups: true,
      manage_cgroups_mode: CgMode.DEFAULT,
      notify_scripts: true,
      pid: 5177,
      shell_job: false,
      leave_running: false,
      tcp_established: false,
      tcp_skip_in_flight: false,
      link_remap: false,
      ext_unix_sk: false,
      file_locks: false,
      empty_ns: 0x40000000,
      orphan_pts_master: true,
      auto_dedup: false,
      lazy_pages: false,
      config_file: "/etc/criu/runc.conf",
      external: [],
      freeze_cgroup: "/sys/fs/cgroup/freezer/runc-helper-c-test",
      ext_mnt: [
        ...same("/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/systemd", "/data"),
        { key: "/proc/kcore", val: "/dev/null" },
        ...devices,
      ],
    },
  });
});

Deno.test("dumpRequest() passes each option on", () => {
  const all = {
    imagePath: "/images",
    leaveRunning: true,
    tcpEstablished: true,
    tcpSkipInFlight: true,
    linkRemap: true,
    externalUnixSockets: true,
    shellJob: true,
    fileLocks: true,
    autoDedup: true,
    lazyPages: true,
    manageCgroupsMode: "strict",
    parentPath: "../before",
    pageServer: { address: "::1", port: 27277 },
  };
  const { opts } = dumpRequest(state(), all, { ...facts, workDirFd: 9 });
  const { opts: usual } = dumpRequest(state(), options, facts);
  const changed = Object.fromEntries(
    Object.entries(opts!).filter(([name, value]) => value !== usual![name as keyof typeof opts]),
  );
  const { external: _, ext_mnt: __, ...scalars } = changed;
  assertEquals(scalars, {
    work_dir_fd: 9,
    manage_cgroups_mode: CgMode.STRICT,
    shell_job: true,
    leave_running: true,
    tcp_established: true,
    tcp_skip_in_flight: true,
    link_remap: true,
    ext_unix_sk: true,
    file_locks: true,
    auto_dedup: true,
    lazy_pages: true,
    parent_img: "../before",
    track_mem: true,
    ps: { address: "::1", port: 27277 },
  });
});

Deno.test("a pre-dump saves memory only: it has no mounts", () => {
  const { type, opts } = dumpRequest(state(), { ...options, preDump: true }, facts);
  assertEquals([type, opts!.ext_mnt, opts!.track_mem], [ReqType.PRE_DUMP, undefined, undefined]);
});

Deno.test("without root CRIU is told so", () => {
  const flags = [true, false].map((isRoot) => dumpRequest(state(), options, { ...facts, isRoot }).opts!.unprivileged);
  assertEquals(flags, [undefined, true]);
});

Deno.test("the modes of --manage-cgroups-mode are CRIU's; any other word is refused", () => {
  const modes = { "": CgMode.DEFAULT, soft: CgMode.SOFT, full: CgMode.FULL, ignore: CgMode.IGNORE };
  for (const [manageCgroupsMode, mode] of Object.entries(modes)) {
    assertEquals(dumpRequest(state(), { ...options, manageCgroupsMode }, facts).opts!.manage_cgroups_mode, mode);
  }
  for (const manageCgroupsMode of ["Soft", "toString", "props"]) {
    const dump = () => dumpRequest(state(), { ...options, manageCgroupsMode }, facts);
    assertThrows(dump, RuncError, "invalid manage-cgroups-mode value");
  }
});

Deno.test("the annotation org.criu.config replaces the configuration file; an empty one means none", () => {
  const fileOf = (annotation: string) =>
    dumpRequest(state({ labels: [`org.criu.config=${annotation}`] }), options, facts).opts!.config_file;
  assertEquals([fileOf("/x=y.conf"), fileOf("")], ["/x=y.conf", undefined]);
});

Deno.test("the freezer is that of v1 on a hybrid host, and the cgroup itself on v2", () => {
  const freezerOf = (cgroup_paths: Record<string, string>) =>
    dumpRequest(state({}, { cgroup_paths }), options, facts).opts!.freeze_cgroup;
  assertEquals(freezerOf({ "": "/sys/fs/cgroup/box" }), "/sys/fs/cgroup/box");
  assertEquals(freezerOf({ "": "/u/box", freezer: "/f/box" }), "/f/box");
  assertEquals(freezerOf({ "": "/u/box", cpu: "/c/box" }), undefined);
  assertEquals(freezerOf({}), undefined);
});

Deno.test("the container's own mounts of cgroups are not external: on v2, and with a cgroup namespace", () => {
  const mounts = (...args: Parameters<typeof state>) =>
    dumpRequest(state(...args), options, { ...facts, maskedFiles: [] }).opts!.ext_mnt;
  assertEquals(mounts({}, { cgroup_paths: { "": "/sys/fs/cgroup/box" } }), [...same("/data"), ...devices]);
  assertEquals(mounts({ namespaces: [{ type: "NEWCGROUP" }] }), [...same("/data"), ...devices]);
});

Deno.test("a mount's name is its place in the container: without the rootfs, and with symlinks followed", () => {
  const mounts = ["/srv/bundle/rootfs/a", "/srv/bundle/rootfs2", "conf"].map((destination) => ({
    destination,
    source: "/s",
    device: "bind",
  }));
  const resolve = (path: string) => path === "conf" ? "/real/conf" : path;
  const { opts } = dumpRequest(state({ mounts, devices: null, mask_paths: null }), options, {
    ...facts,
    maskedFiles: [],
    resolve,
  });
  assertEquals(opts!.ext_mnt, same("/a", "/srv/bundle/rootfs2", "/real/conf"));
});

Deno.test("the directory of the sd_notify proxy is external; a state of runc's lists it already", () => {
  const notify = { ...facts, maskedFiles: [], notifyDirectory: "/run/runc/box/notify" };
  const listed = { source: "/other", destination: "/run/notify", device: "bind" };
  const mounts = (...args: Parameters<typeof state>) => dumpRequest(state(...args), options, notify).opts!.ext_mnt;
  assertEquals(mounts({ mounts: [], devices: [] }), same("/run/notify"));
  assertEquals(mounts({ mounts: [listed], devices: [] }), same("/run/notify"));
});

Deno.test("joined network and pid namespaces stay outside, by the inodes of their files", () => {
  const joined = state({
    namespaces: [
      { type: "NEWPID", path: "/proc/7/ns/pid" },
      { type: "NEWNET", path: "/run/netns/pod" },
      { type: "NEWUTS", path: "/proc/7/ns/uts" },
      { type: "NEWNS" },
    ],
  });
  assertEquals(externalNamespaces(joined), [
    { kind: "net", key: "extRootNetNS", path: "/run/netns/pod" },
    { kind: "pid", key: "extRootPidNS", path: "/proc/7/ns/pid" },
  ]);
  assertEquals(externalNamespaces(state()), []);
  const namespaces = externalNamespaces(joined).map((each, index) => ({ ...each, inode: 4026531840 + index }));
  const { opts } = dumpRequest(joined, options, { ...facts, namespaces });
  assertEquals(opts!.external, ["net[4026531840]:extRootNetNS", "pid[4026531841]:extRootPidNS"]);
});

Deno.test("dumpRequest() refuses names that CRIU would read as those of other mounts", () => {
  const trap = "/data]:/etc";
  const refused = (facts: DumpFacts, text: string) =>
    assertThrows(() => dumpRequest(state(), options, facts), RuncError, `a mount on "${text}" cannot be named to CRIU`);
  refused({ ...facts, resolve: (path) => path === "/data" ? trap : path }, trap);
  refused({ ...facts, resolve: (path) => path === "/dev/null" ? trap : path }, trap);
  refused({ ...facts, maskedFiles: [trap] }, trap);
});
