/** /dev in the container: nodes, links, and which devices may be used. */

import { assertEquals, assertMatch } from "@std/assert";
import { type Box, type Change, comparing, everyone, execute, executors, withUserNamespace } from "./harness.ts";

/** Type, mode, owner and numbers of every node, and where every link leads. */
const listing = "cd /dev; stat -c '%n %F %a %u %g %t:%T' *; for name in *; do readlink $name; done; true";

comparing("nodes and links in /dev are those of Debian's runc", (box) => box.sh(listing), everyone);

comparing("the usual devices work", (box) => {
  const seen = box.sh(`echo x > /dev/null; head -c 2 /dev/zero | wc -c; head -c 3 /dev/urandom | wc -c
    head -c 4 /dev/random | wc -c; echo x 2>&1 > /dev/full || echo full; echo fd > /dev/fd/1; echo out > /dev/stdout`);
  assertEquals(seen, "2\n3\n4\nsh: write error: No space left on device\nfull\nfd\nout\n");
}, everyone);

comparing("/dev/ptmx makes terminals of the container's own devpts", (box) => {
  const seen = box.sh("readlink /dev/ptmx; ls /dev/pts; exec 3<> /dev/ptmx; ls /dev/pts");
  assertEquals(seen, "pts/ptmx\nptmx\n0\nptmx\n");
}, everyone);

const devices: Change = (config) => {
  config.linux.devices = [
    { path: "/dev/one", type: "c", major: 1, minor: 7, fileMode: 0o640, uid: 1000, gid: 5 },
    { path: "/dev/deep/two", type: "b", major: 7, minor: 300 },
    { path: "/dev/three", type: "u", major: 1, minor: 3, fileMode: 0 },
    { path: "/dev/fifo", type: "p", major: 0, minor: 0, fileMode: 0o622, gid: 1000 },
  ];
};

comparing("linux.devices are made with their type, numbers, mode and owner", (box) => {
  const seen = box.sh("cd /dev; stat -c '%n %F %a %u %g %t:%T' one deep/two three fifo", devices);
  assertEquals(
    seen,
    [
      "one character special file 640 1000 5 1:7",
      "deep/two block special file 666 0 0 7:12c",
      "three character special file 0 0 0 1:3",
      "fifo fifo 622 0 1000 0:0",
      "",
    ].join("\n"),
  );
});

comparing("a device of the config takes the place of a usual one", (box) => {
  const seen = box.sh("stat -c '%a %u %t:%T' /dev/zero", (config) => {
    config.linux.devices = [{ path: "/dev/zero", type: "c", major: 1, minor: 7, fileMode: 0o600, uid: 1000 }];
  });
  assertEquals(seen, "600 1000 1:7\n");
});

comparing("a device outside /dev is made where the config says", (box) => {
  const seen = box.sh("stat -c '%t:%T' /opt/null", (config) => {
    config.root.readonly = false;
    config.linux.devices = [{ path: "/opt/null", type: "c", major: 1, minor: 3 }];
  });
  assertEquals(seen, "1:3\n");
}, everyone);

comparing("a device's directory may be behind a dangling symlink, which leads nowhere outside", (box) => {
  Deno.symlinkSync("../../../../../made/here", `${box.rootfs}/link`);
  const seen = box.sh("stat -c '%t:%T' /made/here/deep/null; stat -c '%a %u' /made/here", (config) => {
    config.root.readonly = false;
    config.linux.devices = [
      { path: "/dev/one", type: "c", major: 1, minor: 5 },
      { path: "/link/deep/null", type: "c", major: 1, minor: 3 },
    ];
  });
  assertEquals(seen, "1:3\n755 0\n");
});

const mapped = withUserNamespace();

comparing("in a user namespace the host's devices are bound", (box) => {
  const seen = box.sh(
    "cd /dev; stat -c '%n %F %a %t:%T' full null random tty urandom zero; grep -c ' /dev/null ' /proc/self/mountinfo",
    mapped,
  );
  assertMatch(seen, /^null character special file 666 1:3$/m);
  assertMatch(seen, /\n1\n$/);
  return seen;
}, everyone);

