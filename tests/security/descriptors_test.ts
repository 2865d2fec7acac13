/** Which descriptors the container's process has: stdio, LISTEN_FDS, --preserve-fds, and nothing else. */

import { assertEquals, assertMatch } from "@std/assert";
import type { Fd } from "../../lib/ffi/fd.ts";
import { sealedMemfd } from "../../lib/ffi/files.ts";
import { afterShell, type Box, boxTest, comparing, everyone, kernel, until } from "../integration/harness.ts";

/** A file in memory whose content is `text`. */
function fileOf(text: string): Fd {
  return sealedMemfd(kernel, {
    name: "passed",
    content: new TextEncoder().encode(`${text}\n`),
    executable: false,
    rewind: true,
  });
}

/** Descriptors 3, 4, ... of the runtime: files that hold their number. */
function numbered(...numbers: number[]): Record<number, Fd> & Disposable {
  const fds: Record<number, Fd> = Object.fromEntries(numbers.map((number) => [number, fileOf(String(number))]));
  return Object.assign(fds, { [Symbol.dispose]: () => Object.values(fds).forEach((fd) => fd.close()) });
}

/** The environment of socket activation, meant for the runtime itself. sd_listen_fds(3) */
const listen = (count: number) => afterShell(`export LISTEN_PID=$$ LISTEN_FDS=${count} LISTEN_FDNAMES=a:b`);

comparing("nothing but stdio is open", (box) => {
  // 3 is the directory that ls reads.
  const { stdout } = box.run((config) => config.process.args = ["ls", "/proc/self/fd"]);
  assertEquals(stdout, "0\n1\n2\n3\n");
}, everyone);

comparing("descriptors that the caller left open are not the container's, whatever their number", (box) => {
  using fds = numbered(3, 4, 9, 30, 100, 250);
  box.write((config) => config.process.args = ["ls", "/proc/self/fd"]);
  assertEquals(box.must(["run", box.id], { fds }), "0\n1\n2\n3\n");
}, everyone);

comparing("LISTEN_FDS are passed on at their numbers, and LISTEN_PID says 1", (box) => {
  using fds = numbered(3, 4);
  const seen = box.sh("cat <&3; cat <&4; env | grep ^LISTEN | sort; ls /proc/$$/fd; true", undefined, {
    fds,
    prefix: listen(2),
  });
  assertEquals(seen, "3\n4\nLISTEN_FDS=2\nLISTEN_PID=1\n0\n1\n2\n3\n4\n");
}, everyone);

comparing("LISTEN_FDS of another process are not ours", (box) => {
  using fds = numbered(3, 4);
  box.write((config) => config.process.args = ["sh", "-c", "env | grep LISTEN; ls /proc/self/fd"]);
  assertEquals(box.must(["run", box.id], { fds, env: { LISTEN_PID: "1", LISTEN_FDS: "2" } }), "0\n1\n2\n3\n");
}, everyone);

comparing("--preserve-fds passes as many as it says", (box) => {
  using fds = numbered(3, 4, 5);
  box.write((config) =>
    config.process.args = ["sh", "-c", "cat <&3; cat <&4; env | grep LISTEN; ls /proc/$$/fd; true"]
  );
  assertEquals(box.must(["run", "--preserve-fds", "2", box.id], { fds }), "3\n4\n0\n1\n2\n3\n4\n");
}, everyone);

comparing("--preserve-fds comes after LISTEN_FDS", (box) => {
  using fds = numbered(3, 4, 5, 6);
  box.write((config) =>
    config.process.args = ["sh", "-c", "cat <&3; cat <&4; cat <&5; echo $LISTEN_FDS; ls /proc/$$/fd; true"]
  );
  const seen = box.must(["run", "--preserve-fds", "2", box.id], { fds, prefix: listen(1) });
  assertEquals(seen, "3\n4\n5\n1\n0\n1\n2\n3\n4\n5\n");
}, everyone);

