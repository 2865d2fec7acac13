import { assertEquals } from "@std/assert";
import { namespaceFindings } from "../../../../lib/libcontainer/inspect/namespaces.ts";
import { endedView, named, stateOf, viewOf } from "./fixed.ts";

const own = { namespaces: { pid: "pid:[1]", network: "net:[2]", uts: "uts:[3]" }, seccomp: "0" };
const state = stateOf({
  linux: { namespaces: [{ type: "pid" }, { type: "network", path: "/run/netns/web" }] },
});

Deno.test("a new namespace is not the host's, a shared one is, and a joined one is that at its path", () => {
  const namespaces = { pid: "pid:[11]", network: "net:[12]", uts: "uts:[3]" };
  const found = namespaceFindings(state, viewOf({ namespaces }, { own, joined: { "/run/netns/web": "net:[12]" } }));
  assertEquals(
    found,
    [
      {
        topic: "namespaces",
        name: "pid",
        field: "/linux/namespaces/0",
        config: "new",
        kernel: "pid:[11]",
        verdict: "same",
      },
      {
        topic: "namespaces",
        name: "network",
        field: "/linux/namespaces/1",
        config: "joined: /run/netns/web",
        kernel: "net:[12]",
        verdict: "same",
      },
      { topic: "namespaces", name: "uts", config: "the host's", kernel: "uts:[3]", verdict: "same" },
    ].map((finding) => ({ note: undefined, ...finding })) as typeof found,
  );
});

Deno.test("each kind of wrong namespace is a difference with a note", () => {
  const namespaces = { pid: "pid:[1]", network: "net:[12]", uts: "uts:[13]" };
  const found = namespaceFindings(state, viewOf({ namespaces }, { own, joined: { "/run/netns/web": "net:[99]" } }));
  const told = (name: string) => [named(found, name).verdict, named(found, name).note];
  assertEquals(told("pid"), ["different", "the host's namespace"]);
  assertEquals(told("network"), ["different", "the path is net:[99] now"]);
  assertEquals(told("uts"), [
    "different",
    "not that of this command: the container was created in another one",
  ]);
});

Deno.test("without the path or the process, nothing is known", () => {
  const namespaces = { network: "net:[12]" };
  const joined = named(namespaceFindings(state, viewOf({ namespaces }, { own })), "network");
  assertEquals([joined.verdict, joined.kernel], ["unknown", "net:[12]"]);
  const ended = namespaceFindings(state, { ...endedView, own });
  assertEquals(ended.map(({ verdict }) => verdict), ["unknown", "unknown", "unknown"]);
});
