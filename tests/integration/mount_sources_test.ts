/** Bind mounts that init cannot make by itself: with other ids, or of what is closed to the container's root. */

import { assertEquals, assertMatch } from "@std/assert";
import { type Box, type Change, comparing, type TestConfig, withUserNamespace } from "./harness.ts";

type IdMappings = NonNullable<TestConfig["mounts"][number]["uidMappings"]>;

const map = (containerID: number, hostID: number, size: number) => ({ containerID, hostID, size });

const withUser = withUserNamespace();

/** A directory with a file of user 0, one of 100 and one of 1000; with `below`, the same again in a tmpfs mounted there. */
function makeSource(box: Box, below: boolean): string {
  const source = `${box.directory}/source`;
  Deno.mkdirSync(`${source}/below`, { recursive: true });
  if (below) {
    assertEquals(new Deno.Command("mount", { args: ["-t", "tmpfs", "tmpfs", `${source}/below`] }).outputSync().code, 0);
  }
  for (const directory of [source, ...(below ? [`${source}/below`] : [])]) {
    Deno.chmodSync(directory, 0o777);
    for (const id of [0, 100, 1000]) {
      Deno.writeTextFileSync(`${directory}/${id}`, "");
      Deno.chownSync(`${directory}/${id}`, id, id);
    }
  }
  return source;
}

function withSource(box: Box, below: boolean, body: (source: string) => void): void {
  const source = makeSource(box, below);
  try {
    body(source);
  } finally {
    if (below) new Deno.Command("umount", { args: [`${source}/below`] }).outputSync();
  }
}

/** Owners of the three files, of those below too. */
const owners = "cd /mnt; stat -c %u:%g 0 100 1000; cd below; ls | while read -r name; do stat -c %u:%g $name; done";

interface Case {
  readonly fact: string;
  readonly options: string[];
  readonly mappings?: IdMappings;
  readonly user?: boolean;
  /** `uid:gid` of each file; in a user namespace of those that it has no id for, nobody. */
  readonly seen: readonly string[];
}

const nobody = "65534:65534";
const cases: readonly Case[] = [
  {
    fact: "its own mappings",
    options: ["bind"],
    mappings: [map(0, 5000, 200)],
    seen: ["5000:5000", "5100:5100", nobody],
  },
  {
    fact: "idmap",
    options: ["bind", "idmap"],
    mappings: [map(0, 5000, 200)],
    seen: ["5000:5000", "5100:5100", nobody],
  },
  {
    fact: "several ranges",
    options: ["bind"],
    mappings: [map(0, 7, 1), map(100, 70, 1), map(1000, 700, 1)],
    seen: ["7:7", "70:70", "700:700"],
  },
  {
    fact: "rbind, its mapping not that of what is below",
    options: ["rbind"],
    mappings: [map(0, 5000, 2000)],
    seen: ["5000:5000", "5100:5100", "6000:6000", "0:0", "100:100", "1000:1000"],
  },
  {
    fact: "rbind and ridmap",
    options: ["rbind", "ridmap"],
    mappings: [map(0, 5000, 2000)],
    seen: ["5000:5000", "5100:5100", "6000:6000", "5000:5000", "5100:5100", "6000:6000"],
  },
  {
    fact: "its own mappings, in a user namespace",
    options: ["bind"],
    mappings: [map(0, 100000, 65536)],
    user: true,
    seen: ["0:0", "100:100", "1000:1000"],
  },
  { fact: "the container's mappings", options: ["bind", "idmap"], user: true, seen: ["0:0", "100:100", "1000:1000"] },
  {
    fact: "the container's mappings, recursively",
    options: ["rbind", "ridmap"],
    user: true,
    seen: ["0:0", "100:100", "1000:1000", "0:0", "100:100", "1000:1000"],
  },
  { fact: "none, in a user namespace", options: ["bind"], user: true, seen: [nobody, nobody, nobody] },
];
for (const { fact, options, mappings, user, seen } of cases) {
  comparing(`the ids that a bind mount shows: ${fact}`, (box) => {
    // In a user namespace nothing that covers something may be left away: only rbind takes what is mounted below.
    withSource(box, options.includes("rbind") || !user, (source) => {
      const found = box.sh(owners, (config) => {
        if (user) withUser(config);
        config.root.readonly = false;
        if (user) Deno.mkdirSync(`${box.rootfs}/mnt`);
        config.mounts.push({
          destination: "/mnt",
          type: "bind",
          source,
          options: [...options],
          uidMappings: mappings,
          gidMappings: mappings,
        });
      });
      assertEquals(found.trimEnd().split("\n"), seen);
    });
  });
}

comparing("several mounts with ids of their own, two of them the same", (box) => {
  withSource(box, true, (source) => {
    const seen = box.sh("stat -c %u /one/0 /two/0 /three/0 /four/0; ls -A /proc/self/fd | wc -l", (config) => {
      config.root.readonly = false;
      for (const [name, id] of [["one", 10], ["two", 20], ["three", 10]] as const) {
        const mappings = [map(0, id, 1)];
        const ids = { uidMappings: mappings, gidMappings: mappings };
        config.mounts.push({ destination: `/${name}`, type: "bind", source, options: ["bind"], ...ids });
      }
      config.mounts.push({ destination: "/four", type: "bind", source, options: ["bind"] });
    });
    assertEquals(seen, "10\n20\n10\n0\n4\n");
  });
});

