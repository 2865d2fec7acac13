import { assertEquals, assertThrows } from "@std/assert";
import { parsePageServer } from "../../../lib/cli/criu/checkpoint_options.ts";
import { RuncError } from "../../../lib/errors.ts";

Deno.test("parsePageServer() splits an address from its port, like Go's net.SplitHostPort", () => {
  const cases: readonly [text: string | undefined, server: ReturnType<typeof parsePageServer>][] = [
    [undefined, undefined],
    ["", undefined],
    ["127.0.0.1:27277", { address: "127.0.0.1", port: 27277 }],
    ["host:080", { address: "host", port: 80 }],
    ["[::1]:65535", { address: "::1", port: 65535 }],
    ["host:0", undefined],
  ];
  for (const [text, server] of cases) assertEquals(parsePageServer(text), server, text);
});

Deno.test("parsePageServer() refuses anything else in runc's words", () => {
  const form = "Use --page-server ADDRESS:PORT to specify page server";
  const cases: readonly [text: string, message: string][] = [
    ["host", form],
    ["host:", form],
    [":80", form],
    ["::1:80", form],
    ["[::1]", form],
    ["[]:80", form],
    ["host:http", "Invalid port number"],
    ["host:-1", "Invalid port number"],
    ["host:65536", "Invalid port number"],
    ["host:8 0", "Invalid port number"],
  ];
  for (const [text, message] of cases) {
    const error = assertThrows(() => parsePageServer(text), RuncError, undefined, text);
    assertEquals([error.code, error.message], ["usage", message], text);
  }
});
