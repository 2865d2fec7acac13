/** `hooks`: the list, and a hook that is run again by hand. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { type Box, boxTest, type Change, type TestConfig } from "./harness.ts";

type Hooks = NonNullable<TestConfig["hooks"]>;
type Hook = NonNullable<Hooks["poststart"]>[number];

/** A shell script of the host. */
const script = (text: string, options: Partial<Hook> = {}): Hook => ({
  path: "/bin/sh",
  args: ["sh", "-c", text],
  env: ["PATH=/usr/bin:/bin", "COLOUR=blue"],
  ...options,
});

/** A hook that adds what it reads and where it runs to a file of the box. */
const recording = (box: Box, name: string): Hook =>
  script(`{ cat; echo; pwd; echo $COLOUR; readlink /proc/self/ns/pid; } >> ${box.directory}/${name}`);

const withHooks = (hooks: Hooks): Change => (config) => {
  config.hooks = hooks;
  config.annotations = { key: "value" };
};

const record = (box: Box, name: string): string => Deno.readTextFileSync(`${box.directory}/${name}`);

boxTest("hooks lists them in the order in which they run", (box) => {
  box.startSleeping(withHooks({
    poststop: [script("true")],
    createContainer: [script("true")],
    prestart: [script("true", { timeout: 5 }), { path: "/bin/true" }],
  }));
  assertEquals(
    box.must(["hooks", box.id]),
    `prestart 0         /bin/sh "-c" "true"  (timeout: 5 s)
prestart 1         /bin/true
createContainer 0  /bin/sh "-c" "true"
poststop 0         /bin/sh "-c" "true"
`,
  );
  const [first] = JSON.parse(box.must(["hooks", "-f", "json", box.id]));
  assertEquals(first, {
    name: "prestart",
    index: 0,
    path: "/bin/sh",
    args: ["sh", "-c", "true"],
    env: ["PATH=/usr/bin:/bin", "COLOUR=blue"],
    timeout: 5,
  });
  box.remove();
  box.startSleeping();
  assertEquals([box.must(["hooks", box.id]), box.must(["hooks", "-f", "json", box.id])], ["no hooks\n", "[]\n"]);
  box.remove();
});

boxTest("a hook runs again with the state, the directory and the environment of the first time", (box) => {
  const again = ["prestart", "createRuntime", "poststart"] as const;
  box.startSleeping(withHooks(Object.fromEntries(again.map((name) => [name, [recording(box, name)]]))));
  const first = again.map((name) => record(box, name));
  assertEquals(JSON.parse(first[0]!.split("\n")[0]!).status, "creating");
  assertEquals(JSON.parse(first[2]!.split("\n")[0]!).annotations, { key: "value" });
  for (const name of again) {
    assertMatch(box.must(["hooks", "run", box.id, name], { cwd: "/" }), /, after \d+ ms\nit succeeded\n$/);
  }
  assertEquals(again.map((name) => record(box, name)), first.map((text) => text + text));
  box.remove();
});

boxTest("a poststop hook reads what it will read at the end, and one of several runs alone", (box) => {
  box.startSleeping(withHooks({ poststop: [script("false"), recording(box, "out"), script("false")] }));
  box.must(["hooks", "run", box.id, "poststop", "1"]);
  const early = record(box, "out").split("\n");
  assertEquals([JSON.parse(early[0]!).status, "pid" in JSON.parse(early[0]!)], ["stopped", false]);
  box.runc(["delete", "--force", box.id]);
  assertEquals(record(box, "out").split("\n")[0], early[0]);
});

boxTest("the output of a hook is told, and its failure with its own number", (box) => {
  const path = `${box.directory}/fails`;
  box.startSleeping(withHooks({
    poststart: [
      script("true"),
      script(`echo out; echo err >&2; [ ! -e ${path} ] || exit 3`),
      script(`[ ! -e ${path} ] || exec sleep 1000`, { timeout: 1 }),
    ],
  }));
  assertMatch(
    box.must(["hooks", "run", box.id, "poststart", "1"]),
    /^poststart hook #1: stdout: out\n, stderr: err\n, after \d+ ms\nit succeeded\n$/,
  );
  Deno.writeTextFileSync(path, "");
  const failed = box.refused(["hooks", "run", box.id, "poststart", "1"]);
  assertEquals([failed.code, failed.field], ["hook-failed", "/hooks/poststart/1"]);
  assertMatch(failed.msg, /poststart hook #1: exit status 3, stdout: out\n, stderr: err/);
  // A hook that failed by hand harms nobody.
  assertEquals(box.state().status, "running");
  assertMatch(box.refused(["hooks", "run", box.id, "poststart", "2"]).msg, /ran past specified timeout of 1.0s/);
  box.remove();
});

boxTest("what cannot run again is refused with the reason", (box) => {
  box.startSleeping(withHooks({ poststart: [script("true")], createContainer: [script("true")] }));
  const cases: readonly [args: readonly string[], code: string, message: RegExp][] = [
    [["run", box.id, "createContainer"], "unsupported", /createContainer hooks cannot run again/],
    [["run", box.id, "poststart", "1"], "usage", /there is no poststart hook 1/],
    [["run", box.id, "poststart", "x"], "usage", /"x" is not the number of a hook/],
    [["run", box.id, "after"], "usage", /unknown hook "after"/],
    [["run", box.id], "usage", /needs the name of a hook/],
    [["walk", box.id, "poststart"], "usage", /unknown command "hooks walk"/],
    [["run", "nobody", "poststart"], "container-missing", /does not exist/],
    [["run"], "container-missing", /does not exist/],
  ];
  for (const [args, code, message] of cases) {
    const refused = box.refused(["hooks", ...args]);
    assertEquals(refused.code, code, args.join(" "));
    assertMatch(refused.msg, message);
  }
  box.remove();
});

boxTest("a container may have the id run", (box) => {
  box.write((config) => {
    config.hooks = { poststart: [script("true")] };
    config.process.args = ["sleep", "1000"];
  });
  box.must(["run", "--detach", "run"]);
  assert(box.must(["hooks", "run"]).startsWith("poststart 0"));
  assertMatch(box.must(["hooks", "run", "run", "poststart"]), /it succeeded/);
  box.remove("run");
});
