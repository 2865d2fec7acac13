import { assertEquals, assertThrows } from "@std/assert";
import { withCgroupWarning } from "../../../lib/cli/cgroup_warning.ts";
import { Logger } from "../../../lib/cli/log.ts";
import { RuncError } from "../../../lib/errors.ts";
import { Errno } from "../../../lib/ffi/errno.ts";

/** What is logged where `action` fails. */
function logged(errno: number): string[] {
  const messages: string[] = [];
  const target = { isStderr: true, isTerminal: () => false, write: (text: string) => void messages.push(text) };
  const log = new Logger(target, { format: "json", debug: false });
  const error = new RuncError("cgroup-failed", "it failed", { errno });
  const thrown = assertThrows(() =>
    withCgroupWarning({ log }, "pause", () => {
      throw error;
    })
  );
  assertEquals(thrown, error);
  return messages.map((text) => JSON.parse(text).msg);
}

Deno.test("withCgroupWarning() says what permission may be missing, and nothing of other errors", () => {
  const warning = "runc pause failure might be caused by lack of full access to cgroups";
  assertEquals([logged(Errno.EACCES), logged(Errno.EPERM), logged(Errno.EBUSY)], [[warning], [warning], []]);
});
