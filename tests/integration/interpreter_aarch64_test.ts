/** The aarch64 interpreter runs the programs of interpreter_programs.ts. */

import { testInterpreter } from "./interpreter_suite.ts";

testInterpreter("aarch64");
