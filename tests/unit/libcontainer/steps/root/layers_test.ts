import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../../lib/errors.ts";
import type { RootLayers } from "../../../../../lib/libcontainer/config/launch_request.ts";
import { overlayOptions } from "../../../../../lib/libcontainer/steps/root/layers.ts";
import { prepareRootSteps } from "../../../../../lib/libcontainer/steps/root/rootfs.ts";
import { callLines, labels } from "../../../plan_reader.ts";
import { config, request } from "../../fixed.ts";

const rootLayers: RootLayers = { directory: "/l", names: ["1", "2:x,\\"], maximumBytes: 1000, userXattrs: false };

Deno.test("a root of layers is mounted when the host cannot see it any more, and before it is taken as the root", () => {
  const steps = prepareRootSteps(config(), { ...request, rootfs: "/r", rootLayers });
  assertEquals(labels(steps).slice(1), [
    "mount a tmpfs for changes on /r",
    "mount 2 layers of /l on /r",
    "bind /r on itself and keep it open as the root",
  ]);
  assertEquals(callLines(steps.slice(1, 3)), [
    'mount("tmpfs", "/r", "tmpfs", MS_NOSUID|MS_NODEV, "mode=0755,size=1000")',
    'mkdirat(AT_FDCWD, "/r/upper", 0755)',
    'mkdirat(AT_FDCWD, "/r/work", 0700)',
    'chdir("/l")',
    'mount("overlay", "/r", "overlay", MS_NOSUID|MS_NODEV, "lowerdir=2\\\\:x\\\\,\\\\\\\\:1,upperdir=/r/upper,workdir=/r/work")',
  ]);
});

Deno.test("a root of layers needs a mount namespace of its own", () => {
  for (const mine of [[], [{ type: "mount" as const, path: "/proc/2/ns/mnt" }]]) {
    const shared = config((draft) => {
      draft.linux.namespaces = [...draft.linux.namespaces.filter(({ type }) => type !== "mount"), ...mine];
    });
    const error = assertThrows(() => prepareRootSteps(shared, { ...request, rootLayers }), RuncError);
    assertEquals(error.code, "config-invalid");
  }
});

Deno.test("overlayOptions() escapes what separates, and refuses what does not fit into a page", () => {
  assertEquals(
    overlayOptions({ ...rootLayers, userXattrs: true }, "/r,"),
    "lowerdir=2\\:x\\,\\\\:1,upperdir=/r\\,/upper,workdir=/r\\,/work,userxattr",
  );
  const names = Array.from({ length: 127 }, () => "0".repeat(64));
  const error = assertThrows(() => overlayOptions({ ...rootLayers, names }, "/r"), RuncError);
  assertEquals([error.code, error.message.includes("127 layers")], ["unsupported", true]);
});