comparing("a file system that has no id mapping is refused in words", (box) => {
  const mappings = [map(0, 1, 1)];
  const ids = { uidMappings: mappings, gidMappings: mappings };
  const { msg, field } = box.runRefused((config) => {
    config.mounts.push({ destination: "/tmp", type: "bind", source: "/proc/self/attr", options: ["bind"], ...ids });
  });
  assertEquals(field, "/mounts/7");
  assertMatch(
    msg,
    /failed to set MOUNT_ATTR_IDMAP on \/proc\/self\/attr: invalid argument \(maybe the filesystem used/,
  );
});

comparing("a source that is not there is refused, with the helper too", (box) => {
  const { msg, field } = box.runRefused((config) => {
    withUser(config);
    config.mounts.push({ destination: "/tmp", type: "bind", source: `${box.directory}/none`, options: ["bind"] });
  });
  assertEquals(field, "/mounts/7");
  assertMatch(msg, /error mounting ".*none" to rootfs at "\/tmp": .*no such file or directory/);
});

comparing("a mount without what is mounted below it is not to be had in a user namespace: there is a hint", (box) => {
  withSource(box, true, (source) => {
    const { hint, errno } = box.runRefused((config) => {
      withUser(config);
      config.mounts.push({ destination: "/tmp", type: "bind", source, options: ["bind"] });
    });
    assertEquals([errno, hint], ["EINVAL", `use rbind, if something is mounted below ${source}`]);
  });
});

/** Below a directory that is closed to all but the host's root. */
function makeClosed(box: Box): string {
  Deno.mkdirSync(`${box.directory}/closed/open`, { recursive: true });
  Deno.writeTextFileSync(`${box.directory}/closed/open/file`, "data\n");
  Deno.chmodSync(`${box.directory}/closed`, 0o700);
  return `${box.directory}/closed/open`;
}

comparing("what only the host's root can reach is bound in a user namespace", (box) => {
  const source = makeClosed(box);
  const seen = box.sh("cat /mnt/file; cat /file", (config) => {
    withUser(config);
    for (const name of ["mnt", "file"]) {
      if (name === "mnt") Deno.mkdirSync(`${box.rootfs}/mnt`);
      else Deno.writeTextFileSync(`${box.rootfs}/file`, "");
    }
    config.mounts.push({ destination: "/mnt", type: "bind", source, options: ["bind", "ro"] });
    config.mounts.push({ destination: "/file", type: "bind", source: `${source}/file`, options: ["bind"] });
  });
  assertEquals(seen, "data\ndata\n");
});

comparing("a source may be what an earlier mount brought, in a user namespace too", (box) => {
  const source = makeClosed(box);
  const seen = box.sh("cat /second/file", (config) => {
    withUser(config);
    for (const name of ["first", "second"]) Deno.mkdirSync(`${box.rootfs}/${name}`);
    config.mounts.push({ destination: "/first", type: "bind", source, options: ["bind"] });
    config.mounts.push({ destination: "/second", type: "bind", source: `${box.rootfs}/first`, options: ["bind"] });
  });
  assertEquals(seen, "data\n");
});

comparing("flags that the user namespace has to keep are kept, and cannot be taken away by name", (box) => {
  const source = `${box.directory}/locked`;
  Deno.mkdirSync(source);
  const flags = ["-t", "tmpfs", "-o", "ro,nosuid,nodev,mode=755", "tmpfs", source];
  assertEquals(new Deno.Command("mount", { args: flags }).outputSync().code, 0);
  Deno.mkdirSync(`${box.rootfs}/mnt`);
  const bound = (...options: string[]): Change => (config) => {
    withUser(config);
    config.mounts.push({ destination: "/mnt", type: "bind", source, options: ["bind", ...options] });
  };
  try {
    const seen = box.sh("grep ' /mnt ' /proc/self/mountinfo | cut -d ' ' -f 6", bound("noexec"));
    assertEquals(seen, "ro,nosuid,nodev,noexec,relatime\n");
    for (
      const [option, why] of [["rw", "cannot clear locked flags MS_RDONLY"], [
        "dev",
        "cannot clear locked flags MS_NODEV",
      ], ["noatime", "cannot change locked atime flags"]] as const
    ) {
      const { msg } = box.runRefused(bound(option));
      assertMatch(
        msg,
        new RegExp(`failed to set user-requested vfs flags on bind-mount: ${why}.*: operation not permitted`),
      );
    }
  } finally {
    new Deno.Command("umount", { args: [source] }).outputSync();
  }
});

comparing("no process and no descriptor of the helper is left", (box) => {
  const source = makeClosed(box);
  Deno.mkdirSync(`${box.rootfs}/mnt`);
  const pid = box.startSleeping((config) => {
    withUser(config);
    config.mounts.push({ destination: "/mnt", type: "bind", source, options: ["bind", "idmap"] });
  });
  assertEquals([...Deno.readDirSync(`/proc/${pid}/fd`)].map(({ name }) => name).sort(), ["0", "1", "2"]);
  const stat = Deno.readTextFileSync(`/proc/${pid}/status`);
  assertMatch(stat, /^NSpid:\t\d+\t1$/m);
  box.remove();
});

comparing("procfs bound on /proc is taken, with a warning where it is not a whole one", (box) => {
  const bindProc = (source: string): Change => (config) => {
    config.mounts = config.mounts.filter(({ destination }) => destination !== "/proc");
    config.mounts.unshift({ destination: "/proc", type: "bind", source, options: ["rbind"] });
    config.linux.maskedPaths = [];
    config.linux.readonlyPaths = [];
    config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== "pid");
  };
  const whole = box.run(bindProc("/proc"));
  assertEquals([whole.code, whole.stderr], [0, ""]);
  const part = box.run(bindProc("/proc/sys"));
  assertMatch(part.stderr, /is of type procfs but is not the root of a procfs/);
});
