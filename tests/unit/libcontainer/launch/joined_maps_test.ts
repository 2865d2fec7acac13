import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { readJoinedMaps } from "../../../../lib/libcontainer/launch/joined_maps.ts";
import { runtimeOn } from "../../host/containers.ts";
import { type FakeHost, file } from "../../host/host.ts";
import { Speaker } from "../../host/stage.ts";
import { withHost } from "../../host/with_host.ts";

const uid = { containerID: 0, hostID: 5000, size: 10 }, gid = { containerID: 0, hostID: 6000, size: 20 };

/** What the visitor of a user namespace does. */
function visitor(host: FakeHost, ends = false): void {
  host.stage = (process) =>
    (function* () {
      const me = new Speaker(process, host);
      if (ends) return 1;
      process.files.set("uid_map", "         0       5000         10\n");
      process.files.set("gid_map", "         0       6000         20\n");
      process.files.set("setgroups", "deny\n");
      me.say("mapping");
      yield* me.await();
      return 0;
    })();
}

Deno.test("the maps of a process's namespace are read from its directory", () => {
  withHost((host) => {
    const { runtime } = runtimeOn(host);
    const { pid, files } = host.start("other");
    files.set("uid_map", "0 5000 10\n1 7000 1\n");
    files.set("gid_map", "0 6000 20\n");
    assertEquals(readJoinedMaps(runtime, `/proc/${pid}/ns/user`), {
      uidMappings: [uid, { containerID: 1, hostID: 7000, size: 1 }],
      gidMappings: [gid],
      deniesSetgroups: false,
    });
    assertThrows(() => readJoinedMaps(runtime, "/proc/99999/ns/user"), Deno.errors.NotFound);
  });
});

Deno.test("for a namespace that is mounted elsewhere, a process joins it, and is gone afterwards", () => {
  withHost((host) => {
    const { runtime } = runtimeOn(host);
    host.fs.put("/run/ns", file());
    visitor(host);
    const maps = readJoinedMaps(runtime, "/run/ns");
    assertEquals(maps, { uidMappings: [uid], gidMappings: [gid], deniesSetgroups: true });
    assertEquals([host.openFiles, host.others], [[], []]);
  });
});

Deno.test("a namespace that cannot be joined or opened is an error", () => {
  withHost((host) => {
    const { runtime } = runtimeOn(host);
    host.fs.put("/run/ns", file());
    visitor(host, true);
    assertThrows(() => readJoinedMaps(runtime, "/run/ns"), RuncError, "stage ended before it was ready: exit status 1");
    assertThrows(() => readJoinedMaps(runtime, "/run/none"), RuncError, "no such file or directory");
    assertEquals([host.openFiles, host.others], [[], []]);
  });
});
