import { assert, assertEquals } from "@std/assert";
import { defaultSpec } from "../../../../lib/specs/default_spec.ts";
import { parseConfig } from "../../../../lib/specs/parse.ts";
import { seccompProfile } from "../../../../lib/sandbox/config/seccomp_profile.ts";

const namesOf = (capabilities?: readonly string[]) =>
  (seccompProfile("x86_64", capabilities).syscalls ?? []).filter(({ action }) => action === "SCMP_ACT_ALLOW")
    .flatMap(({ names }) => names);

/** Calls that change the host, leave the sandbox, or are refused for their bugs. */
const dangerous = `acct add_key adjtimex bpf chroot clock_adjtime clock_settime clone3 create_module delete_module
  fanotify_init finit_module fsconfig fsmount fsopen fspick get_kernel_syms init_module io_uring_enter io_uring_register
  io_uring_setup ioperm iopl kexec_file_load kexec_load keyctl lookup_dcookie mbind memfd_secret migrate_pages mount
  mount_setattr move_mount move_pages name_to_handle_at nfsservctl open_by_handle_at open_tree perf_event_open pivot_root
  quotactl quotactl_fd reboot request_key set_mempolicy setdomainname sethostname setns settimeofday socketcall stime
  swapoff swapon syslog umount umount2 unshare uselib userfaultfd ustat vhangup vm86 vm86old vmsplice`.trim().split(
  /\s+/,
);

Deno.test("the profile is a valid part of config.json", () => {
  const config = defaultSpec({ cgroup2: true });
  for (const arch of ["x86_64", "aarch64"] as const) {
    const seccomp = seccompProfile(arch);
    const read = parseConfig(JSON.stringify({ ...config, linux: { ...config.linux, seccomp } }));
    assertEquals(read.linux?.seccomp, seccomp);
  }
  assertEquals(seccompProfile("aarch64").architectures, ["SCMP_ARCH_AARCH64"]);
});

Deno.test("the profile allows nothing dangerous, and no call twice without a condition", () => {
  const names = namesOf();
  assertEquals(dangerous.filter((name) => names.includes(name)), []);
  const [first] = seccompProfile("x86_64").syscalls!;
  assertEquals(first!.names.length, new Set(first!.names).size);
  assert(names.length > 250, `${names.length} calls`);
});

Deno.test("socket, personality and clone are allowed with some arguments only", () => {
  const rules = seccompProfile("x86_64").syscalls!;
  const valuesOf = (name: string) =>
    rules.filter(({ names }) => names.includes(name)).map(({ args }) => args?.[0]?.value);
  assertEquals(valuesOf("socket"), [1, 2, 10, 16]);
  assertEquals(valuesOf("personality"), [0, 8, 0x20000, 0x20008, 0xffffffff]);
  assertEquals(valuesOf("clone"), [0x7e020000]);
  assertEquals(rules.find(({ names }) => names.includes("clone3"))?.errnoRet, 38);
});

Deno.test("a capability brings the calls that it is for, and no others", () => {
  assertEquals(namesOf(["CAP_CHOWN"]), namesOf());
  assertEquals(namesOf(["CAP_SYS_CHROOT"]).filter((name) => !namesOf().includes(name)), ["chroot"]);
  const admin = namesOf(["CAP_SYS_ADMIN"]);
  for (const name of ["mount", "unshare", "clone3"]) assert(admin.includes(name), name);
  assert(!admin.includes("bpf"));
});
