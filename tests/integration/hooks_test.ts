/** Hooks: where each of the six runs, what it is given, and what its failure does. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { memfd } from "../../lib/ffi/files.ts";
import type { HookName } from "../../lib/specs/config.ts";
import { type Box, type Change, comparing, everyone, kernel, type TestConfig, until } from "./harness.ts";

const names = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] as const;
type Hook = NonNullable<NonNullable<TestConfig["hooks"]>[HookName]>[number];

/**
 * A hook that is a shell script: the host's /bin/sh, and for startContainer the container's. Both find the box's
 * directory as $D: on the host under its own name, in the container on /mnt.
 */
function scriptHook(box: Box, name: HookName, script: string, options: Partial<Hook> = {}): Hook {
  const directory = name === "startContainer" ? "/mnt" : box.directory;
  return { path: "/bin/sh", args: ["sh", "-c", `D=${directory}; ${script}`], ...options };
}

/** The config with one hook, and the box's directory on /mnt. */
function withHook(box: Box, name: HookName, script: string, options: Partial<Hook> = {}): Change {
  return withHooks(box, { [name]: [scriptHook(box, name, script, options)] });
}

function withHooks(box: Box, hooks: NonNullable<TestConfig["hooks"]>): Change {
  return (config) => {
    config.hooks = hooks;
    config.mounts.push({ destination: "/mnt", type: "bind", source: box.directory, options: ["bind"] });
  };
}

/** What a hook wrote to $D/out, in a container that ran to its end. */
function seenBy(box: Box, name: HookName, script: string, options: Partial<Hook> = {}): string {
  box.sh("true", withHook(box, name, `{ ${script}; } > $D/out 2>&1`, options));
  return box.plain(Deno.readTextFileSync(`${box.directory}/out`));
}

const readOut = (box: Box): string => Deno.readTextFileSync(`${box.directory}/out`);

// --- when ----------------------------------------------------------------------------------------------------------------

const appendName = (box: Box) =>
  Object.fromEntries(
    names.map((name) => [name, [1, 2].map((index) => scriptHook(box, name, `echo ${name} ${index} >> $D/out`))]),
  );
const twice = (...which: HookName[]): string =>
  which.flatMap((name) => [1, 2].map((index) => `${name} ${index}\n`)).join("");

comparing("the hooks run in their order around create, start and delete", (box) => {
  box.write((config) => {
    config.process.args = ["sh", "-c", "echo program >> /mnt/out; sleep 1000"];
    withHooks(box, appendName(box))(config);
  });
  Deno.writeTextFileSync(`${box.directory}/out`, "");
  box.must(["create", box.id]);
  const created = twice("prestart", "createRuntime", "createContainer");
  assertEquals(readOut(box), created);
  box.must(["start", box.id]);
  // poststart hooks and the program's start are at the same time.
  until("the program and poststart", () => ["program", "poststart 2"].every((line) => readOut(box).includes(line)));
  const started = readOut(box).slice(created.length);
  assertEquals(started.replaceAll(/poststart \d\n/g, ""), `${twice("startContainer")}program\n`);
  assertEquals(started.replaceAll(/(startContainer \d|program)\n/g, ""), twice("poststart"));
  box.remove();
  assertEquals(readOut(box).slice(created.length + started.length), twice("poststop"));
});

comparing("the hooks run around run, poststop when the container is gone", (box) => {
  const hooks = { ...appendName(box), poststop: [scriptHook(box, "poststop", "ls $D/state > $D/out")] };
  box.sh("true", withHooks(box, hooks));
  assertEquals(readOut(box), "");
});

comparing("the mounts are made when createRuntime hooks run, and the program has not run", (box) => {
  const seen = seenBy(
    box,
    "createRuntime",
    `pid=$(sed 's/.*"pid":\\([0-9]*\\).*/\\1/'); grep -c ' - ' /proc/$pid/mountinfo; cat /proc/$pid/mountinfo`,
  );
  assertMatch(seen, new RegExp("<directory>/bundle/rootfs/dev/pts "));
});

// --- where ---------------------------------------------------------------------------------------------------------------

const namespaces = ["mnt", "pid", "net", "ipc", "uts"];
const inside: readonly HookName[] = ["createContainer", "startContainer"];

for (const name of names) {
  comparing(`${name} hooks run in the ${inside.includes(name) ? "container's" : "host's"} namespaces`, (box) => {
    const links = namespaces.map((file) => `readlink /proc/self/ns/${file}`).join("; ");
    const seen = seenBy(box, name, links).trimEnd().split("\n");
    const own = namespaces.map((file) => Deno.readLinkSync(`/proc/self/ns/${file}`));
    assertEquals(seen.map((link, index) => link === own[index]), own.map(() => !inside.includes(name)));
  }, everyone);
}

