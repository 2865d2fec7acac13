/** process.env: what the program finds, where the config has none. */

import { assertEquals } from "@std/assert";
import { comparing } from "./harness.ts";

comparing("env: without process.env there is nothing in the environment, with an empty one HOME alone", (box) => {
  const seen = (env: string[] | undefined) => {
    box.write((config) => {
      config.process.args = ["/bin/env"];
      if (env === undefined) delete (config.process as { env?: string[] }).env;
      else config.process.env = env;
    });
    return box.must(["run", box.id]);
  };
  assertEquals([seen(undefined), seen([])], ["", "HOME=/root\n"]);
});
