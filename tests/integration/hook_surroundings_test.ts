/**
 * What hooks are given beside their words and their state: umask, limits, signals, ids, environment, directory. The same probe runs as each
 * of the six, under Debian's runc 1.1.5 and under ours. Where runc 1.5.1 differs from that, the test says so and follows 1.5.1.
 */

import { assertEquals, assertMatch } from "@std/assert";
import type { HookName } from "../../lib/specs/config.ts";
import { afterShell, type Box, type Change, comparing, everyone, type StartOptions, until } from "./harness.ts";

const names: readonly HookName[] = [
  "prestart",
  "createRuntime",
  "createContainer",
  "startContainer",
  "poststart",
  "poststop",
];

/** Looks with the shell's own words as far as it can: what it starts may have been given something else. For dash and for busybox. */
const probe = `
umask
while read -r name rest; do
  case $name in
    SigBlk:|SigIgn:|Uid:|Gid:|Groups:|Cap*|NoNewPrivs:|Seccomp:|Cpus_allowed:) echo "$name $rest" ;;
  esac
done < /proc/self/status
while read -r line; do echo "$line"; done < /proc/self/limits
read -r value < /proc/self/oom_score_adj; echo "oom_score_adj $value"
read -r value < /proc/self/personality; echo "personality $value"
read -r pid name state parent group session rest < /proc/self/stat
[ $pid = $group ]; echo "leads a group: $?"
[ $pid = $session ]; echo "leads a session: $?"
pwd
exec 9< /proc/self/environ
tr '\\0' '\\n' <&9 | sort
`;

type Start = (box: Box, options: StartOptions) => void;

const starts: readonly [name: string, start: Start][] = [
  ["run", (box, options) => box.must(["run", box.id], options)],
  ["create, start and delete", (box, options) => {
    box.must(["create", box.id], options);
    box.must(["start", box.id], options);
    until("the program's end", () => box.state().status === "stopped");
    box.must(["delete", box.id], options);
  }],
];

/** What the probe prints as the hook `name` of a container that is started and ends. */
function seenBy(box: Box, name: HookName, how: { change?: Change; options?: StartOptions; start: Start }): string {
  const directory = name === "startContainer" ? "/mnt" : box.directory;
  // The user of a startContainer hook is the program's.
  Deno.writeTextFileSync(`${box.directory}/out`, "");
  Deno.chmodSync(`${box.directory}/out`, 0o666);
  box.write((config) => {
    const script = `{ ${probe} } > ${directory}/out 2>&1`;
    config.hooks = { [name]: [{ path: "/bin/sh", args: ["sh", "-c", script] }] };
    config.mounts.push({ destination: "/mnt", type: "bind", source: box.directory, options: ["bind"] });
    how.change?.(config);
  });
  how.start(box, { cwd: box.bundle, ...how.options });
  const seen = box.plain(Deno.readTextFileSync(`${box.directory}/out`));
  // It is there, and has come to its end.
  assertMatch(seen, /^0\d+\n[^]*\nMax open files .*[^]*\nleads a session: \d\n/);
  // The launcher is a shell script where the program is not a snapshot, and a shell sets PWD.
  return seen.replace(/^PWD=.*\n/m, "");
}

const circumstances: readonly [name: string, how: { change?: Change; options?: StartOptions }][] = [
  ["as usual", {}],
  ["with its caller's umask, 0027", { options: { prefix: afterShell("umask 0027") } }],
  ["with its caller's hard limits", { options: { prefix: afterShell("ulimit -c 7; ulimit -s 8000; ulimit -n 3000") } }],
  ["of a process with a user, an umask, limits and capabilities", {
    change: (config) => {
      config.process.user = { uid: 1000, gid: 1000, additionalGids: [7], umask: 0o77 };
      config.process.rlimits = [{ type: "RLIMIT_NOFILE", soft: 77, hard: 99 }];
      config.process.oomScoreAdj = 123;
      config.process.noNewPrivileges = true;
      config.process.env = ["A=config", "PATH=/bin", "HOME=/tmp"];
      config.process.cwd = "/tmp";
    },
  }],
];

/** Only what comes before the environment. */
const withoutEnvironment = (seen: string): string => seen.replace(/^(leads a session: \d\n.*\n)[^]*/m, "$1");

for (const name of names) {
  for (const [what, how] of circumstances) {
    for (const [command, start] of starts) {
      comparing(`a ${name} hook of ${command} has what runc's has, ${what}`, (box) => {
        const seen = seenBy(box, name, { ...how, start });
        // 1.1.5 gives it the program's environment, 1.5.1 none: hooks_test.ts looks at that.
        return name === "createContainer" ? withoutEnvironment(seen) : seen;
      }, everyone);
    }
  }

  // Go's runtime raises the limit for itself. That of runc 1.5.1 gives its children the old one again, that of 1.1.5 did not.
  comparing(`a ${name} hook has its caller's soft limit of open files`, (box) => {
    for (const [, start] of starts) {
      const options = { prefix: afterShell("ulimit -Sn 1000; ulimit -Hn 3000") };
      const change: Change = (config) => void (config.process.rlimits = []);
      assertMatch(seenBy(box, name, { change, options, start }), /^Max open files +1000 +3000 /m);
    }
  });

  // All that is started here begins with no signal blocked or ignored. With runc it depends on the signal and on the command which of those
  // that its caller blocks or ignores are so for hooks too.
  comparing(`what signals its caller blocks or ignores is nothing to a ${name} hook`, (box) => {
    const signals = (seen: string) => seen.match(/^Sig(Blk|Ign).*/gm);
    for (const [, start] of starts) {
      const prefix = ["/usr/bin/env", "--ignore-signal=HUP,USR1,PIPE,INT", "--block-signal=USR2,TERM,CHLD"];
      const usual = signals(seenBy(box, name, { start }));
      assertEquals(usual?.length, 2);
      assertEquals(signals(seenBy(box, name, { options: { prefix }, start })), usual);
    }
  });
}