comparing("createContainer hooks still see the host's files, startContainer hooks the container's alone", (box) => {
  Deno.writeTextFileSync(`${box.rootfs}/inside`, "");
  const look = `test -e ${box.rootfs} && echo host; test -e /inside && echo container; true`;
  assertEquals([seenBy(box, "createContainer", look), seenBy(box, "startContainer", look)], ["host\n", "container\n"]);
}, everyone);

const directories: readonly [name: HookName, cwd: string][] = [
  ["prestart", "<directory>/bundle"],
  ["createRuntime", "<directory>/bundle"],
  ["createContainer", "<directory>/bundle/rootfs"],
  ["startContainer", "/tmp"],
  ["poststart", "<directory>/bundle"],
  ["poststop", "<directory>/bundle"],
];
for (const [name, cwd] of directories) {
  comparing(`${name} hooks of run start in ${cwd}`, (box) => {
    box.sh("true", (config) => {
      withHook(box, name, "pwd > $D/out")(config);
      config.process.cwd = "/tmp";
    });
    assertEquals(box.plain(readOut(box)), `${cwd}\n`);
  }, everyone);
}

comparing("poststop hooks of delete start where its caller is", (box) => {
  box.startSleeping(withHook(box, "poststop", "pwd > $D/out"));
  box.must(["delete", "--force", box.id], { cwd: box.directory });
  assertEquals(box.plain(readOut(box)), "<directory>\n");
}, everyone);

// --- what they are given -------------------------------------------------------------------------------------------------

const statuses: Readonly<Record<(typeof names)[number], string>> = {
  prestart: "creating",
  createRuntime: "creating",
  createContainer: "creating",
  startContainer: "created",
  poststart: "running",
  poststop: "stopped",
};

for (const name of names) {
  comparing(`${name} hooks read the state on stdin: ${statuses[name]}`, (box) => {
    box.startSleeping((config) => {
      withHook(box, name, "cat > $D/part; mv $D/part $D/out")(config);
      config.annotations = { "org.example.a": "1" };
    });
    const { pid } = box.state();
    if (name === "poststop") box.remove();
    until("the hook's end", () => box.plain(readOutOrNothing(box)) !== "");
    const { ociVersion, ...state } = JSON.parse(readOut(box));
    assertMatch(ociVersion, /^1\./);
    const common = { id: box.id, status: statuses[name], bundle: box.bundle, annotations: { "org.example.a": "1" } };
    const pids = name === "poststop" ? {} : { pid: inside.includes(name) ? 1 : pid };
    assertEquals(state, { ...common, ...pids });
    if (name !== "poststop") box.remove();
  });
}

for (const name of ["createContainer", "startContainer"] as const) {
  comparing(`${name} hooks cannot change the state that they, and those after them, read`, (box) => {
    // By the descriptor, and by one of their own: 10 is beyond what a shell uses.
    const attempts = [
      "echo forged >&0",
      "echo forged 1<>/proc/self/fd/0 >&1",
      "echo forged >/proc/self/fd/0",
      ": >/proc/self/fd/0",
      "busybox truncate -s 0 /proc/self/fd/0",
      "busybox truncate -s 9999 /proc/self/fd/0",
    ];
    const script = `cat > $D/before; for each in ${
      attempts.map((attempt) => `'${attempt}'`).join(" ")
    }; do ( eval "$each" ) 2>>$D/refused && echo "changed by $each" >>$D/won; echo $each >>$D/tried; done; cat /proc/self/fd/0 >$D/after`;
    const hooks = { [name]: [scriptHook(box, name, script), scriptHook(box, name, "cat > $D/next")] };
    box.sh("true", (config) => {
      withHooks(box, hooks)(config);
      config.root.readonly = false;
    });
    const read = (file: string) => Deno.readTextFileSync(`${box.directory}/${file}`);
    assertEquals(read("tried").trimEnd().split("\n"), attempts);
    assertEquals([...Deno.readDirSync(box.directory)].some((entry) => entry.name === "won"), false, "a way to write");
    assertEquals(JSON.parse(read("before")).status, statuses[name]);
    assertEquals([read("after"), read("next")], [read("before"), read("before")]);
  });
}

function readOutOrNothing(box: Box): string {
  try {
    return readOut(box);
  } catch {
    return "";
  }
}

