/** Landlock by annotations: what the process reaches is what was named. Needs a kernel with Landlock; without it they fail. */

import { assertEquals, assertMatch } from "@std/assert";
import { comparing, type TestConfig } from "../integration/harness.ts";

const annotation = (name: string) => `org.opencontainers.landlock.${name}`;

const restricted = (config: TestConfig) => {
  config.process.noNewPrivileges = true;
  config.root.readonly = false;
  config.annotations = {
    [annotation("execute")]: "/bin",
    [annotation("read")]: "/etc/passwd:/home",
    [annotation("write")]: "/tmp:/dev/null",
  };
};

/** Tries that print what came of them. */
const script = `
try() { if "$@" >/dev/null 2>&1; then echo "$*: yes"; else echo "$*: no"; fi; }
try cat /etc/passwd
try cat /etc/group
try ls /home
try ls /
try ls /proc
try touch /tmp/a
try mkdir /tmp/b
try rm /tmp/a
try touch /home/a
try cp /bin/busybox /etc/passwd
try ln -s a /tmp/c
cp /bin/busybox /tmp/busybox 2>/dev/null || cat /bin/busybox > /tmp/busybox
chmod 755 /tmp/busybox
try /tmp/busybox true
`;

const expected = [
  "cat /etc/passwd: yes",
  "cat /etc/group: no",
  "ls /home: yes",
  "ls /: no",
  "ls /proc: no",
  "touch /tmp/a: yes",
  "mkdir /tmp/b: yes",
  "rm /tmp/a: yes",
  "touch /home/a: no",
  "cp /bin/busybox /etc/passwd: no",
  "ln -s a /tmp/c: yes",
  "/tmp/busybox true: no",
];

comparing("landlock: the process reaches what is named, as far as it is named", (box) => {
  assertEquals(box.sh(script, restricted).trimEnd().split("\n"), expected);
});

comparing("landlock: a further process is restricted as well", (box) => {
  box.startSleeping(restricted);
  assertEquals(box.must(["exec", box.id, "sh", "-c", script]).trimEnd().split("\n"), expected);
  box.remove();
});

comparing("landlock: a path that is not there, and privileges that may be gained, are errors of their own", (box) => {
  const missing = box.runRefused((config) => {
    restricted(config);
    config.annotations![annotation("read")] = "/nowhere";
  });
  assertMatch(missing.msg, /cannot open \/nowhere for org\.opencontainers\.landlock\.read: no such file or directory/);
  assertEquals(missing.field, `/annotations/${annotation("read")}`);
  const privileged = box.runRefused((config) => {
    restricted(config);
    config.process.noNewPrivileges = false;
  });
  assertEquals(privileged.msg, "runc run failed: org.opencontainers.landlock.* requires process.noNewPrivileges");
  assertEquals(privileged.field, "/process/noNewPrivileges");
});
