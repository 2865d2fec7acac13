/**
 * Debian's packages, unpacked where nothing of them is installed: from a suite that this machine need not be of.
 *
 * @module
 */

import { giveUp, type Outcome, reason, runTool } from "../../tools/bundle.ts";

/**
 * Where all packages are from: the mirror of Debian that this machine's own apt sources name. It has every suite. Ends
 * the program with a line where no source is one.
 */
export function mirror(): string {
  const format = "--format=$(COMPONENT) $(REPO_URI)";
  const { stdout } = must("apt-get", ["indextargets", format, "Created-By: Packages"], "read the apt sources");
  return /^main (\S+\/debian)\/?$/m.exec(stdout)?.[1] ?? giveUp("no apt source of this machine is a mirror of Debian");
}

/** What a suite of Debian has. */
export class Suite implements Disposable {
  readonly #directory: string;
  readonly #options: readonly string[];

  /** `directory`: a new one, for as long as this is used. `architecture`: another one than this machine's. */
  constructor(name: "bookworm" | "sid", directory: string, architecture?: "arm64") {
    this.#directory = directory;
    Deno.mkdirSync(`${directory}/lists/partial`, { recursive: true });
    const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
    Deno.writeTextFileSync(`${directory}/sources`, `deb [signed-by=${keyring}] ${mirror()} ${name} main\n`);
    this.#options = [
      `-oDir::Etc::SourceList=${directory}/sources`,
      "-oDir::Etc::SourceParts=-",
      `-oDir::State::Lists=${directory}/lists`,
      `-oDir::Cache=${directory}`,
      "-oAPT::Sandbox::User=root",
      ...(architecture === undefined
        ? []
        : [`-oAPT::Architecture=${architecture}`, `-oAPT::Architectures=${architecture}`]),
    ];
    // Otherwise lists that could not be fetched are warnings, and packages are missing afterwards.
    this.#apt("apt-get", "-oAPT::Update::Error-Mode=any", "update");
  }

  /** The package that another one, which is empty, stands for: `linux-source` for `linux-source-7.2`. */
  currentOf(empty: string): string {
    const { stdout } = this.#apt("apt-cache", "show", "--no-all-versions", empty);
    return /^Depends: ([^\s,]+)/m.exec(stdout)?.[1] ?? giveUp(`Debian's ${empty} depends on nothing`);
  }

  /** Unpacks them into `directory`. */
  unpack(packages: readonly string[], directory: string): void {
    this.#apt("apt-get", "download", ...packages);
    this.#extract(this.#directory, directory);
  }

  #extract(from: string, directory: string): void {
    for (const { name } of [...Deno.readDirSync(from)].filter(({ name }) => name.endsWith(".deb"))) {
      const archive = `${from}/${name}`;
      must("dpkg-deb", ["--extract", archive, directory], `unpack ${name}`);
      Deno.removeSync(archive);
    }
  }

  /** Unpacks them into `directory` with everything that they depend on, libc too. */
  unpackWhole(packages: readonly string[], directory: string): void {
    // With an empty status file nothing counts as installed.
    const status = `${this.#directory}/status`;
    Deno.writeTextFileSync(status, "");
    Deno.mkdirSync(`${this.#directory}/archives/partial`, { recursive: true });
    const options = [`-oDir::State::status=${status}`, "--yes", "--no-install-recommends", "--download-only"];
    this.#apt("apt-get", ...options, "install", ...packages);
    this.#extract(`${this.#directory}/archives`, directory);
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.#directory, { recursive: true });
  }

  #apt(program: string, ...args: readonly string[]): Outcome {
    const words = ["-C", this.#directory, program, ...this.#options, ...args];
    return must("env", words, `get packages from Debian: ${program} ${args.at(-1)}`);
  }
}

/** Runs a program that has to succeed, or ends this one with a line that says what it was for. */
export function must(program: string, args: readonly string[], purpose: string): Outcome {
  const outcome = runTool(program, args, { DEBIAN_FRONTEND: "noninteractive" });
  if (!outcome.success) giveUp(`cannot ${purpose}: ${program}: ${reason(outcome.stderr)}`);
  return outcome;
}
