/**
 * Containers of a user who is not root, set up from start to end as that user.
 *
 * The user has an account and ranges of subordinate ids in files that are mounted over the host's, in a mount namespace of each command.
 */

import { existsSync } from "@std/fs";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { criuPath, hasCriu } from "./criu_harness.ts";
import { type Change, comparingUsers, contentOf, userTest } from "./rootless_harness.ts";

/** A shell script as the container's process. */
const script = (text: string): Change => (config) => {
  config.process.args = ["sh", "-c", text];
};

comparingUsers("a user's container: ids, groups, capabilities and mounts", (user) => {
  const { code, stdout } = user.run(script(`
    id
    cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups
    grep -E '^(Cap|NoNewPrivs|Groups)' /proc/self/status
    cut -d' ' -f4-6,8- /proc/self/mountinfo
    cat /proc/self/cgroup
  `));
  assertEquals(code, 0);
  assertMatch(stdout, /uid=0\(root\) gid=0\(root\)/);
  // The masks of today's runc are smaller than those of Debian's.
  return stdout.replaceAll(user.directory, "<directory>").replaceAll(",size=4k,nr_inodes=1", "");
}, ["native", "deno", "debian"]);

comparingUsers("ranges of subordinate ids come in by newuidmap and newgidmap", (user) => {
  const { code, stdout } = user.run((config) => {
    config.linux.uidMappings!.push({ containerID: 1, hostID: 300000, size: 65536 });
    config.linux.gidMappings!.push({ containerID: 1, hostID: 300000, size: 65536 });
    config.process.user = { uid: 5, gid: 7 };
    script("id; cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups; touch /tmp/file")(config);
    config.mounts.push({ destination: "/tmp", type: "bind", source: user.world, options: ["bind", "rw"] });
  });
  assertEquals(code, 0);
  const { uid, gid } = Deno.statSync(`${user.world}/file`);
  assertEquals({ uid, gid }, { uid: 300004, gid: 300006 });
  Deno.removeSync(`${user.world}/file`);
  return stdout;
}, ["native", "deno", "debian"]);

/** Maps the user's subordinate ids. */
const withRange: Change = ({ linux }) => {
  for (const kind of ["uid", "gid"] as const) {
    linux[`${kind}Mappings`]!.push({ containerID: 1, hostID: 300000, size: 65536 });
  }
};

comparingUsers("additional groups that are mapped: of the container, and of exec", (user) => {
  const { code, stdout, stderr } = user.run((config) => {
    withRange(config);
    config.process.user = { uid: 0, gid: 0, additionalGids: [5, 65536] };
    script("id -G; grep Groups /proc/self/status; cat /proc/self/setgroups")(config);
  });
  assertEquals({ code, stderr }, { code: 0, stderr: "" });
  assertEquals(stdout, "0 5 65536\nGroups:\t5 65536 \nallow\n");
  user.write((config) => {
    withRange(config);
    script("sleep 1000")(config);
  });
  user.must(["run", "--detach", "box"]);
  assertEquals(user.must(["exec", "--additional-gids", "7", "box", "id", "-G"]), "0 7\n");
  assertEquals(user.must(["exec", "box", "grep", "Groups", "/proc/self/status"]).trim(), "Groups:");
  user.must(["delete", "--force", "box"]);
}, ["native", "deno"]);

userTest("a group that exec cannot have is refused with the reason", (user) => {
  const refused = (change: Change, gid: string): string => {
    user.write((config) => {
      change(config);
      script("sleep 1000")(config);
    });
    user.must(["run", "--detach", "box"]);
    const { code, stderr } = user.runc(["exec", "--additional-gids", gid, "box", "id", "-G"]);
    user.must(["delete", "--force", "box"]);
    assertEquals(code, 255);
    return stderr;
  };
  assertMatch(refused(() => {}, "0"), /cannot set any additional groups in a rootless container.*\/etc\/subgid/);
  assertMatch(refused(withRange, "70000"), /cannot set additional group 70000: it is not mapped.*\/etc\/subgid/);
});

