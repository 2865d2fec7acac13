/**
 * Programs of the image that take init's end of the socket to the runtime, and speak there as init: the runtime, who is the host's root, kills
 * nobody by what they say, waits for nobody for ever, and leaves nothing behind.
 */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { processStat } from "../../lib/libcontainer/state/process_status.ts";
import { contentOf } from "./foreground_harness.ts";
import {
  addHostPrograms,
  type Box,
  boxTest,
  type Change,
  comparing,
  execute,
  program,
  Running,
  until,
} from "./harness.ts";

/**
 * Perl that takes the sockets of process `$pid` (pidfd_open, pidfd_getfd: 434 and 438 on every machine), into @taken. It tells in $D/told what
 * it got.
 */
const take = `
  use strict; use Socket;
  our @taken; our $D = "/mnt";
  sub told { open my $log, ">>", "$D/told"; print $log "@_\\n"; close $log; }
  sub take {
    my ($pid) = @_;
    my $pidfd = syscall(434, $pid + 0, 0);
    for my $fd (3 .. 63) {
      my $got = syscall(438, $pidfd, $fd, 0);
      if ($got < 0) { told("refused $!") if $!{EPERM}; next; }
      if ((readlink("/proc/self/fd/$got") // "") =~ /^socket:/) { open my $s, "+<&=", $got; push @taken, $s; told("taken"); }
    }
  }
  sub message { my ($kind, $value) = @_; return pack("L<L<q<", $kind, 0, $value); }
  sub say_it { my ($bytes) = @_; for my $s (@taken) { told("sends"); syswrite($s, $bytes); } }
  $SIG{PIPE} = "IGNORE"; use Errno;
`;

/** The config with a startContainer hook that is this program. What it tells is in the box's directory, which is on /mnt. */
function attack(box: Box, perl: string, change: Change = () => {}): Change {
  const programs = addHostPrograms(box);
  return (config) => {
    programs(config);
    config.root.readonly = false;
    config.mounts.push({ destination: "/mnt", type: "bind", source: box.directory, options: ["bind"] });
    config.hooks = { startContainer: [{ path: "/usr/bin/perl", args: ["perl", "-e", take + perl] }] };
    for (const set of ["bounding", "effective", "permitted"] as const) {
      config.process.capabilities = {
        ...config.process.capabilities,
        [set]: [...(config.process.capabilities?.[set] ?? []), "CAP_SYS_PTRACE"],
      };
    }
    change(config);
  };
}

const logOf = (box: Box): string => contentOf(`${box.directory}/told`);
const isAlive = (pid: number): boolean => !["Z", undefined].includes(processStat(pid)?.state);

/**
 * What is said, as Perl, and what the runtime says of it. `victim`: a process of the host. A runtime that believes them kills what
 * was named when an error follows: so one follows only where that is a process of this test's.
 */
