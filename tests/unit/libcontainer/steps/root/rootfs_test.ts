import { assert, assertEquals } from "@std/assert";
import {
  enterRootSteps,
  prepareRootSteps,
  readonlyRootSteps,
  workingDirectorySteps,
} from "../../../../../lib/libcontainer/steps/root/rootfs.ts";
import { callLines, callsNamed, labels, lines, origins, structArg, structHex } from "../../../plan_reader.ts";
import { config, facts, request } from "../../fixed.ts";

const having = (rootfsPropagation: string | undefined) =>
  config((draft) => Object.assign(draft.linux, { rootfsPropagation }));
const withoutMounts = config((draft) => {
  draft.linux.namespaces = draft.linux.namespaces.filter(({ type }) => type !== "mount");
});

Deno.test("rootfsPropagation: before mounting on the host's tree, and afterwards on the new root where it is not private", () => {
  const cases: readonly [value: string | undefined, before: string, after: readonly string[]][] = [
    [undefined, "MS_REC|MS_SLAVE", []],
    ["", "MS_REC|MS_SLAVE", []],
    ["private", "MS_PRIVATE", []],
    ["rprivate", "MS_REC|MS_PRIVATE", []],
    ["slave", "MS_SLAVE", ["MS_SLAVE"]],
    ["rslave", "MS_REC|MS_SLAVE", ["MS_REC|MS_SLAVE"]],
    ["shared", "MS_SHARED", ["MS_SHARED"]],
    ["rshared", "MS_REC|MS_SHARED", ["MS_REC|MS_SHARED"]],
    ["unbindable", "MS_UNBINDABLE", ["MS_UNBINDABLE"]],
    ["runbindable", "MS_REC|MS_UNBINDABLE", ["MS_REC|MS_UNBINDABLE"]],
  ];
  for (const [value, before, after] of cases) {
    const [isolate] = prepareRootSteps(having(value), request);
    assertEquals(lines([isolate!])[0], `mount(NULL, "/", NULL, ${before}, NULL)`, value);
    const last = enterRootSteps(having(value), facts, request).slice(1);
    assertEquals(callLines(last), after.map((flags) => `mount(NULL, "/", NULL, ${flags}, NULL)`), value);
  }
});

Deno.test("the mount that the rootfs lies on becomes private: the nearest ancestor that is a mount point", () => {
  const [isolate] = prepareRootSteps(config(), { ...request, rootfs: "/a/b" });
  assertEquals(lines([isolate!]).slice(1), [
    'mount(NULL, "/a/b", NULL, MS_PRIVATE, NULL)',
    "on EINVAL:",
    '  mount(NULL, "/a", NULL, MS_PRIVATE, NULL)',
    "  on EINVAL:",
    '    mount(NULL, "/", NULL, MS_PRIVATE, NULL)',
  ]);
});

Deno.test("the rootfs becomes a mount of its own, with what lies below", () => {
  const [, take] = prepareRootSteps(config(), request);
  assertEquals(origins([take!]), [["bind /bundle/rootfs on itself and keep it open as the root", "/root/path"]]);
  assertEquals(callLines([take!]), [
    'open_tree(AT_FDCWD, "/bundle/rootfs", OPEN_TREE_CLONE|AT_RECURSIVE|OPEN_TREE_CLOEXEC)',
    'move_mount($root, "", AT_FDCWD, "/bundle/rootfs", MOVE_MOUNT_F_EMPTY_PATH)',
  ]);
});

Deno.test("the root is entered by pivot_root, and the old one is unmounted where the host does not see it", () => {
  const calls = callLines(enterRootSteps(config(), facts, request));
  assertEquals(calls.slice(1, 6), [
    "fchdir($root)",
    'pivot_root(".", ".")',
    "fchdir($old_root)",
    'mount(NULL, ".", NULL, MS_REC|MS_SLAVE, NULL)',
    'umount2(".", MNT_DETACH)',
  ]);
  assertEquals(calls.at(-1), 'chdir("/")');
});