comparing("a runtime that may not make nodes binds the host's", (box) => {
  box.write((config) =>
    config.process.args = [
      "sh",
      "-c",
      "cd /dev; stat -c '%n %F %a %t:%T' full null tty zero; grep -c ' /dev/' /proc/self/mountinfo",
    ]
  );
  const prefix = ["/usr/bin/setpriv", "--bounding-set", "-mknod"];
  const { code, stdout } = box.runc(["run", box.id], { prefix });
  assertEquals(code, 0);
  assertMatch(stdout, /^null character special file 666 1:3$/m);
  return stdout;
}, everyone);

comparing("a node that is there already stays as it is", (box) => {
  Deno.mkdirSync(`${box.rootfs}/opt`);
  Deno.writeTextFileSync(`${box.rootfs}/opt/null`, "file", { mode: 0o600 });
  execute(["/usr/bin/mknod", "-m", "640", `${box.rootfs}/opt/zero`, "c", "1", "5"]);
  const { code, stdout, stderr } = box.run((config) => {
    config.process.args = ["stat", "-c", "%F %a", "/opt/null", "/opt/zero"];
    config.linux.devices = [
      { path: "/opt/null", type: "c", major: 1, minor: 3, fileMode: 0o666, uid: 5 },
      { path: "/opt/zero", type: "c", major: 1, minor: 5, fileMode: 0o666, uid: 5 },
    ];
  });
  assertEquals([code, stdout], [0, "regular file 600\ncharacter special file 640\n"]);
  // runc says nothing.
  if (box.runtime !== "debian") {
    assertMatch(stderr, /^\S+ level=warning msg="\/opt\/null is there already and is another file [^\n]*\n$/);
  }
}, everyone);

comparing("in a user namespace what the image has in the place of a device is covered, and never opened", (box) => {
  const change: Change = (config) => {
    mapped(config);
    config.mounts = config.mounts.filter(({ destination }) => !destination.startsWith("/dev"));
    config.root.readonly = false;
    config.process.args = ["sh", "-c", "stat -c '%F %t:%T' /dev/null /dev/zero; head -c 2 /dev/zero | wc -c"];
  };
  Deno.chownSync(`${box.rootfs}/dev`, 100000, 100000);
  // Whoever opens a fifo waits for ever.
  execute(["/usr/bin/mkfifo", `${box.rootfs}/dev/null`]);
  execute(["/usr/bin/mknod", "-m", "666", `${box.rootfs}/dev/zero`, "c", "1", "3"]);
  const { code, stdout } = box.run(change);
  assertEquals([code, stdout], [0, "character special file 1:3\ncharacter special file 1:5\n2\n"]);
  Deno.removeSync(`${box.rootfs}/dev/zero`);
  Deno.symlinkSync("/etc/passwd", `${box.rootfs}/dev/zero`);
  box.write(change);
  assertMatch(box.refused(["run", box.id]).msg, /\/dev\/zero.*too many levels of symbolic links/);
});

comparing("the image's /dev/null is opened when device rules are in force: it may be any device", (box) => {
  // /dev/fuse: the usual rules allow it to nobody.
  execute(["/usr/bin/mknod", "-m", "666", `${box.rootfs}/dev/null`, "c", "10", "229"]);
  const { msg } = box.runRefused((config) => {
    config.mounts = config.mounts.filter(({ destination }) => !destination.startsWith("/dev"));
    config.root.readonly = false;
  });
  assertMatch(msg, /\/dev\/null: operation not permitted$/);
}, executors);

comparing("a type that is none is refused", (box) => {
  const { msg, field, code } = box.runRefused((config) => {
    config.linux.devices = [{ path: "/dev/x", type: "z", major: 1, minor: 3 }];
  });
  assertEquals(code, "config-invalid");
  assertMatch(msg, /z/);
  assertMatch(field ?? "none", /^\/linux\/devices\/0/);
});

comparing("where /dev is bound from the host nothing is made in it", (box) => {
  Deno.mkdirSync(`${box.directory}/dev`);
  const { code, stderr } = box.run((config) => {
    config.mounts = config.mounts.filter(({ destination }) => !destination.startsWith("/dev"));
    config.mounts.push({ destination: "/dev", type: "bind", source: `${box.directory}/dev`, options: ["bind"] });
    // A mask needs the container's /dev/null.
    config.linux.maskedPaths = [];
  });
  assertEquals([code, stderr, [...Deno.readDirSync(`${box.directory}/dev`)]], [0, "", []]);
});

comparing("a /dev of the rootfs that is a symlink to the host leads nowhere outside", (box) => {
  const trap = `${box.directory}/trap`;
  Deno.mkdirSync(trap);
  Deno.writeTextFileSync(`${trap}/ptmx`, "host\n");
  Deno.removeSync(`${box.rootfs}/dev`);
  Deno.symlinkSync(`../../../../../../..${trap}`, `${box.rootfs}/dev`);
  box.run((config) => {
    config.mounts = config.mounts.filter(({ destination }) => !destination.startsWith("/dev"));
    config.root.readonly = false;
  });
  assertEquals([...Deno.readDirSync(trap)].map(({ name }) => name), ["ptmx"]);
  assertEquals(Deno.readTextFileSync(`${trap}/ptmx`), "host\n");
});

// --- device rules --------------------------------------------------------------------------------------------------------

type Rules = NonNullable<NonNullable<Parameters<Change>[0]["linux"]["resources"]>["devices"]>;

/** Lets root make nodes, and gives it one of /dev/kmsg: 1:11, which no default rule allows. */
const withRules = (...rules: Rules): Change => (config) => {
  const all = ["CAP_MKNOD", "CAP_SYSLOG", "CAP_SYS_ADMIN"];
  config.process.capabilities = { bounding: all, permitted: all, effective: all };
  config.linux.devices = [{ path: "/dev/kmsg", type: "c", major: 1, minor: 11, fileMode: 0o600 }];
  config.linux.resources = { devices: [{ allow: false, access: "rwm" }, ...rules] };
};

/** Which ways of opening /dev/kmsg the kernel allows. */
function opens(box: Box, ...rules: Rules): string {
  return box.sh(
    "(: < /dev/kmsg) 2>/dev/null && echo read; (: > /dev/kmsg) 2>/dev/null && echo write; true",
    withRules(...rules),
  );
}

const kmsg = { allow: true, type: "c", major: 1, minor: 11 };
const ruleCases: readonly [fact: string, rules: Rules, expected: string][] = [
  ["no rule: a device that the config makes is not allowed by that", [], ""],
  ["read only", [{ ...kmsg, access: "r" }], "read\n"],
  ["read and write", [{ ...kmsg, access: "rw" }], "read\nwrite\n"],
  ["every minor number", [{ allow: true, type: "c", major: 1, access: "rw" }], "read\nwrite\n"],
  ["another number", [{ ...kmsg, minor: 12, access: "rwm" }], ""],
  ["another type", [{ ...kmsg, type: "b", access: "rwm" }], ""],
  ["allowed, then denied", [{ ...kmsg, access: "rwm" }, { ...kmsg, allow: false, access: "w" }], "read\n"],
];
for (const [fact, rules, expected] of ruleCases) {
  comparing(`device rules, ${fact}`, (box) => assertEquals(opens(box, ...rules), expected), everyone);
}

comparing("the kernel's list of allowed devices is that of Debian's runc", (box) => {
  return box.sh("cat /sys/fs/cgroup/devices/devices.list").trimEnd().split("\n").sort();
}, everyone);

comparing("an exec is under the same rules", (box) => {
  box.startSleeping(withRules({ ...kmsg, access: "r" }));
  const seen = box.must(["exec", box.id, "sh", "-c", "(: < /dev/kmsg) && echo read; (: > /dev/kmsg) 2>&1; true"]);
  assertEquals(seen, "read\nsh: can't create /dev/kmsg: Operation not permitted\n");
  box.remove();
}, everyone);

comparing("a node that the container makes of a device that is not allowed cannot be opened", (box) => {
  // /dev/kmsg: a test's own host may keep disks from everybody.
  const attack = "mknod /dev/log c 1 11 && (: < /dev/log) 2>&1 && echo opened; true";
  assertEquals(box.sh(attack, withRules({ ...kmsg, access: "rwm" })), "opened\n");
  assertEquals(box.sh(attack, withRules()), "sh: can't open /dev/log: Operation not permitted\n");
}, everyone);
