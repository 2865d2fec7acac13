// What runc sends was read from Debian's runc 1.1.5 with strace, and decoded by protoc, for the same container. Only the
// cgroups differ: runc shows the restored container those of its own caller.
import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { requireExternalNamespaces } from "../../../../lib/libcontainer/checkpoint/external.ts";
import { type RestoreFacts, restoreRequest } from "../../../../lib/libcontainer/checkpoint/restore_request.ts";
import { CgMode, ReqType } from "../../../../lib/libcontainer/checkpoint/rpc.ts";
import { state } from "./states.ts";

const facts: RestoreFacts = {
  version: 40_200,
  resolve: (path) => path,
  cgroupBinds: [{ name: "cpu,cpuacct", source: "/sys/fs/cgroup/cpu,cpuacct/box" }],
  namespaces: [],
  isRoot: true,
  imagesDirFd: 7,
  root: "/run/runc/box/criu-root",
  descriptors: ["/dev/null", "/dev/null", "/dev/null"],
  cgroups: [
    { controllers: ["cpu", "cpuacct"], path: "/box" },
    { controllers: ["name=systemd"], path: "/box" },
    { controllers: [], path: "/box2" },
  ],
};
const options = { imagePath: "/images" };
const devices = ["null", "random", "full", "tty", "zero", "urandom", "fuse"]
  .map((name) => ({ key: `/dev/${name}`, val: `/dev/${name}` }));

Deno.test("restoreRequest() asks for what runc asks for, with the container's own cgroups", () => {
  assertEquals(restoreRequest(state(), options, facts), {
    type: ReqType.RESTORE,
    opts: {
      images_dir_fd: 7,
      work_dir_fd: undefined,
      evasive_devices: true,
      log_level: 4,
      log_file: "restore.log",
      rst_sibling: true,
      root: "/run/runc/box/criu-root",
      manage_cgroups: true,
      manage_cgroups_mode: CgMode.DEFAULT,
      notify_scripts: true,
      shell_job: false,
      ext_unix_sk: false,
      tcp_established: false,
      file_locks: false,
      empty_ns: 0x40000000,
      orphan_pts_master: true,
      auto_dedup: false,
      lazy_pages: false,
      lsm_profile: undefined,
      lsm_mount_context: undefined,
      config_file: "/etc/criu/runc.conf",
      join_ns: [],
      inherit_fd: [],
      ext_mnt: [
        { key: "/sys/fs/cgroup/cpu,cpuacct", val: "/sys/fs/cgroup/cpu,cpuacct/box" },
        { key: "/data", val: "/srv/bundle/data" },
        { key: "/dev/null", val: "/dev/null" },
        ...devices,
      ],
      cg_root: [
        { ctrl: "cpu", path: "/box" },
        { ctrl: "cpuacct", path: "/box" },
        { ctrl: "name=systemd", path: "/box" },
        { ctrl: "", path: "/box2" },
      ],
    },
  });
});

Deno.test("the streams that were pipes are those of the caller", () => {
  const { opts } = restoreRequest(state(), options, { ...facts, descriptors: ["pipe:[5]", "/dev/null", "pipe:[6]"] });
  assertEquals(opts!.inherit_fd, [{ key: "pipe:[5]", fd: 0 }, { key: "pipe:[6]", fd: 2 }]);
});

Deno.test("joined network and pid namespaces are descriptors behind the socket; CRIU joins the others", () => {
  const joined = state({
    namespaces: [
      { type: "NEWUTS", path: "/proc/7/ns/uts" },
      { type: "NEWNET", path: "/run/netns/pod" },
      { type: "NEWPID", path: "/proc/7/ns/pid" },
      { type: "NEWNS", path: "/proc/7/ns/mnt" },
      { type: "NEWIPC" },
    ],
  });
  const namespaces = [{ key: "extRootNetNS" }, { key: "extRootPidNS" }];
  const { opts } = restoreRequest(joined, options, { ...facts, namespaces });
  assertEquals(opts!.inherit_fd, [{ key: "extRootNetNS", fd: 4 }, { key: "extRootPidNS", fd: 5 }]);
  assertEquals(opts!.join_ns, [{ ns: "uts", ns_file: "/proc/7/ns/uts" }, { ns: "mnt", ns_file: "/proc/7/ns/mnt" }]);
  const error = assertThrows(
    () => restoreRequest(state({ namespaces: [{ type: "NEWCGROUP", path: "/x" }] }), options, facts),
    RuncError,
  );
  assertEquals([error.code, error.message], ["unsupported", "Do not know how to handle namespace NEWCGROUP"]);
});

Deno.test("a security profile needs CRIU 3.16", () => {
  const lsm = { lsmProfile: "apparmor:web", lsmMountContext: "system_u:object_r:x:s0" };
  const { opts } = restoreRequest(state(), { ...options, ...lsm }, { ...facts, version: 31_600 });
  assertEquals([opts!.lsm_profile, opts!.lsm_mount_context], [lsm.lsmProfile, lsm.lsmMountContext]);
  for (const [name, text] of [["lsmProfile", "--lsm-profile"], ["lsmMountContext", "--lsm-mount-context"]]) {
    const old = () => restoreRequest(state(), { ...options, [name!]: "x:y" }, { ...facts, version: 31_599 });
    const error = assertThrows(old, RuncError);
    assertEquals([error.code, error.message], ["host-lacks", `${text} requires at least CRIU 3.16`]);
  }
});

Deno.test("requireExternalNamespaces() refuses an old CRIU in runc's words", () => {
  requireExternalNamespaces(31_500, "checkpointing process");
  const cases = [
    [31_099, "checkpointing process", "net namespace during checkpointing process"],
    [31_499, "the restoration process", "pid namespace during the restoration process"],
  ] as const;
  for (const [version, process, what] of cases) {
    const error = assertThrows(() => requireExternalNamespaces(version, process), RuncError);
    assertEquals(error.message, `criu lacks support for external ${what} (old criu version?)`);
  }
});

Deno.test("restoreRequest() refuses names that CRIU would read as those of other mounts", () => {
  const resolve = (path: string) => path === "/data" ? "/data]:/etc" : path;
  const refused = () => restoreRequest(state(), options, { ...facts, resolve });
  assertThrows(refused, RuncError, 'a mount on "/data]:/etc" cannot be named to CRIU');
});