userTest("create, start, state, exec, kill and delete, with state in $XDG_RUNTIME_DIR", (user) => {
  user.write(script("sleep 1000"));
  user.must(["create", "box"]);
  assertEquals(JSON.parse(user.must(["state", "box"])).status, "created");
  user.must(["start", "box"]);
  assertMatch(user.must(["list"]), /^box +\d+ +running .*tester$/m);
  assertMatch(user.must(["exec", "box", "id"]), /^uid=0\(root\)/);
  const { uid, mode } = Deno.statSync(`${user.runtimeDirectory}/runc`);
  // Sticky, so that nobody cleans it away.
  assertEquals({ uid, mode: mode! & 0o7777 }, { uid: 4000, mode: 0o1700 });
  user.must(["kill", "box", "KILL"]);
  user.must(["delete", "--force", "box"]);
  assertEquals(user.must(["list", "--quiet"]), "");
});

userTest("debug: the host's programs, in a mount namespace of the user's own", (user) => {
  user.write(script("sleep 1000"));
  user.must(["run", "--detach", "box"]);
  const command = ["sh", "-c", "id -u; cd /container; ls -d home /usr/bin; touch /usr/x 2>&1"];
  const { code, stdout } = user.runc(["debug", "box", "--", ...command]);
  assertEquals(code, 1);
  assertMatch(stdout, /^0\n\/usr\/bin\nhome\n.*Read-only file system\n$/);
  user.must(["delete", "--force", "box"]);
});

comparingUsers("a $XDG_RUNTIME_DIR that is missing is made, for the user alone", (user) => {
  const env = { XDG_RUNTIME_DIR: `${user.runtimeDirectory}/a/b` };
  assertEquals(user.must(["list", "--quiet"], { env }), "");
  return ["a", "a/b", "a/b/runc"].map((name) => {
    const { uid, mode } = Deno.statSync(`${user.runtimeDirectory}/${name}`);
    return [uid, (mode! & 0o7777).toString(8)];
  });
}, ["native", "debian"]);

userTest("a $XDG_RUNTIME_DIR that cannot be written to is told of", (user) => {
  const { code, stdout, stderr } = user.runc(["list"], { env: { XDG_RUNTIME_DIR: "/proc/none" } });
  assertEquals([code, stdout], [1, ""]);
  assertMatch(
    stderr,
    /msg="mkdir \/proc\/none\/runc: no such file or directory" .*hint="make \$XDG_RUNTIME_DIR writable/,
  );
});

userTest("a terminal of its own", (user) => {
  user.write((config) => {
    config.process.terminal = true;
    script("tty; stat -c %u /dev/console")(config);
  });
  const { code, stdout } = user.onTerminal(["run", "box"]);
  assertEquals(code, 0, stdout);
  assertMatch(stdout, /\/dev\/pts\/0\r?\n0/);
});

userTest("cgroups that were delegated to the user hold the container", (user) => {
  user.delegateCgroup();
  const { code, stdout, stderr } = user.run((config) => {
    config.linux.cgroupsPath = `${user.cgroup}/box`;
    script("cat /proc/self/cgroup")(config);
  });
  assertEquals({ code, stderr }, { code: 0, stderr: "" });
  for (const controller of ["cpu", "pids", "freezer", "devices"]) {
    assertMatch(stdout, new RegExp(`:${controller}:${user.cgroup}/box\n`));
  }
});

userTest("a cgroup that was not delegated is refused where the config asks for it by name", (user) => {
  const error = user.refused((config) => {
    config.linux.cgroupsPath = `${user.cgroup}/box`;
  });
  assertMatch(error.msg, /unable to apply cgroup configuration: mkdir \S+: permission denied/);
  assertMatch(error.hint ?? "", /delegate/);
});

userTest("what a user may not have is refused, with the field", (user) => {
  const cases: readonly [change: Change, message: RegExp, field: string, hint?: string][] = [
    [
      ({ linux }) => {
        linux.namespaces = linux.namespaces.filter(({ type }) => type !== "user");
        linux.uidMappings = linux.gidMappings = undefined;
      },
      /rootless container requires user namespaces/,
      "/linux/namespaces",
    ],
    [
      (config) => config.linux.uidMappings = [],
      /rootless containers requires at least one UID mapping/,
      "/linux/uidMappings",
    ],
    [
      (config) => config.mounts.find(({ type }) => type === "devpts")!.options!.push("gid=5"),
      /cannot specify gid=5 mount option for rootless container/,
      "/mounts/",
      "/etc/subgid",
    ],
    [
      (config) => config.process.user = { uid: 0, gid: 0, additionalGids: [0] },
      /cannot set any additional groups in a rootless container/,
      "/process/user/additionalGids",
      "setgroups(2) is denied where only your own group is mapped",
    ],
    [
      (config) => {
        withRange(config);
        config.process.user = { uid: 0, gid: 0, additionalGids: [65536, 65537] };
      },
      /cannot set additional group 65537: it is not mapped in the user namespace/,
      "/process/user/additionalGids/1",
      "/etc/subgid",
    ],
    [
      (config) => config.process.user = { uid: 1, gid: 0 },
      /no mapping found for uid 1|cannot setuid to unmapped uid 1/,
      "/process/user/uid",
      "/etc/subuid",
    ],
  ];
  for (const [change, message, field, hint = ""] of cases) {
    const error = user.refused(change);
    assertMatch(error.msg, message);
    assert(error.field?.startsWith(field), JSON.stringify(error));
    assertStringIncludes(error.hint ?? "", hint);
  }
});

