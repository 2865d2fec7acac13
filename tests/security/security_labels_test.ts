/**
 * AppArmor profiles and SELinux labels where the kernel has neither: what is written is seen in the error. What is written where it has
 * them is in the unit tests, and in runc's selinux.bats.
 */

import { assertEquals, assertMatch } from "@std/assert";
import { comparing } from "../integration/harness.ts";

const LABEL = "system_u:object_r:container_file_t:s0:c4,c5";

function has(path: string): boolean {
  try {
    return Deno.statSync(path) !== undefined;
  } catch {
    return false;
  }
}

const apparmor = has("/sys/module/apparmor");
const selinux = has("/sys/fs/selinux/enforce");

comparing("apparmor: a profile that is not loaded, or no AppArmor at all, ends the start", (box) => {
  const refused = box.runRefused((config) => config.process.apparmorProfile = "runc-test-no-such-profile");
  assertMatch(
    refused.msg,
    /unable to apply apparmor profile: apparmor failed to apply profile: write \/proc\/thread-self\//,
  );
  assertEquals(refused.errno, apparmor ? "ENOENT" : "EINVAL");
  if (!apparmor) assertMatch(refused.call!, /^write\(.*"exec runc-test-no-such-profile"/);
  assertEquals([refused.field, refused.hint !== undefined], ["/process/apparmorProfile", true]);
});

comparing("apparmor: exec --apparmor, and the container's own profile for exec", (box) => {
  box.startSleeping();
  const refused = box.refused(["exec", "--apparmor", "runc-test-no-such-profile", box.id, "true"]);
  assertMatch(refused.msg, /apparmor failed to apply profile/);
  assertEquals(refused.exitCode, 255);
  assertEquals(box.must(["exec", box.id, "echo", "fine"]), "fine\n");
  box.remove();
});

if (!selinux) {
  comparing("selinux: a label is refused where it would mean nothing", (box) => {
    const message = "selinux label is specified in config, but selinux is disabled or not supported";
    assertEquals(box.runRefused((config) => config.process.selinuxLabel = LABEL).msg, `runc run failed: ${message}`);
    box.startSleeping();
    const refused = box.refused(["exec", "--process-label", LABEL, box.id, "true"]);
    assertEquals([refused.msg, refused.exitCode], [`exec failed: ${message}`, 255]);
    box.remove();
  });

  comparing("selinux: mountLabel is an option that only SELinux knows, and only where it belongs", (box) => {
    const { msg } = box.runRefused((config) => {
      config.linux.mountLabel = LABEL;
      // Those without a label pass.
      config.mounts = [
        { destination: "/proc", type: "proc", source: "proc" },
        { destination: "/sys", type: "sysfs", source: "sysfs", options: ["ro"] },
        { destination: "/dev/mqueue", type: "mqueue", source: "mqueue" },
        { destination: "/tmp", type: "tmpfs", source: "tmpfs", options: ["size=1m"] },
      ];
    });
    assertMatch(
      msg,
      /error mounting "tmpfs" to rootfs at "\/tmp": mount .*data=.*size=1m,context="system_u:.*": invalid argument/,
    );
  });
}