// Opened by the shell itself: it may add variables to what it starts, and the host's procfs does not know it by $$.
const environment = "exec 9< /proc/self/environ; tr '\\0' '\\n' <&9 | sort";
const inherited: Readonly<Record<(typeof names)[number], string>> = {
  prestart: "HOME=/root\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\n",
  createRuntime: "HOME=/root\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\n",
  createContainer: "",
  startContainer: "A=config\nHOME=/root\nPATH=/bin\n",
  poststart: "HOME=/root\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\n",
  poststop: "HOME=/root\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\n",
};
for (const name of names) {
  comparing(`${name} hooks without env have ${JSON.stringify(inherited[name])}`, (box) => {
    box.sh("true", (config) => {
      withHook(box, name, `${environment} > $D/out`)(config);
      config.process.env = ["PATH=/bin", "A=config"];
    });
    // The launcher is a shell script, and a shell sets PWD.
    assertEquals(readOut(box).replace(/^PWD=.*\n/m, ""), inherited[name]);
  });

  comparing(`${name} hooks with env have that and nothing else`, (box) => {
    assertEquals(seenBy(box, name, environment, { env: ["A=1", "PATH=/usr/bin:/bin"] }), "A=1\nPATH=/usr/bin:/bin\n");
  }, everyone);

  comparing(`${name} hooks get their args as they are`, (box) => {
    const directory = name === "startContainer" ? "/mnt" : box.directory;
    // Busybox is what its first argument says.
    const args = [
      name === "startContainer" ? "sh" : "a name",
      "-c",
      'for one in "$0" "$@"; do echo "[$one]"; done > $0/out',
      directory,
      "",
      "x y",
    ];
    box.sh("true", withHooks(box, { [name]: [{ path: "/bin/sh", args }] }));
    assertEquals(readOut(box), `[${directory}]\n[]\n[x y]\n`);
  });

  comparing(`${name} hooks have stdio open and nothing else`, (box) => {
    // What ls has open besides is the directory, and its own output.
    box.sh("true", withHook(box, name, "ls /proc/self/fd > $D/out"));
    assertEquals(readOut(box), "0\n1\n2\n3\n");
  });
}

comparing("a descriptor that the caller left open is not the hooks'", (box) => {
  using open = memfd(kernel, "left open");
  const hooks = Object.fromEntries(names.map((name) => [name, [scriptHook(box, name, "ls /proc/self/fd >> $D/out")]]));
  Deno.writeTextFileSync(`${box.directory}/out`, "");
  box.sh("true", withHooks(box, hooks), { fds: { 9: open } });
  assertEquals(readOut(box), "0\n1\n2\n3\n".repeat(names.length));
});

comparing("hooks without args have their path as the only one", (box) => {
  Deno.writeTextFileSync(`${box.directory}/hook`, `#!/bin/sh\necho $0 $# > ${box.directory}/out\n`, { mode: 0o755 });
  for (const name of ["createRuntime", "createContainer"] as const) {
    for (const args of [undefined, []]) {
      box.sh("true", withHooks(box, { [name]: [{ path: `${box.directory}/hook`, args }] }));
      assertEquals(box.plain(readOut(box)), "<directory>/hook 0\n", name);
    }
  }
}, everyone);

comparing("hooks in the container run as root, before the program's user is taken", (box) => {
  const seen: string[] = [];
  for (const name of inside) {
    box.sh("true", (config) => {
      withHook(box, name, "grep -E '^(Uid|NoNewPrivs|CapEff)' /proc/self/status > $D/out")(config);
      config.process.user = { uid: 0, gid: 0 };
    });
    seen.push(readOut(box));
  }
  return seen;
}, everyone);

// --- failures -----------------------------------------------------------------------------------------------------------

const failing: readonly HookName[] = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart"];