comparing("a great many are passed", (box) => {
  const numbers = Array.from({ length: 60 }, (_, index) => 3 + index);
  using fds = numbered(...numbers);
  box.write((config) => config.process.args = ["sh", "-c", "for fd in $(seq 3 62); do cat <&$fd; done"]);
  assertEquals(
    box.must(["run", "--preserve-fds", "60", box.id], { fds }),
    numbers.map((number) => `${number}\n`).join(""),
  );
}, everyone);

comparing("create and run --detach pass them too", (box) => {
  using fds = numbered(3);
  box.write((config) => config.process.args = ["sh", "-c", "cat <&3; sleep 1000"]);
  for (const command of [["create"], ["run", "--detach"]]) {
    using running = box.start([...command, "--preserve-fds", "1", box.id], { fds });
    // What the program prints may or may not be there already.
    const { code, stderr } = running.wait();
    assertEquals({ code, stderr }, { code: 0, stderr: "" });
    if (command[0] === "create") box.must(["start", box.id]);
    running.says("3\n");
    box.remove();
    kernel.must("lseek", "lseek", fds[3]!.number, 0, 0);
  }
}, everyone);

comparing("exec --preserve-fds", (box) => {
  using fds = numbered(3, 4);
  box.startSleeping();
  const seen = box.must(["exec", "--preserve-fds", "1", box.id, "sh", "-c", "cat <&3; ls /proc/$$/fd; true"], { fds });
  assertEquals(seen, "3\n0\n1\n2\n3\n");
  box.remove();
}, everyone);

const commands: readonly (readonly [fact: string, args: (box: Box) => string[], prefix: string])[] = [
  ["run", ({ id }) => ["run", "--preserve-fds", "2", id], "runc run failed"],
  ["create", ({ id }) => ["create", "--preserve-fds", "2", id], "runc create failed"],
];
for (const [fact, args, prefix] of commands) {
  boxTest(`${fact} refuses --preserve-fds for one that is not open`, (box) => {
    using fds = numbered(3);
    const { msg, code } = box.refused(args(box), { fds });
    assertEquals(msg, `${prefix}: unable to stat preserved-fd 1 (of 2): no such file or directory`);
    assertEquals(code, "usage");
  });
}

boxTest(
  "the numbers in which Deno has its own descriptors count as missing where the caller left them empty",
  (box) => {
    for (let number = 3; number < 24; number++) {
      const others = Array.from({ length: number - 3 }, (_, index) => 3 + index);
      using fds = numbered(...others);
      const { msg } = box.refused(["run", "--preserve-fds", String(number - 2), box.id], { fds });
      assertMatch(msg, new RegExp(`unable to stat preserved-fd ${number - 3} `));
    }
  },
);

boxTest("refused: --preserve-fds that is no number, or a negative one", (box) => {
  for (const value of ["x", "-1", ""]) {
    const { code, stderr } = box.runc(["run", `--preserve-fds=${value}`, box.id]);
    assertEquals(code, 1);
    assertMatch(stderr, /preserve-fds/);
  }
});

comparing("stdio that is the host's /dev/null becomes the container's", (box) => {
  const pid = box.startSleeping();
  until("the program", () => Deno.readTextFileSync(`/proc/${pid}/comm`) === "sleep\n");
  const [input, inside, host] = [`/proc/${pid}/fd/0`, `/proc/${pid}/root/dev/null`, "/dev/null"].map((path) =>
    Deno.statSync(path)
  );
  assertEquals([input!.dev === inside!.dev && input!.ino === inside!.ino, input!.dev === host!.dev], [true, false]);
  box.remove();
}, everyone);

comparing("standard streams can be opened again by the program's user", (box) => {
  const seen = box.sh("echo out > /dev/stdout; echo err > /proc/self/fd/1; cat /dev/stdin", (config) => {
    config.process.user = { uid: 1000, gid: 1000 };
  }, { stdin: "in\n" });
  assertEquals(seen, "out\nerr\nin\n");
}, everyone);
