/** `plan`: what would be done, told by somebody who may not do it. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { type Box, boxTest, type Change, withUserNamespace } from "./harness.ts";
import { cgroupsNamed, mountsOf } from "./leftovers.ts";

/** Root without a single capability: may read what root may, and do nothing. */
const powerless = ["/usr/bin/setpriv", "--bounding-set=-all", "--inh-caps=-all"];

/** Everything below the box's directory, with its change times: what a plan must not touch. */
function listing(box: Box): string {
  return new TextDecoder().decode(
    new Deno.Command("find", { args: [box.directory, "-printf", "%p %C@ %m %U\n"] }).outputSync().stdout,
  );
}

/** Plans as somebody without a right, and sees that nothing was made. */
function plan(box: Box, change: Change, ...args: string[]): string {
  box.write(change);
  const before = [listing(box), mountsOf(box.name), cgroupsNamed(box.name)];
  const text = box.must(["plan", ...args], { prefix: powerless });
  assertEquals([listing(box), mountsOf(box.name), cgroupsNamed(box.name)], before);
  return text;
}

interface PlanStep {
  readonly label: string;
  readonly from: string;
}

/** Every object in the JSON form that says what it is and where it comes from. */
function stepsIn(value: unknown): PlanStep[] {
  if (typeof value !== "object" || value === null) return [];
  const own = "label" in value && "from" in value ? [value as PlanStep] : [];
  return [...own, ...Object.values(value).flatMap(stepsIn)];
}

boxTest("plan prints the system calls with what they are for and the field that asks for them", (box) => {
  const text = plan(box, (config) => config.hostname = "planned");
  assertMatch(text, /sethostname\("planned", 7\)/);
  assertMatch(text, /mount devpts on \/dev\/pts.*\/mounts\/2/);
  assertMatch(
    text,
    /mount\("devpts", ".*", "devpts", MS_NOSUID\|MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"\)/,
  );
  assertMatch(text, /execve\(.*\["true"\]/);
});

boxTest("plan --format json has a step for each mount, mask and read-only path, with its field", (box) => {
  let fields: string[] = [];
  const text = plan(
    box,
    ({ mounts, linux }) => {
      fields = [
        ...mounts.map((_, index) => `/mounts/${index}`),
        ...linux.maskedPaths.map((_, index) => `/linux/maskedPaths/${index}`),
        ...linux.readonlyPaths.map((_, index) => `/linux/readonlyPaths/${index}`),
      ];
    },
    "--format",
    "json",
  );
  const from = new Set(stepsIn(JSON.parse(text)).map((step) => step.from));
  assertEquals(fields.filter((field) => !from.has(field)), []);
});

boxTest("the plan is the same every time, and has an id where one is given", (box) => {
  const text = plan(box, () => {});
  assertEquals(plan(box, () => {}), text);
  assertMatch(plan(box, () => {}, "other"), /_ses\.other/);
});

boxTest("plan checkpoint and plan restore print acts, in which CRIU is asked and answered", (box) => {
  const images = `${box.directory}/images`;
  const words = ["restore", "--detach", "--image-path", images, "--tcp-established", "other"];
  const restored = plan(box, () => {}, ...words);
  assertMatch(restored, /move CRIU into the cgroups[^]*send RESTORE to <criu>\n +tcpEstablished = true/);
  assertMatch(restored, /receive NOTIFY post-restore[^]*save the state[^]*answer NOTIFY with success/);
  assert(!restored.includes("monitor:"));
  box.write((config) => config.process.args = ["sleep", "1000"]);
  box.must(["create", box.id]);
  const before = listing(box);
  const saved = box.must(["plan", "--format", "json", "checkpoint", "--image-path", images, box.id]);
  const labels = stepsIn(JSON.parse(saved)).map(({ label }) => label);
  assertEquals(labels.slice(0, 2), ["lock the container and read its state", "find out the status"]);
  assertEquals(labels.slice(-2), ["remove the state directory", "release the container's lock"]);
  const left = box.must(["plan", "checkpoint", "--image-path", images, "--leave-running", box.id]);
  assertMatch(left, /send DUMP to <criu>\n +leaveRunning = true/);
  assert(!left.includes("remove the state directory"));
  assertEquals(listing(box), before);
  box.must(["delete", "--force", box.id]);
});

boxTest("the bundle may be elsewhere", (box) => {
  box.write();
  const here = box.must(["plan"]);
  assertEquals(box.must(["plan", "--bundle", box.bundle], { cwd: "/" }), here);
  assertEquals(box.must(["plan", "--bundle", "bundle"], { cwd: box.directory }), here);
});

boxTest("what run would refuse plan refuses, with the same error", (box) => {
  const change: Change = (config) => config.process.args = [];
  const { msg, field } = box.runRefused(change);
  box.write(change);
  const planned = box.refused(["plan"], { prefix: powerless });
  assertEquals([`runc run failed: ${planned.msg}`, planned.field], [msg, field]);
});

boxTest("a user who is not root plans a container with a user namespace", (box) => {
  box.write((config) => {
    withUserNamespace({ hostUid: 1000, size: 1 })(config);
    delete config.linux.resources;
    delete config.linux.cgroupsPath;
    config.mounts = config.mounts.map((mount) => ({
      ...mount,
      options: mount.options?.filter((option) => option !== "gid=5"),
    }));
  });
  const before = listing(box);
  const user = ["/usr/bin/setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"];
  const text = box.must(["plan"], { prefix: user, env: { HOME: "/nonexistent" } });
  assert(text.includes("unshare(CLONE_NEWUSER)"), text);
  assertEquals(listing(box), before);
});