const forgeries: readonly (readonly [name: string, perl: (victim: number) => string, refusal: RegExp])[] = [
  ["child -1", () => "say_it(message(4, -1))", /"child" at the wrong time/],
  ["child 0", () => "say_it(message(4, 0))", /"child" at the wrong time/],
  ["child 1", () => "say_it(message(4, 1))", /"child" at the wrong time/],
  ["child 4294967295", () => "say_it(message(4, 4294967295))", /"child" at the wrong time/],
  ["child, a process of the host", (victim) => `say_it(message(4, ${victim}))`, /"child" at the wrong time/],
  [
    "child, and then an error",
    (victim) => `say_it(message(4, ${victim})); say_it(message(1, 1) . pack("Q<", 0))`,
    /"child" at the wrong time/,
  ],
  ["helper", (victim) => `say_it(message(16, ${victim}))`, /"helper" at the wrong time/],
  ["mapping", () => "say_it(message(3, 0))", /"mapping" at the wrong time/],
  ["hooks, a second time", () => "say_it(message(5, 0))", /"hooks" at the wrong time/],
  ["ready, a second time", () => "say_it(message(7, 0))", /"ready" at the wrong time/],
  ["created, a second time", () => "say_it(message(8, 0))", /"created" at the wrong time/],
  ["seccomp", () => "say_it(message(10, 3))", /"seccomp" at the wrong time/],
  ["copied", () => "say_it(message(19, 0))", /"copied" at the wrong time/],
  ["passwd", () => 'say_it(message(6, 0) . ("x" x 4096))', /"passwd" at the wrong time/],
  ["a kind that there is not", () => "say_it(message(99, 0))", /unknown kind 99/],
  ["a time", () => 'say_it(message(20, 0) . pack("q<", 0))', /unknown kind 20/],
  ["three bytes", () => 'say_it("abc")', /wrong length/],
  ["more than any message has", () => 'say_it(message(8, 0) . ("x" x 9000))', /wrong length/],
  ["a message that is a byte too long", () => 'say_it(message(8, 0) . "x")', /"created" of 17 bytes/],
  ["a warning", () => 'say_it(message(2, 1) . pack("Q<", 0))', /that is not the container's init sent a warning/],
  [
    "warnings without end",
    () => 'for (1 .. 100000) { say_it(message(2, 1) . pack("Q<", 0)); }',
    /that is not the container's init sent a warning/,
  ],
  [
    "a message with descriptors",
    // msghdr: name, iov, control. 46 or 211: sendmsg.
    () => `
      my $number = (POSIX::uname())[4] eq "x86_64" ? 46 : 211;
      my $text = message(8, 0);
      my $iov = pack("P Q<", $text, 16);
      my $control = pack("Q< l< l< l< l<", 24, 1, 1, 1, 2);
      for my $s (@taken) {
        my $header = pack("Q< Q< P Q< P Q< Q<", 0, 0, $iov, 1, $control, 24, 0);
        told("sends");
        syscall($number, fileno($s), $header, 0);
      }`,
    /"created" with 2 descriptors/,
  ],
];

for (const [name, perl, refusal] of forgeries) {
  boxTest(`a startContainer hook says as init: ${name}`, (box) => {
    using victim = new Running(["/usr/bin/sleep", "1000"]);
    const program = `use POSIX (); take(1); ${perl(victim.pid)}; told("over");`;
    const { msg, code } = box.runRefused(attack(box, program));
    // It has run, it has the socket, and it has sent.
    assertMatch(logOf(box), /^taken\nsends\n/m);
    assertEquals(code, "protocol");
    assertMatch(msg, refusal);
    assert(isAlive(victim.pid));
    assertEquals(box.containers(), []);
  });
}

comparing("an error that a hook reports as init fails this start, and nothing else", (box) => {
  using victim = new Running(["/usr/bin/sleep", "1000"]);
  const { msg, code } = box.runRefused(attack(box, `take(1); say_it(message(1, 1) . pack("Q<", 0)); told("over");`));
  assertMatch(logOf(box), /^taken\nsends\n/m);
  assertStringIncludes(msg, "runc run failed");
  assert(isAlive(victim.pid));
  return code;
});

comparing("a process that keeps init's socket does not keep the runtime waiting", (box) => {
  const hook = `take(1); if (fork() == 0) { sleep(1000); exit; } told("over");`;
  box.write(attack(box, hook, (config) => config.process.args = ["sleep", "1000"]));
  box.must(["run", "--detach", box.id]);
  assertMatch(logOf(box), /^taken\nover$/m);
  assertEquals(box.state().status, "running");
  box.remove();
});

comparing("without CAP_SYS_PTRACE a hook cannot take anything from init", (box) => {
  const drop: Change = (config) => {
    for (const set of ["bounding", "effective", "permitted"] as const) {
      const names = config.process.capabilities?.[set]?.filter((each) => each !== "CAP_SYS_PTRACE");
      config.process.capabilities = { ...config.process.capabilities, [set]: names };
    }
    config.process.args = ["echo", "ran"];
  };
  box.write(attack(box, `take(1); told("over");`, drop));
  assertEquals(box.must(["run", box.id]), "ran\n");
  const lines = new Set(logOf(box).trimEnd().split("\n"));
  assertEquals(lines, new Set(["refused Operation not permitted", "over"]));
});

comparing("in a container that was created init has no socket any more", (box) => {
  box.write(attack(box, `take(1); told("over");`, (config) => config.process.args = ["sleep", "1000"]));
  box.must(["create", box.id]);
  box.must(["start", box.id]);
  assertEquals(until("the hook", () => logOf(box).includes("over") && logOf(box)), "over\n");
  box.remove();
});

/** Without `--init`, all execs but the first are carried out by the front of the program, if it has one. */
const waysToExec: readonly (readonly [way: string, argv: (box: Box) => readonly string[]])[] = [
  ["the runtime", (box) => box.argv()],
  ["the front, or the snapshot after it", (box) => [program, "--root", box.root]],
];

for (const [way, argv] of waysToExec) {
  boxTest(`a process of the container that speaks as the init of an exec has nobody killed; by ${way}`, (box) => {
    using victim = new Running(["/usr/bin/sleep", "1000"]);
    // It looks for processes that are being set up, and speaks for each that it finds.
    const attacker = `${take}
    told("up");
    while (1) {
      for my $directory (glob "/proc/[0-9]*") {
        open my $file, "<", "$directory/comm" or next;
        next unless (<$file> // "") =~ /^runc:/;
        @taken = ();
        take($directory =~ /(\\d+)/);
        say_it(message(4, ${victim.pid}));
      }
    }`;
    box.write(attack(box, "", (config) => {
      delete config.hooks;
      config.process.args = ["/usr/bin/perl", "-e", attacker];
    }));
    box.must(["run", "--detach", box.id]);
    until("the attacker", () => logOf(box).includes("up"));
    // Until it was fast enough, with what it said before anybody was told who init is, and after.
    let refused = 0;
    for (let round = 0; round < 300 && refused < 3; round++) {
      const { code, stderr, stdout } = execute([...argv(box), "exec", box.id, "echo", "ran"]);
      if (code === 0) assertEquals(stdout, "ran\n");
      else {
        assertMatch(stderr, /message \\"child\\".*code=protocol/);
        refused++;
      }
      assert(isAlive(victim.pid));
    }
    assertStringIncludes(logOf(box), "taken\nsends\n");
    assert(refused > 0);
    box.remove();
  });
}

for (const noNewPrivileges of [false, true]) {
  for (const [way, argv] of waysToExec) {
    // Init of an exec closes its socket in place of a last word there.
    const name = `a process that keeps the socket of an exec under a filter does not keep the runtime waiting; ` +
      `noNewPrivileges ${noNewPrivileges}; by ${way}`;
    boxTest(name, (box) => {
      const attacker = `${take}
      told("up");
      our %seen;
      while (1) {
        for my $directory (glob "/proc/[0-9]*") {
          open my $file, "<", "$directory/comm" or next;
          next unless (<$file> // "") =~ /^runc:/;
          my ($pid) = $directory =~ /(\\d+)/;
          take($pid) unless $seen{$pid}++;
        }
      }`;
      box.write(attack(box, "", (config) => {
        delete config.hooks;
        config.process.args = ["/usr/bin/perl", "-e", attacker];
        config.process.noNewPrivileges = noNewPrivileges;
        config.linux.seccomp = {
          defaultAction: "SCMP_ACT_ALLOW",
          syscalls: [{ names: ["acct"], action: "SCMP_ACT_ERRNO" }],
        };
      }));
      box.must(["run", "--detach", box.id]);
      until("the attacker", () => logOf(box).includes("up"));
      // Until it was fast enough. It has the socket for good then.
      for (let round = 0; round < 100 && !logOf(box).includes("taken"); round++) {
        const line = [...argv(box), "exec", "--detach", box.id, "sleep", "1000"];
        assertEquals(execute(line), { code: 0, stdout: "", stderr: "" });
      }
      assertStringIncludes(logOf(box), "taken");
      box.remove();
    });
  }
}