for (const name of failing) {
  comparing(`a ${name} hook that fails ends the container, and its output is in the error`, (box) => {
    Deno.writeTextFileSync(`${box.directory}/out`, "");
    box.write((config) => {
      config.process.args = ["sleep", "1000"];
      withHooks(box, {
        [name]: [
          scriptHook(box, name, "true"),
          scriptHook(box, name, "echo said; echo cried >&2; exit 3"),
          scriptHook(box, name, "echo later >> $D/out"),
        ],
        poststop: [scriptHook(box, "poststop", "echo poststop >> $D/out")],
      })(config);
    });
    const { msg, code, field } = box.refused(["run", box.id]);
    assertStringIncludes(msg, `error running ${name} hook #1: exit status 3, stdout: said\n, stderr: cried\n`);
    assertEquals([code, field, readOut(box)], ["hook-failed", `/hooks/${name}/1`, "poststop\n"]);
    assertEquals(box.containers(), []);
  });

  comparing(`a ${name} hook that is not there is an error that names it`, (box) => {
    const { msg, field } = box.runRefused((config) => {
      config.process.args = ["sleep", "1000"];
      config.hooks = { [name]: [{ path: "/missing" }] };
    });
    assertMatch(msg, new RegExp(`error running ${name} hook #0: .*/missing: no such file or directory`));
    assertEquals(field, `/hooks/${name}/0`);
  });

  comparing(`a ${name} hook that a signal ends is a failure`, (box) => {
    const { msg } = box.runRefused((config) => {
      config.process.args = ["sleep", "1000"];
      withHook(box, name, "kill -KILL $$")(config);
    });
    assertStringIncludes(msg, `error running ${name} hook #0: signal: killed`);
  });
}

for (const name of ["createRuntime", "createContainer"] as const) {
  comparing(`a ${name} hook that takes longer than its timeout is killed`, (box) => {
    const { msg } = box.runRefused((config) => {
      config.process.args = ["sleep", "1000"];
      withHook(box, name, "exec sleep 1000", { timeout: 1 })(config);
    });
    assertMatch(msg, new RegExp(`error running ${name} hook #0: hook ran past specified timeout of 1\\.0s`));
  });

  comparing(`a ${name} hook within its timeout is none the worse`, (box) => {
    assertEquals(seenBy(box, name, "echo done", { timeout: 1000 }), "done\n");
  }, everyone);
}

comparing("poststop hooks go on after one that fails, and the container's status counts", (box) => {
  const { code, stdout, stderr } = box.run((config) => {
    config.process.args = ["sh", "-c", "exit 4"];
    withHooks(box, {
      poststop: [scriptHook(box, "poststop", "echo said; exit 3"), scriptHook(box, "poststop", "echo later > $D/out")],
    })(config);
  });
  assertEquals([code, stdout, readOut(box)], [4, "", "later\n"]);
  assertMatch(stderr, /level=warning msg="error running poststop hook #0: exit status 3, stdout: said/);
});

comparing("delete too goes on after a poststop hook that fails", (box) => {
  box.startSleeping(withHooks(box, {
    poststop: [scriptHook(box, "poststop", "exit 3"), scriptHook(box, "poststop", "echo later > $D/out")],
  }));
  const { code, stderr } = box.runc(["delete", "--force", box.id]);
  assertEquals([code, readOut(box), box.containers()], [0, "later\n", []]);
  assertMatch(stderr, /level=warning msg="error running poststop hook #0: exit status 3/);
});

comparing("a hook that prints much and reads nothing neither blocks nor is cut off", (box) => {
  const seen = seenBy(
    box,
    "createRuntime",
    "head -c 300000 /dev/zero | tr '\\0' x | wc -c; head -c 300000 /dev/zero >&2; echo end",
  );
  assert(seen.startsWith("300000\n") && seen.endsWith("end\n"));
});

comparing("what hooks print is in the log with --debug", (box) => {
  const names = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] as const;
  box.write(withHooks(
    box,
    Object.fromEntries(names.map((name) => [name, [scriptHook(box, name, `echo ${name} out; echo ${name} err >&2`)]])),
  ));
  const log = `${box.directory}/log`;
  assertEquals(box.runc(["--debug", "--log", log, "run", box.id]).code, 0);
  const text = Deno.readTextFileSync(log);
  for (const name of names) assertMatch(text, new RegExp(`level=debug.*${name} out.*${name} err`));
  assertMatch(
    text,
    /msg="createRuntime hook #0: stdout: createRuntime out\\n, stderr: createRuntime err\\n, after \d+ ms"/,
  );
});

comparing("a caller that ignores the end of children does not make a hook's failure a success", (box) => {
  box.write(withHook(box, "prestart", "exit 3"));
  // Ignored signals stay so across execve; a shell would give SIGCHLD back.
  const prefix = ["/usr/bin/perl", "-e", "$SIG{CHLD} = 'IGNORE'; exec @ARGV"];
  const { msg } = box.refused(["run", "--detach", box.id], { prefix });
  assertStringIncludes(msg, "exit status 3");
  box.write(withHook(box, "prestart", "exit 0"));
  box.must(["run", "--detach", box.id], { prefix });
  box.remove();
});