userTest("ids that are not the user's: the error names the file that lists them", (user) => {
  for (const kind of ["gid", "uid"] as const) {
    const error = user.refused((config) => {
      config.linux[`${kind}Mappings`]!.push({ containerID: 1, hostID: 100, size: 10 });
    });
    const said =
      `new${kind}map \\d+ 0 4000 1 1 100 10: new${kind}map: ${kind} range \\[1-11\\) -> \\[100-110\\) not allowed`;
    assertMatch(error.msg, new RegExp(said));
    assertEquals(error.field, `/linux/${kind}Mappings`);
    assertStringIncludes(error.hint!, `/etc/sub${kind}`);
  }
});

userTest("without newuidmap the error names the packages that have it", (user) => {
  const error = user.refused((config) => {
    config.linux.uidMappings!.push({ containerID: 1, hostID: 300000, size: 10 });
  }, { PATH: "/nowhere" });
  assertMatch(error.msg, /newuidmap is not installed/);
  assertStringIncludes(error.hint!, "uidmap");
});

userTest("where user namespaces are used up the error names the sysctl", (user) => {
  const error = user.refused(
    ({ linux }) => {
      // Root of that namespace has no other ids.
      linux.uidMappings = linux.gidMappings = [{ containerID: 0, hostID: 0, size: 1 }];
    },
    {},
    { namespaces: 0 },
  );
  assertEquals(error.errno, "ENOSPC", error.stderr);
  assertStringIncludes(error.hint!, "user.max_user_namespaces");
});

userTest("a state directory that cannot be made is named, and how to choose another", (user) => {
  user.write();
  const { code, stderr } = user.runc(["--root", "/sys/no/where", "run", "box"]);
  assertEquals(code, 1);
  assertMatch(stderr, /cannot make the state directory \/sys\/no\/where: .*set another directory with --root/);
});

userTest("with --init deno nobody can write to the binary that the container can see", (user) => {
  user.write(script("sleep 1000"));
  user.must(["create", "box"], { executor: "deno" });
  const { pid } = JSON.parse(user.must(["state", "box"]));
  // The user's own file would be theirs to write: what runs is a sealed copy of it.
  assertStringIncludes(Deno.readLinkSync(`/proc/${pid}/exe`), "memfd:deno");
  user.must(["delete", "--force", "box"]);
  assertEquals(contentOf(`${user.runtimeDirectory}/runc/box/state.json`), "");
});

if (hasCriu) {
  userTest("checkpoint and restore need a CRIU with a capability, and say so before they make anything", (user) => {
    user.write((config) => {
      config.process.args = ["sleep", "1000"];
    });
    assertEquals(user.runc(["run", "--detach", "box"]).code, 0);
    const images = `${user.world}/images`;
    const env = { PATH: criuPath };
    const refused = (args: readonly string[], why: RegExp) => {
      const { code, stderr } = user.runc([...args], { env });
      assertEquals(code, 1);
      assertStringIncludes(stderr, "runc checkpoint is untested with rootless containers");
      assertMatch(stderr, why);
    };
    refused(
      ["checkpoint", "--image-path", images, "box"],
      /msg="without root, CRIU needs the capability CAP_CHECKPOINT_RESTORE" code=host-lacks hint="setcap cap_checkpoint_restore\+eip \/.*criu"/,
    );
    assertEquals(existsSync(images), false);
    assertStringIncludes(user.must(["state", "box"]), '"status": "running"');
    user.must(["delete", "--force", "box"]);
    refused(
      ["restore", "--detach", "--image-path", images, "box"],
      /msg="without root, a restore needs the capability CAP_SYS_ADMIN" code=host-lacks hint="CRIU gets the rootfs as/,
    );
    assertEquals(existsSync(images), false);
    assertEquals(user.must(["list", "--quiet"]), "");
  });
}
