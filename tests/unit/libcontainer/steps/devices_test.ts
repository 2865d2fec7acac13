import { assert, assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { planCreate } from "../../../../lib/libcontainer/plans/create.ts";
import { deviceNumber, deviceSteps, reopenNullSteps } from "../../../../lib/libcontainer/steps/devices.ts";
import type { Config, LinuxDevice } from "../../../../lib/specs/config.ts";
import { callLines, callsNamed, labels, lines, origins, stepOf } from "../../plan_reader.ts";
import { config, facts, request } from "../fixed.ts";

const device = (changes: Partial<LinuxDevice>): LinuxDevice => ({
  path: "/dev/x",
  type: "c",
  major: 10,
  minor: 200,
  ...changes,
});
const steps = (...devices: readonly LinuxDevice[]) =>
  deviceSteps(config((draft) => draft.linux.devices = devices as never), facts);
const inUserNamespace = (...devices: readonly LinuxDevice[]) =>
  config((draft) => {
    draft.linux.devices = devices as never;
    draft.linux.namespaces.push({ type: "user", path: "" });
  });

Deno.test("deviceNumber() is the kernel's encoding", () => {
  // include/linux/kdev_t.h, new_encode_dev; as `stat -c %D` prints st_rdev's low 32 bits.
  const cases: readonly [major: number, minor: number, number: number][] = [
    [1, 3, 0x103],
    [5, 0, 0x500],
    [8, 255, 0x8ff],
    [8, 256, 0x100800],
    [259, 65536, 0x10010300],
    [4095, 1048575, 0xffffffff],
  ];
  for (const [major, minor, number] of cases) assertEquals(deviceNumber(major, minor), number);
});

Deno.test("the default devices are there, all 0666", () => {
  const made = callLines(steps()).filter((line) => line.startsWith("mknodat(") && !line.includes(" 0100000,"));
  assertEquals(made.sort(), [
    'mknodat($dev, "full", 020666, makedev(1, 7))',
    'mknodat($dev, "null", 020666, makedev(1, 3))',
    'mknodat($dev, "random", 020666, makedev(1, 8))',
    'mknodat($dev, "tty", 020666, makedev(5, 0))',
    'mknodat($dev, "urandom", 020666, makedev(1, 9))',
    'mknodat($dev, "zero", 020666, makedev(1, 5))',
  ]);
});

Deno.test("linux.devices come in addition, or instead of a default one", () => {
  const all = steps(device({ path: "/dev//tty", major: 4, minor: 64 }), device({ path: "/dev/net/tun" }));
  const listed = origins(all).filter(([, from]) => from !== "");
  assertEquals(listed, [["make /dev/tty", "/linux/devices/0"], ["make /dev/net/tun", "/linux/devices/1"]]);
  assertEquals(labels(all).filter((label) => label === "make /dev/tty").length, 1);
  assert(callLines(all).includes('mknodat($device_directory, "tun", 020666, makedev(10, 200))'));
  assert(callLines([stepOf(all, "make /dev/net/tun")]).includes('mkdirat($parent, "net", 0755)'));
});

Deno.test("types and modes of nodes", () => {
  const cases: readonly [changes: Partial<LinuxDevice>, call: string][] = [
    [{ type: "c" }, 'mknodat($dev, "x", 020666, makedev(10, 200))'],
    [{ type: "u" }, 'mknodat($dev, "x", 020666, makedev(10, 200))'],
    [{ type: "b" }, 'mknodat($dev, "x", 060666, makedev(10, 200))'],
    // A fifo has no numbers.
    [{ type: "p" }, 'mknodat($dev, "x", 010666, makedev(0, 0))'],
    [{ fileMode: 0o600 }, 'mknodat($dev, "x", 020600, makedev(10, 200))'],
    [{ fileMode: 0 }, 'mknodat($dev, "x", 020000, makedev(10, 200))'],
    // File type bits in fileMode do not count.
    [{ fileMode: 0o60640, type: "c" }, 'mknodat($dev, "x", 020640, makedev(10, 200))'],
  ];
  for (const [changes, call] of cases) {
    const [found] = callLines(steps(device(changes))).filter((line) => line.startsWith("mknodat("));
    assertEquals(found, call);
  }
  const error = assertThrows(
    () => steps(device({ type: "x" })),
    RuncError,
    "x is not a valid device type for device /dev/x",
  );
  assertEquals([error.code, error.field], ["config-invalid", "/linux/devices/0/type"]);
});

Deno.test("device numbers that do not fit are refused", () => {
  const refused: readonly Partial<LinuxDevice>[] = [{ major: -1 }, { minor: -1 }, { major: 4096 }, { minor: 1048576 }];
  for (const changes of refused) {
    const error = assertThrows(() => steps(device(changes)), RuncError, "", JSON.stringify(changes));
    assertEquals([error.code, error.field?.startsWith("/linux/devices/0")], ["config-invalid", true]);
  }
  steps(device({ type: "p", major: -1, minor: -1 }));
});

Deno.test("a node is owned only after it was found to be the one that was made", () => {
  const [own] = [stepOf(steps(device({ uid: 5, gid: 6 })), "make /dev/x")];
  const text = lines([own!]).join("\n");
  assert(text.indexOf("statx($node") < text.indexOf('fchownat($node, "", 5, 6, AT_EMPTY_PATH)'));
  assert(text.includes("fail: new device /dev/x is not what was made"));
  const opened = callLines([own!]).filter((line) => line.startsWith('openat($dev, "x"'));
  assert(opened.some((line) => line.includes("O_PATH") && line.includes("O_NOFOLLOW")));
  assertEquals(callsNamed(steps(device({ uid: 0, gid: 0 })), "fchownat"), []);
});

Deno.test("one that exists is kept; where nodes may not be made the host's is bound", () => {
  const [make] = callsNamed([stepOf(steps(), "make /dev/null")], "mknodat");
  assertEquals([make!.tolerate, make!.onError?.map(({ errnos }) => errnos)], [["EEXIST"], [["EPERM", "EACCES"]]]);
});

Deno.test("one of linux.devices that exists is kept, and a warning tells where it is another file", () => {
  const node = stepOf(steps(device({})), "make /dev/x");
  const [make] = callsNamed([node], "mknodat");
  assertEquals([make!.tolerate, make!.onError?.map(({ errnos }) => errnos)], [[], [["EPERM", "EACCES"], ["EEXIST"]]]);
  const text = lines([node]).map((line) => line.trim());
  const from = text.indexOf("on EEXIST:");
  assertEquals(text[from + 1], '$node = openat($dev, "x", O_CLOEXEC|O_PATH|O_NOFOLLOW, 0)');
  assert(
    text.slice(from).some((line) => line.includes("warn: /dev/x is there already and is another file")),
    text.join("\n"),
  );
});

Deno.test("in a user namespace the host's nodes are bound over empty files", () => {
  const wanted = device({ path: "/dev/fuse" });
  for (
    const all of [
      deviceSteps(inUserNamespace(wanted), facts),
      deviceSteps(config(), { ...facts, inUserNamespace: true }),
    ]
  ) {
    assert(callsNamed(all, "mknodat").every(({ args }) => args[2] === 0o100000), "files, not nodes");
    assertEquals(callLines([stepOf(all, "make /dev/null")]), [
      'open_tree(AT_FDCWD, "/dev/null", OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC)',
      'mknodat($dev, "null", 0100000, makedev(0, 0))',
      'openat2($dev, "null", {flags: O_PATH|O_CLOEXEC, resolve: RESOLVE_BENEATH|RESOLVE_NO_SYMLINKS}, 24)',
      'move_mount($copy, "", $node, "", MOVE_MOUNT_F_EMPTY_PATH|MOVE_MOUNT_T_EMPTY_PATH)',
      "close($copy)",
      "close($node)",
    ]);
  }
});

Deno.test("/dev/ptmx is a link, whatever linux.devices says", () => {
  const all = steps(device({ path: "/dev/ptmx", major: 5, minor: 2 }));
  assert(!labels(all).includes("make /dev/ptmx"));
  const links = callLines([stepOf(all, "make the links in /dev and close /dev")]);
  assertEquals(links.slice(0, 2), ['unlinkat($dev, "ptmx", 0)', 'symlinkat("pts/ptmx", $dev, "ptmx")']);
});

Deno.test("/dev has the links of the runtime-spec, core only where the kernel has it", () => {
  const links = (kcore: boolean) =>
    callLines(deviceSteps(config(), { ...facts, kcore })).filter((line) => line.startsWith("symlinkat(")).slice(1);
  const always = [
    'symlinkat("/proc/self/fd", $dev, "fd")',
    'symlinkat("/proc/self/fd/0", $dev, "stdin")',
    'symlinkat("/proc/self/fd/1", $dev, "stdout")',
    'symlinkat("/proc/self/fd/2", $dev, "stderr")',
  ];
  assertEquals([links(false), links(true)], [always, [...always, 'symlinkat("/proc/kcore", $dev, "core")']]);
});

Deno.test("a /dev that is a bind mount stays as it is", () => {
  const bound = config((draft) => {
    draft.linux.devices = [device({})] as never;
    draft.mounts = [{ destination: "/dev/", source: "/dev", options: ["rbind"] }] as never;
  });
  const filling = (spec: Config) =>
    labels(planCreate(spec, facts, request).init).filter((label) =>
      /^open \/dev |^make (\/dev\/(?!console)|the links)|the container's \/dev\/null (and|if)/.test(label)
    );
  assertEquals(filling(bound), []);
  // The directory, six devices, the links, /dev/null for three descriptors.
  assertEquals(filling(config()).length, 1 + 6 + 1 + 1 + 3);
});

Deno.test("stdio that is the host's /dev/null becomes the container's, which is verified", () => {
  const all = reopenNullSteps(facts);
  assertEquals(callsNamed(all, "dup3").map(({ args }) => args[1]), [0, 1, 2]);
  assertEquals(
    callLines(all)[0],
    'openat2(AT_FDCWD, "/dev/null", {flags: O_RDWR|O_CLOEXEC, resolve: RESOLVE_NO_MAGICLINKS}, 24)',
  );
  assert(lines(all).some((line) => line.includes("fail: can't reopen /dev/null: container's /dev/null is invalid")));
});
