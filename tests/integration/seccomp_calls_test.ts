/** Under a profile that has what init calls after its filter, and what the program calls, and no more: everything else kills. As root. */

import { assertEquals } from "@std/assert";
import type { Seccomp } from "../../lib/specs/config.ts";
import { callsAfterFilter } from "../fixtures/calls_after_filter.ts";
import { sayAndExit, writeProgram } from "../fixtures/tiny_program.ts";
import { type Box, boxTest, type Change } from "./harness.ts";

/** What the program and the hooks call. */
const own = ["write", "exit_group"];

const allowing = (names: readonly string[], action = "SCMP_ACT_KILL_PROCESS"): Seccomp => ({
  defaultAction: action,
  // Newer calls too: without it they are ENOSYS.
  defaultErrnoRet: action === "SCMP_ACT_ERRNO" ? 38 : undefined,
  syscalls: [{ names: [...new Set([...names, ...own])], action: "SCMP_ACT_ALLOW" }],
});

const filtered = (seccomp: Seccomp, noNewPrivileges: boolean, more: Change = () => {}): Change => (config) => {
  config.process.noNewPrivileges = noNewPrivileges;
  config.process.args = ["/bin/in"];
  // Something is to be changed in every way.
  config.process.user = { uid: 1000, gid: 1000, additionalGids: [7] };
  config.linux.seccomp = seccomp as typeof config.linux.seccomp;
  more(config);
};

function writePrograms(box: Box): void {
  writeProgram(`${box.rootfs}/bin/in`, sayAndExit("in\n"));
  writeProgram(`${box.rootfs}/bin/fine`, sayAndExit(""));
}

const withHooks: Change = (config) => {
  config.hooks = { startContainer: [{ path: "/bin/fine" }, { path: "/bin/fine", timeout: 100 }] };
};

for (const noNewPrivileges of [false, true]) {
  for (const action of ["SCMP_ACT_KILL_PROCESS", "SCMP_ACT_ERRNO"]) {
    const what = `noNewPrivileges ${noNewPrivileges}, all else ${action}`;

    for (const hooks of [false, true]) {
      boxTest(`run${hooks ? ", with startContainer hooks," : ""} makes only the calls in the list; ${what}`, (box) => {
        writePrograms(box);
        const seccomp = allowing(callsAfterFilter({ command: "run", noNewPrivileges, hooks }), action);
        const result = box.run(filtered(seccomp, noNewPrivileges, hooks ? withHooks : undefined));
        assertEquals(result, { code: 0, stdout: "in\n", stderr: "" });
      });

      boxTest(
        `create${hooks ? ", with startContainer hooks," : ""} makes only the calls in the list; ${what}`,
        (box) => {
          writePrograms(box);
          const seccomp = allowing(callsAfterFilter({ command: "create", noNewPrivileges, hooks }), action);
          box.write(filtered(seccomp, noNewPrivileges, hooks ? withHooks : undefined));
          using created = box.start(["create", box.id]);
          assertEquals(created.wait().code, 0);
          box.must(["start", box.id]);
          created.says("in\n");
          box.remove();
        },
      );
    }

    boxTest(`exec makes only the calls in the list; ${what}`, (box) => {
      writePrograms(box);
      const names = callsAfterFilter({ command: "exec", noNewPrivileges });
      // The container itself sleeps, which takes more: the filter that is kept is changed in state.json.
      box.startSleeping(
        filtered(
          { defaultAction: "SCMP_ACT_ALLOW", syscalls: [{ names: ["acct"], action }] },
          noNewPrivileges,
          (config) => {
            config.process.args = ["sleep", "1000"];
          },
        ),
      );
      const path = `${box.root}/${box.id}/state.json`;
      const state = JSON.parse(Deno.readTextFileSync(path));
      const other = { SCMP_ACT_KILL_PROCESS: 9, SCMP_ACT_ERRNO: 2 }[action];
      state.config.seccomp.default_action = other;
      state.config.seccomp.default_errno_ret = action === "SCMP_ACT_ERRNO" ? 38 : null;
      state.config.seccomp.syscalls = [...new Set([...names, ...own])].map((name) => ({
        name,
        action: 4,
        errnoRet: null,
        args: null,
      }));
      Deno.writeTextFileSync(path, JSON.stringify(state));
      assertEquals(box.runc(["exec", box.id, "/bin/in"]), { code: 0, stdout: "in\n", stderr: "" });
      // Without faccessat2(2) the file's mode decides.
      assertEquals(box.runc(["exec", box.id, "in"]).stdout, "in\n");
      box.remove();
    });
  }
}
