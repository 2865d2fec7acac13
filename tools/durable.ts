/**
 * Writes files atomically and durably: after a crash of the host, a file is complete or absent. A shell would run an
 * empty program as an empty script, which succeeds.
 *
 * @module
 */

/**
 * Writes a new file with this mode next to `path`, syncs it to disk and renames it to `path`. If that fails, the old
 * file stays.
 */
export function writeWhole(path: string, mode: number, write: (write: (bytes: Uint8Array) => void) => void): void {
  const unfinished = `${path}.new`;
  try {
    using file = Deno.openSync(unfinished, { write: true, create: true, truncate: true });
    write((bytes) => writeFully(file, bytes));
    Deno.chmodSync(unfinished, mode);
    file.syncSync();
  } catch (error) {
    Deno.removeSync(unfinished);
    throw error;
  }
  Deno.renameSync(unfinished, path);
}

/** Repeats the write until everything is written. */
export function writeFully(file: Deno.FsFile, bytes: Uint8Array): void {
  for (let rest = bytes; rest.length > 0;) rest = rest.subarray(file.writeSync(rest));
}

/** Like {@link writeWhole}, for text. */
export function writeWholeText(path: string, mode: number, text: string): void {
  writeWhole(path, mode, (write) => write(new TextEncoder().encode(text)));
}

/** Syncs all files and directories below a directory, including their names, to disk. */
export function settleAll(directory: string): void {
  for (const { name, isDirectory, isFile } of Deno.readDirSync(directory)) {
    const path = `${directory}/${name}`;
    if (isDirectory) settleAll(path);
    else if (isFile) settle(path);
  }
  settle(directory);
}

function settle(path: string): void {
  using file = Deno.openSync(path);
  file.syncSync();
}
