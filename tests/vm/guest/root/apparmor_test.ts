/** AppArmor profiles in force. Runs in the virtual machine, as root. */

import { assertEquals, assertMatch } from "@std/assert";
import { boxTest, comparing, execute } from "../../../integration/harness.ts";

const PROFILE = "runc-test";

/** Everything is allowed but one thing. */
const policy = `profile ${PROFILE} flags=(attach_disconnected,mediate_deleted) {
  file,
  capability,
  mount,
  umount,
  pivot_root,
  signal,
  ptrace,
  unix,
  network,
  deny /etc/group r,
}
`;

function load(): void {
  const { code, stderr } = execute(["/usr/sbin/apparmor_parser", "--replace", "--skip-cache"], { stdin: policy });
  assertEquals(code, 0, stderr);
}

const script = "cat /proc/self/attr/current; cat /etc/group 2>&-; cat /etc/passwd | wc -l";
const confined = `${PROFILE} (enforce)\n2\n`;

comparing("the program is confined by the profile that config.json names", (box) => {
  load();
  assertEquals(box.sh(script, (config) => config.process.apparmorProfile = PROFILE), confined);
});

boxTest("a process of exec is confined by the container's profile, or by its own", (box) => {
  load();
  box.startSleeping((config) => config.process.apparmorProfile = PROFILE);
  assertEquals(box.must(["exec", box.id, "sh", "-c", script]), confined);
  box.remove();
  box.startSleeping();
  assertEquals(box.must(["exec", "--apparmor", PROFILE, box.id, "sh", "-c", script]), confined);
  assertMatch(box.must(["exec", box.id, "cat", "/proc/self/attr/current"]), /^unconfined$/m);
  box.remove();
});
