/** Containers of a user who is not root, managed by that user's own systemd. Runs in the virtual machine. */

import { assertEquals } from "@std/assert";
import { type Box, boxTest, execute } from "../../../integration/harness.ts";
import { cgroupOf, rootless } from "./rootless.ts";

const session = Object.fromEntries(
  ["XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"].map((name) => [name, Deno.env.get(name)!]),
);

const isLoaded = (unit: string) =>
  execute(["/usr/bin/systemctl", "--user", "show", "--property=LoadState", unit], { env: session })
    .stdout === "LoadState=loaded\n";

function start(box: Box, env: Readonly<Record<string, string>>): { pid: number; unit: string } {
  box.write((config) => {
    rootless(config);
    config.linux.cgroupsPath = `:test:${box.name}`;
    config.linux.resources = { pids: { limit: 20 } };
  });
  box.must(["--systemd-cgroup", "run", "--detach", box.id], { env });
  return { pid: box.state().pid, unit: `test-${box.name}.scope` };
}

for (const name of ["XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"]) {
  boxTest(`the container is a scope of the user's systemd, found by ${name}`, (box) => {
    const env = { [name]: session[name]! };
    const { pid, unit } = start(box, env);
    assertEquals(cgroupOf(pid), `/user.slice/user-1000.slice/user@1000.service/user.slice/${unit}`);
    assertEquals(isLoaded(unit), true);
    assertEquals(Deno.readTextFileSync(`/sys/fs/cgroup${cgroupOf(pid)}/pids.max`), "20\n");
    box.must(["exec", "--detach", box.id, "sleep", "1000"], { env });
    const pids: number[] = JSON.parse(box.must(["ps", "--format", "json", box.id]));
    assertEquals(pids.map(cgroupOf), [cgroupOf(pid), cgroupOf(pid)]);
    box.must(["delete", "--force", box.id], { env });
    assertEquals(isLoaded(unit), false);
  });
}

boxTest("exec --cgroup enters a cgroup below the scope", (box) => {
  const { pid } = start(box, session);
  Deno.mkdirSync(`/sys/fs/cgroup${cgroupOf(pid)}/below`);
  box.must(["exec", "--detach", "--cgroup", "/below", box.id, "sleep", "1000"], { env: session });
  const pids: number[] = JSON.parse(box.must(["ps", "--format", "json", box.id]));
  assertEquals(pids.map(cgroupOf).sort(), [cgroupOf(pid), `${cgroupOf(pid)}/below`]);
  box.must(["update", "--pids-limit", "30", box.id], { env: session });
  assertEquals(Deno.readTextFileSync(`/sys/fs/cgroup${cgroupOf(pid)}/pids.max`), "30\n");
  box.must(["delete", "--force", box.id], { env: session });
});

boxTest("without the address of a bus it is refused", (box) => {
  box.write(rootless);
  const { msg, code } = box.refused(["--systemd-cgroup", "run", "--detach", box.id]);
  assertEquals([msg.includes("could not detect DBUS_SESSION_BUS_ADDRESS"), code], [true, "host-lacks"]);
});
