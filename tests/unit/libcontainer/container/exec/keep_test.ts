import { assert, assertEquals } from "@std/assert";
import { FileType } from "../../../../../lib/ffi/constants.ts";
import { Errno } from "../../../../../lib/ffi/errno.ts";
import type { Kept } from "../../../../../lib/libcontainer/container/exec/keep.ts";
import {
  entryOffsets,
  KnownFlag,
  knownHead,
  type KnownSection,
  knownSections,
  REQUEST_LIMIT,
} from "../../../../../lib/libcontainer/state/known_exec.ts";
import type { Process } from "../../../../../lib/specs/config.ts";
import { createOn, type Creating, runtimeOn } from "../../../host/containers.ts";
import type { FakeHost } from "../../../host/host.ts";
import { type Conduct, stageOf } from "../../../host/stage.ts";
import { withHost } from "../../../host/with_host.ts";

const sleep: Process = { args: ["sleep", "1"], cwd: "/", user: { uid: 0, gid: 0 }, env: ["HOME=/"] };

const kept: Kept = {
  argv: ["box", "sleep", "1"],
  root: "/run/runc",
  log: "",
  format: "text",
  request: new TextEncoder().encode("{}"),
  requestPath: "/bundle/config.json",
  owner: { uid: 5, gid: 6 },
};

const foreground: Kept = { ...kept, again: { path: "/usr/bin/runc", args: ["/usr/bin/runc"], ownArguments: 4 } };

interface Case {
  readonly kept?: Kept;
  readonly process?: Process;
  readonly creating?: Creating;
  readonly conduct?: Conduct;
  readonly prepare?: (host: FakeHost) => void;
}

/** What is kept of an exec: the file, if there is one. */
function keptOf({ kept: asked = kept, process = sleep, creating, conduct, prepare }: Case): Uint8Array | undefined {
  return withHost((host) => {
    const logged = runtimeOn(host);
    const { container, process: first } = createOn(host, logged, creating);
    first[Symbol.dispose]();
    logged.wait(container.start());
    host.goOn();
    prepare?.(host);
    host.stage = stageOf({ isExec: true, name: "sleep", ...conduct });
    using _started = logged.wait(container.exec({ process, stdio: [0, 1, 2], kept: asked }));
    const path = `${logged.runtime.root}/${container.id}/known`;
    try {
      return Deno.readFileSync(path);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    }
  });
}

const word = (bytes: Uint8Array, at: number) => new DataView(bytes.buffer, bytes.byteOffset).getUint32(at, true);

/** A number of the first entry. */
const number = (known: Uint8Array, name: keyof typeof entryOffsets) =>
  word(known, knownHead.entries + entryOffsets[name]);

function section(known: Uint8Array, name: KnownSection): string {
  const at = knownHead.entries + entryOffsets.sections + 8 * knownSections.indexOf(name);
  const start = knownHead.entries + word(known, at);
  return new TextDecoder().decode(known.subarray(start, start + word(known, at + 4)));
}

Deno.test("an exec is kept with the request, the image, and what has to be the same", () => {
  const known = keptOf({})!;
  assertEquals([number(known, "flags"), number(known, "words")], [KnownFlag.detached | KnownFlag.created, 3]);
  assertEquals(section(known, "argv"), "box\0sleep\x001\0");
  assertEquals([section(known, "request"), section(known, "requestPath")], ["{}", "/bundle/config.json\0"]);
  assertEquals([section(known, "home"), section(known, "passwd"), section(known, "monitor")], ["/\0", "", ""]);
  assertEquals([number(known, "uid"), number(known, "gid")], [5, 6]);
  assert(section(known, "image").slice(1, 4) === "ELF");
  assert(number(known, "lowest") <= number(known, "sync"));
});

Deno.test("in the foreground, the monitor has a place for the pid", () => {
  const known = keptOf({ kept: foreground })!;
  assertEquals(number(known, "flags"), KnownFlag.created);
  const at = number(known, "pidPlace");
  assertEquals(section(known, "monitor").indexOf("<THEPID>") >= 0 && at > 0, true);
  assertEquals([number(known, "arguments"), number(known, "stdin")], [4, FileType.S_IFREG]);
});

const unusual: readonly (readonly [why: string, how: Case])[] = [
  ["the request is too long", { kept: { ...kept, request: new Uint8Array(REQUEST_LIMIT + 1) } }],
  ["the AppArmor profile may be stacked", {
    process: { ...sleep, noNewPrivileges: true, apparmorProfile: "box" },
  }],
  ["a sandbox around the runtime has a filter", { prepare: (host) => host.isFiltered = true }],
  ["the program's file is not there", { prepare: (host) => host.refuse("open /proc/self/exe", Errno.ENOENT) }],
  ["commands on the container need an engine", { prepare: (host) => host.fs.remove("/run/runc/box/resident") }],
];

for (const [why, how] of unusual) {
  Deno.test(`an exec is not kept if ${why}`, () => assertEquals(keptOf(how), undefined));
}
