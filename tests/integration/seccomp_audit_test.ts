/** `--seccomp-audit`: what a container uses is recorded, nothing is denied, and the profile that comes out works. */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { boxTest, type Change, type TestConfig, until } from "./harness.ts";
import { contentOf } from "./foreground_harness.ts";
import { openNumbers } from "../security/stopped.ts";

interface Report {
  readonly id: string;
  readonly used: readonly { readonly name: string; readonly calls?: number }[];
  readonly denied: readonly { readonly name: string; readonly calls: number; readonly decision: string }[];
  readonly profile: NonNullable<TestConfig["linux"]["seccomp"]>;
}

const readReport = (path: string): Report => JSON.parse(Deno.readTextFileSync(path));

/** Denies mkdir. */
const strict: Change = ({ linux }) =>
  linux.seccomp = {
    defaultAction: "SCMP_ACT_ALLOW",
    syscalls: [{ names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO", errnoRet: 13 }],
  };

const shell = (script: string, ...changes: readonly Change[]): Change => (config) => {
  config.process.args = ["sh", "-c", script];
  for (const change of changes) change(config);
};

for (const noNewPrivileges of [true, false]) {
  boxTest(
    `run: what is denied is let through and told; the profile runs the same, noNewPrivileges ${noNewPrivileges}`,
    (box) => {
      const file = `${box.directory}/report.json`;
      const setPrivileges: Change = ({ process }) => process.noNewPrivileges = noNewPrivileges;
      const make = "mkdir /dev/made && exit 7";
      box.write(shell(make, strict, setPrivileges));
      assertEquals(box.runc(["run", box.id]).code, 1);
      assertEquals(box.runc(["run", "--seccomp-audit", file, box.id]), { code: 7, stdout: "", stderr: "" });
      const { id, used, denied, profile } = readReport(file);
      assertEquals(id, box.id);
      const isMkdir = ({ name }: { readonly name: string }) => /^mkdir/.test(name);
      assertEquals(denied.map(({ calls, decision }) => [calls, decision]), [[1, "SCMP_ACT_ERRNO (EACCES)"]]);
      assertEquals([denied.filter(isMkdir).length, used.filter(isMkdir).length], [1, 1]);
      assertEquals(used.filter(({ name }) => ["execve", "read", "write"].includes(name)).length, 3);
      box.write(shell(make, ({ linux }) => linux.seccomp = profile, setPrivileges));
      assertEquals(box.runc(["run", box.id]).code, 7);
      box.write(shell("chroot /bin", ({ linux }) => linux.seccomp = profile, setPrivileges));
      assertMatch(box.runc(["run", box.id]).stderr, /not permitted/);
    },
  );
}

boxTest(
  "run --detach and create: the report comes when the container has ended, and nothing of the auditor is in it",
  (box) => {
    const file = `${box.directory}/report.json`;
    for (const [command, ...words] of [["run", "--detach"], ["create", "--supervise"]] as const) {
      box.write(shell("exec sleep 1000", strict));
      box.must([command, ...words, "--seccomp-audit", file, box.id]);
      if (command === "create") box.must(["start", box.id]);
      const { pid } = box.state();
      until("sleep", () => contentOf(`/proc/${pid}/comm`) === "sleep\n");
      assertEquals(openNumbers(pid), [0, 1, 2]);
      assertEquals(contentOf(file), "");
      // A process of exec is not audited.
      assertMatch(box.runc(["exec", box.id, "mkdir", "/dev/x"]).stderr, /denied/);
      box.remove();
      until("the report", () => contentOf(file) !== "");
      assertStringIncludes(readReport(file).used.map(({ name }) => name).join(" "), "nanosleep");
      Deno.removeSync(file);
    }
  },
);

boxTest("a config without a profile has none afterwards, and signals reach the program", (box) => {
  const file = `${box.directory}/report.json`;
  box.write(shell("trap 'echo term; exit 5' TERM; echo up; while :; do sleep 0.1; done"));
  using running = box.start(["run", "--seccomp-audit", file, box.id]);
  running.says("up\n");
  assertEquals(JSON.parse(Deno.readTextFileSync(`${box.root}/${box.id}/state.json`)).config.seccomp ?? null, null);
  running.signal(15);
  assertEquals(running.wait(), { code: 5, stdout: "up\nterm\n", stderr: "" });
  assertEquals(readReport(file).denied, []);
});

boxTest("a report in a directory of the container goes where no symlink of it leads", (box) => {
  const scratch = `${box.directory}/scratch`, victim = `${box.directory}/victim`;
  Deno.mkdirSync(scratch);
  Deno.writeTextFileSync(victim, "the host's");
  const part = ".report.json.part";
  const bind: Change = ({ mounts }) => mounts.push({ destination: "/scratch", source: scratch, options: ["bind"] });
  // Before the run, and by the program.
  Deno.symlinkSync(victim, `${scratch}/${part}`);
  box.write(shell(`rm /scratch/${part} && ln -s ${victim} /scratch/${part} && echo done`, bind));
  assertEquals(box.must(["run", "--seccomp-audit", `${scratch}/report.json`, box.id]), "done\n");
  assertEquals(Deno.readTextFileSync(victim), "the host's");
});

boxTest("refused: no file and no container is left", (box) => {
  const file = `${box.directory}/report.json`;
  box.write();
  assertMatch(
    box.refused(["run", "--seccomp-audit", `${file}/x`, box.id]).msg,
    /^runc run failed: open .*no such file/,
  );
  assertMatch(box.refused(["--init", "deno", "run", "--seccomp-audit", file, box.id]).msg, /needs --init=native/);
  box.write(({ process }) => process.args = ["nothing"]);
  for (const command of [["run"], ["run", "--detach"], ["create"]]) {
    assertMatch(box.refused([...command, "--seccomp-audit", file, box.id]).msg, /"nothing": executable file not found/);
  }
  assertEquals(
    [...Deno.readDirSync(box.directory)].filter(({ name }) => /report/.test(name)).map(({ name }) => name),
    [],
  );
  assertEquals(box.containers(), []);
});