Deno.test("without pivot_root whole procfs and sysfs mounts are unmounted or covered, then the rootfs is moved", () => {
  const steps = enterRootSteps(config(), { ...facts, fullProcMounts: ["/proc", "/srv/sys"] }, {
    ...request,
    noPivot: true,
  });
  assertEquals(labels(steps), [
    "unmount /proc or cover it with a tmpfs",
    "unmount /srv/sys or cover it with a tmpfs",
    "move the rootfs over the root, enter it by chroot and close it",
  ]);
  assertEquals(lines(steps.slice(1)), [
    'mount(NULL, "/srv/sys", NULL, MS_REC|MS_SLAVE, NULL)  /* step is done if ENOENT, EINVAL */',
    'umount2("/srv/sys", MNT_DETACH)',
    "on EINVAL, EPERM:",
    '  mount("tmpfs", "/srv/sys", "tmpfs", 0, NULL)',
    "fchdir($root)",
    'mount("/bundle/rootfs", "/", NULL, MS_MOVE, NULL)',
    'chroot(".")',
    "close($root)",
    'chdir("/")',
  ]);
});

Deno.test("without a mount namespace the rootfs is a private mount and entered by chroot, and no mount of the host is touched", () => {
  assertEquals(callLines(prepareRootSteps(withoutMounts, request)), [
    'open_tree(AT_FDCWD, "/bundle/rootfs", OPEN_TREE_CLONE|AT_RECURSIVE|OPEN_TREE_CLOEXEC)',
    'mount_setattr($root, "", AT_EMPTY_PATH|AT_RECURSIVE, {propagation: MS_PRIVATE}, 32)',
    'move_mount($root, "", AT_FDCWD, "/bundle/rootfs", MOVE_MOUNT_F_EMPTY_PATH)',
  ]);
  for (const noPivot of [false, true]) {
    const steps = enterRootSteps(withoutMounts, { ...facts, fullProcMounts: ["/proc"] }, { ...request, noPivot });
    assertEquals(callLines(steps), ["fchdir($root)", 'chroot(".")', "close($root)", 'chdir("/")']);
  }
});

Deno.test("a joined mount namespace is pivoted too", () => {
  const joined = config((draft) => {
    draft.linux.namespaces = [{ type: "mount", path: "/proc/1/ns/mnt" }];
  });
  assertEquals(labels(enterRootSteps(joined, facts, request)), [
    "make the rootfs the root, detach the old root and close both",
  ]);
  assertEquals(callsNamed(enterRootSteps(joined, facts, request), "pivot_root").length, 1);
});

Deno.test("root.readonly is set on the root's mount alone", () => {
  assertEquals(readonlyRootSteps(config((draft) => draft.root.readonly = false)), []);
  const [step] = readonlyRootSteps(config());
  assertEquals(step!.from, "/root/readonly");
  const [call] = callsNamed([step!], "mount_setattr");
  assertEquals(call!.args.slice(0, 3), [-100, { data: "text", text: "/" }, 0]);
  assertEquals(structHex(structArg(call!, 3)), ["01000000", ...Array(7).fill("00000000")].join(" "));
});

Deno.test("a missing working directory is made with its parents, beneath a descriptor of the root", () => {
  const steps = (cwd: string) => workingDirectorySteps(cwd, "x86_64");
  assertEquals(steps("/"), []);
  const made = (cwd: string) => callsNamed(steps(cwd), "mkdirat");
  const paths = (cwd: string) => callLines([{ label: "", from: "", ops: made(cwd) }]);
  assertEquals(paths("/a/b"), ['mkdirat($parent, "a", 0755)', 'mkdirat($parent, "b", 0755)']);
  assertEquals(paths("/a/../b/"), ['mkdirat($parent, "b", 0755)']);
  assert(made("/a").every(({ tolerate }) => tolerate?.includes("EEXIST")));
  const [look] = callsNamed(steps("/a"), "faccessat");
  assertEquals([look!.tolerate, look!.onError?.map(({ errnos }) => errnos)], [["EACCES"], [["ENOENT"]]]);
  // RESOLVE_IN_ROOT follows no link of /proc to a descriptor. openat2(2)
  const opened = callsNamed(steps("/a/b"), "openat2");
  assertEquals(opened.map(({ args }) => (args[1] as { text: string }).text), ["/", "/a", "/a/b"]);
  for (const call of opened) assertEquals(structHex(structArg(call, 2)).split(" ").slice(4), ["10000000", "00000000"]);
});
