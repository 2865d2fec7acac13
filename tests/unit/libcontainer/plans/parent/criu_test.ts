/** What a checkpoint and a restore do, read from top to bottom. */

import { assert, assertEquals } from "@std/assert";
import type { Act } from "../../../../../lib/libcontainer/plans/parent/act.ts";
import { dumpActs, restoreActs } from "../../../../../lib/libcontainer/plans/parent/criu.ts";
import { showAct } from "../../../../../lib/libcontainer/plans/parent/show.ts";
import { containers, dumps, restores } from "../../parent_plans.ts";

const labels = (acts: readonly Act[]) => acts.map(({ label }) => label);

const found = "find CRIU, which this user must be allowed to use";
const begin = ["lock the container and read its state", "find out the status", found, "start CRIU"];
const asked = "ask CRIU for its version and for what it can do";
const opened = "make and open the directories of the images and of CRIU's log";
const saved = "ask CRIU to save the processes";
const end = ["wait for CRIU: the processes are saved", "wait for CRIU's end", "release the container's lock"];

Deno.test("dumpActs() asks before it makes anything, and holds the lock until the end", () => {
  assertEquals(labels(dumpActs(containers.v2, dumps.typical)), [
    ...begin,
    asked,
    opened,
    "write what CRIU does not save",
    saved,
    ...end,
  ]);
  // A pre-dump saves memory only.
  assertEquals(labels(dumpActs(containers.v2, dumps["--pre-dump"])), [
    ...begin,
    asked,
    opened,
    `${saved}' memory`,
    ...end,
  ]);
});

Deno.test("dumpActs() releases the lock when only the memory is missing", () => {
  assertEquals(labels(dumpActs(containers.v2, dumps["--lazy-pages"])), [
    ...begin,
    asked,
    "check the status descriptor",
    opened,
    "write what CRIU does not save",
    saved,
    "wait for CRIU: the memory can be fetched",
    "release the container's lock",
    "tell the caller that the memory can be fetched",
    "let CRIU go on",
    ...end,
  ]);
});

Deno.test("restoreActs() moves CRIU into the cgroups before it makes a process, and saves the state twice", () => {
  assertEquals(labels(restoreActs(restores.everything)), [
    found,
    "make the state directory",
    "make the directory of the notify socket",
    "save the state, so that delete finds what there is if this process is killed",
    "make the places of the mounts",
    "mount the rootfs for CRIU",
    "start CRIU",
    "ask CRIU for its version",
    "make the cgroups",
    "move CRIU into the cgroups",
    "make the Intel RDT group",
    "move CRIU into the Intel RDT group",
    "set the device rules",
    "set the limits",
    "set the Intel RDT schemas",
    "open the directories of the images and of CRIU's log",
    "ask CRIU to restore the processes",
    "wait for CRIU: the namespaces exist",
    "check that the restored process is our child",
    "set the loopback device up",
    "move network device eth1",
    "move network device eth0",
    "run prestart hook /net",
    "run prestart hook /gpu",
    "run createRuntime hook /runtime",
    "let CRIU go on",
    "wait for CRIU: the processes are restored",
    "describe the container",
    "save the state",
    "let CRIU go on",
    "wait for CRIU: the processes run",
    "wait for CRIU's end",
    "unmount the rootfs",
  ]);
});

Deno.test("restoreActs() leaves a joined network namespace as it is, and gives it to CRIU", () => {
  const acts = restoreActs(restores.joined);
  const all = labels(acts);
  assert(all.includes("open the namespace /run/netns/a to join"));
  assert(!all.includes("set the loopback device up"));
  const start = acts.find(({ does }) => does.verb === "startCriu")!;
  assertEquals(showAct(start)[1], "posix_spawn criu swrk 3, with the descriptors <extRootNetNS>");
});

Deno.test("a request shows the options that are given, and an undo its condition", () => {
  const shown = (acts: readonly Act[]) => showAct(acts.find(({ does }) => does.verb === "requestCriu")!);
  assertEquals(shown(dumpActs(containers.v2, dumps["--lazy-pages"])), [
    "send DUMP to <criu>",
    "lazyPages = true",
    'pageServer.address = "127.0.0.1"',
    "pageServer.port = 27",
    "if a later act fails: let CRIU take back what it has done; end CRIU; thaw the cgroup (only if it is not paused)",
  ]);
  assertEquals(shown(restoreActs(restores.everything)), [
    "send RESTORE to <criu>",
    "tcpEstablished = true",
    'manageCgroupsMode = "soft"',
    'lsmProfile = "apparmor:box"',
    "if a later act fails: let CRIU take back what it has done",
  ]);
});

Deno.test("only a container with a terminal hands its master over", () => {
  const hands = (name: keyof typeof restores) =>
    restoreActs(restores[name]).flatMap(({ does }) => does.verb === "awaitCriu" ? [does.hands] : []);
  assertEquals(hands("without a terminal"), [undefined, undefined, undefined]);
  assertEquals(hands("typical"), [undefined, "terminal", undefined]);
});
