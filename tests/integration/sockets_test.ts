/** The socket between the runtime and a container's first process: what the kernel makes of a peer that dies. */

import { assertEquals } from "@std/assert";
import { alloc } from "../../lib/ffi/kernel.ts";
import { packetPair, receive, send } from "../../lib/ffi/sockets.ts";
import { kernel } from "./harness.ts";

const bytes = (text: string) => {
  const copy = alloc(text.length);
  new TextEncoder().encodeInto(text, copy);
  return copy;
};

Deno.test("what a peer said before it died is received, also where it left something unread, and then the end", () => {
  const [ours, theirs] = packetPair(kernel, "test");
  using socket = ours;
  send(kernel, theirs.number, bytes("error"));
  send(kernel, theirs.number, bytes("more"));
  // The peer never reads this: the kernel resets the connection, and tells that first. unix(7), ECONNRESET
  send(kernel, socket.number, bytes("go"));
  theirs.close();
  const next = () => new TextDecoder().decode(receive(kernel, socket, 16).bytes);
  assertEquals([next(), next(), next(), next()], ["error", "more", "", ""]);
});
