/** `debug`: a program of the host in a container's namespaces. */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { boxTest, busybox, type Change, withUserNamespace } from "./harness.ts";

/** A container whose image has one program and no shell. */
const shellless: Change = (config) => {
  config.process.args = ["/only/sleep", "1000"];
};

/** What the container's processes see: their root, and the mounts of their namespace. */
function seenInside(pid: number): string {
  const names = [...Deno.readDirSync(`/proc/${pid}/root`)].map(({ name }) => name).sort();
  return `${names}\n${Deno.readTextFileSync(`/proc/${pid}/mountinfo`)}`;
}

for (const [fact, namespace] of [["", () => {}], [", in a user namespace", withUserNamespace()]] as const) {
  boxTest(`the host's programs see a container without a shell, which does not see them${fact}`, (box) => {
    Deno.removeSync(`${box.rootfs}/bin`, { recursive: true });
    Deno.mkdirSync(`${box.rootfs}/only`);
    Deno.copyFileSync(busybox, `${box.rootfs}/only/sleep`);
    box.write((config) => {
      shellless(config);
      namespace(config);
    });
    box.must(["run", "--detach", box.id]);
    const { pid } = box.state();
    const before = seenInside(pid);
    const script =
      'pwd; cd /container; ls -d only /usr/bin; readlink /proc/1/root/only/../proc/1/exe; grep -h "^Cap[PB]" /proc/$$/status';
    assertEquals(box.must(["debug", box.id, "--", "sh", "-c", script]).split("\n"), [
      "/",
      "/usr/bin",
      "only",
      "/only/sleep",
      "CapPrm:\t0000000000080000",
      "CapBnd:\t0000000000080000",
      "",
    ]);
    assertEquals(box.runc(["debug", box.id, "--", "sh", "-c", "touch /usr/x 2>/dev/null || exit 7"]).code, 7);
    assertEquals(seenInside(pid), before);
    box.remove();
  });
}

boxTest("--tools, --cap, --cwd, --env, and sh without a command", (box) => {
  const tools = `${box.directory}/tools`;
  Deno.mkdirSync(`${tools}/bin`, { recursive: true });
  Deno.copyFileSync(busybox, `${tools}/busybox`);
  Deno.symlinkSync("../busybox", `${tools}/bin/sh`);
  box.startSleeping();
  const script = "echo $WORD; busybox pwd; busybox ls /usr; busybox grep CapEff /proc/$$/status";
  const words = [
    "--tools",
    tools,
    "--cap",
    "net_admin",
    "--cap",
    "CAP_SYS_ADMIN",
    "--cwd",
    "/bin",
    "--env",
    "WORD=hello",
  ];
  const { stdout, stderr } = box.runc(["debug", ...words, box.id], { stdin: script });
  assertEquals(stdout, "hello\n/bin\nCapEff:\t0000000000281000\n");
  assertMatch(stderr, /ls: \/usr: No such file/);
  box.remove();
});

boxTest("plan debug shows what would be done, and does nothing", (box) => {
  const pid = box.startSleeping();
  const before = seenInside(pid);
  const plan = box.must(["plan", "debug", box.id, "--", "ls"]);
  for (
    const text of [
      "take /usr, read-only",
      "check that no process could trace the debugger",
      'pivot_root(".", "container")',
    ]
  ) {
    assertStringIncludes(plan, text);
  }
  assertEquals(seenInside(pid), before);
  box.remove();
});

boxTest("refused: what a debugger cannot do, with what lacks", (box) => {
  const empty = `${box.directory}/empty`;
  Deno.mkdirSync(empty);
  const without = (type: string): Change => ({ linux }) =>
    linux.namespaces = linux.namespaces.filter((one) => one.type !== type);
  const cases: readonly (readonly [change: Change, words: readonly string[], message: RegExp])[] = [
    [() => {}, ["--cap", "CAP_NOTHING"], /unknown capability "CAP_NOTHING"/],
    [() => {}, ["--tools", empty], /empty has no programs$/],
    [() => {}, ["--tools", `${empty}/x`], /open .*\/empty\/x: no such file or directory/],
    [without("pid"), [], /cannot debug container box: it has no pid namespace of its own/],
  ];
  for (const [change, words, message] of cases) {
    box.startSleeping(change);
    const { msg, exitCode } = box.refused(["debug", ...words, box.id]);
    assertMatch(msg, message);
    assertEquals(exitCode, 255);
    box.remove();
  }
  assertMatch(box.refused(["debug", "nothing"]).msg, /container does not exist/);
});
