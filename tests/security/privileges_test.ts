/** What the container's process may do: what it was not given it does not get, whatever its image has. Each attack comes through where it is allowed. */

import { assertEquals, assertMatch } from "@std/assert";
import { addHostPrograms, type Box, type Change, comparing, type TestConfig } from "../integration/harness.ts";

/** The image's cat, which is root's for everybody, and a file that only root may read. */
function addSetuidProgram(box: Box): Change {
  const change = addHostPrograms(box);
  // Not busybox, which gives such a privilege back.
  Deno.copyFileSync("/usr/bin/cat", `${box.rootfs}/suid`);
  Deno.chmodSync(`${box.rootfs}/suid`, 0o4755);
  Deno.writeTextFileSync(`${box.rootfs}/secret`, "of root\n", { mode: 0o600 });
  return (config) => {
    change(config);
    config.process.user = { uid: 1000, gid: 1000 };
    config.process.args = ["/suid", "/secret"];
  };
}

comparing("with noNewPrivileges a setuid program of the image gives nothing, in exec neither", (box) => {
  const change = addSetuidProgram(box);
  const as = (noNewPrivileges: boolean): Change => (config) => {
    change(config);
    config.process.noNewPrivileges = noNewPrivileges;
  };
  assertEquals(box.run(as(false)), { code: 0, stdout: "of root\n", stderr: "" });
  const { code, stdout, stderr } = box.run(as(true));
  assertEquals([code, stdout], [1, ""]);
  assertMatch(stderr, /\/secret: Permission denied/);
  box.startSleeping((config) => {
    as(true)(config);
    config.process.args = ["sleep", "1000"];
  });
  const exec = box.runc(["exec", "--user", "1000:1000", box.id, "/suid", "/secret"]);
  assertEquals([exec.code, exec.stdout], [1, ""]);
  assertMatch(exec.stderr, /\/secret: Permission denied/);
  box.remove();
});

const withCapabilities = (config: TestConfig, ...names: string[]) => {
  config.process.noNewPrivileges = false;
  config.process.capabilities = { bounding: names, effective: names, permitted: names };
};

comparing("root has no capability that is not in the bounding set, whatever it executes, in exec neither", (box) => {
  // root's execve(2) gives all of the bounding set. capabilities(7)
  const attack = "sh -c 'mount -t tmpfs tmpfs /tmp 2>&1 && echo mounted; grep Cap /proc/self/status | sort -u'";
  const allowed = box.sh(attack, (config) => withCapabilities(config, "CAP_SYS_ADMIN"));
  assertMatch(allowed, /^mounted\n/);
  const none = "CapAmb CapBnd CapEff CapInh CapPrm".split(" ").map((name) => `${name}:\t${"0".repeat(16)}\n`).join("");
  const refused = `mount: permission denied (are you root?)\n${none}`;
  assertEquals(box.sh(attack, (config) => withCapabilities(config)), refused);
  box.startSleeping((config) => withCapabilities(config));
  assertEquals(box.must(["exec", box.id, "sh", "-c", attack]), refused);
  box.remove();
});

comparing("the caller's groups are not the container's, in exec neither", (box) => {
  const prefix = ["/usr/bin/setpriv", "--groups", "0,4242"];
  Deno.writeTextFileSync(`${box.rootfs}/secret`, "of the group\n", { mode: 0o640 });
  Deno.chownSync(`${box.rootfs}/secret`, 0, 4242);
  const attack = "id -G; cat /secret 2>&1; true";
  const as = (...additionalGids: number[]): Change => (config) => {
    config.process.user = { uid: 1000, gid: 1000, additionalGids };
  };
  assertEquals(box.sh(attack, as(4242), { prefix }), "1000 4242\nof the group\n");
  const refused = "1000\ncat: can't open '/secret': Permission denied\n";
  assertEquals(box.sh(attack, as(), { prefix }), refused);
  box.startSleeping(as());
  assertEquals(box.must(["exec", "--user", "1000:1000", box.id, "sh", "-c", attack], { prefix }), refused);
  box.remove();
});

const SYS = Deno.build.arch === "x86_64" ? { add_key: 248, keyctl: 250 } : { add_key: 217, keyctl: 219 };

comparing("the caller's keys are not the container's, in exec neither", (box) => {
  const change = addHostPrograms(box);
  // KEYCTL_JOIN_SESSION_KEYRING is 1, KEYCTL_SEARCH 10; -3 is the session keyring. keyctl(2)
  const add =
    `my ($type, $name, $secret) = ("user", "host", "secret"); syscall(${SYS.keyctl}, 1, 0) > 0 or die "$!"; ` +
    `syscall(${SYS.add_key}, $type, $name, $secret, 6, -3) > 0 or die "$!"; exec @ARGV`;
  const prefix = ["/usr/bin/perl", "-e", add];
  const attack = `my ($type, $name) = ("user", "host"); my $key = syscall(${SYS.keyctl}, 10, -3, $type, $name, 0); ` +
    'print $key > 0 ? "found\\n" : "$!\\n"';
  const command = ["perl", "-e", attack];
  box.write((config) => {
    change(config);
    config.process.args = command;
  });
  assertEquals(box.must(["run", "--no-new-keyring", box.id], { prefix }), "found\n");
  const refused = "Required key not available\n";
  assertEquals(box.must(["run", box.id], { prefix }), refused);
  box.startSleeping(change);
  assertEquals(box.must(["exec", box.id, ...command], { prefix }), refused);
  box.remove();
});
