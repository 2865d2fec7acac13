/**
 * The part of `@std/path` that this project uses, POSIX only. It works on strings and does not access the file system.
 *
 * @see jsr:@std/path
 * @module
 */

/** Whether `path` is absolute. */
export function isAbsolute(path: string): boolean {
  return path.startsWith("/");
}

/**
 * `path` without `.`, `..` and repeated slashes. A trailing slash stays, an empty path becomes `.`. Symlinks are not
 * followed.
 */
export function normalize(path: string): string {
  if (path === "") return ".";
  const absolute = isAbsolute(path);
  const body = withoutDots(path, absolute).join("/");
  const tail = path.endsWith("/") && body !== "" ? "/" : "";
  if (absolute) return `/${body}${tail}`;
  if (body === "") return path.endsWith("/") ? "./" : ".";
  return body + tail;
}

/**
 * The segments of `path` with every `..` applied. A `..` above the root is dropped; at the start of a relative path it
 * stays.
 */
function withoutDots(path: string, absolute: boolean): readonly string[] {
  const kept: string[] = [];
  for (const segment of path.split("/")) {
    if (segment === "" || segment === ".") continue;
    if (segment !== "..") kept.push(segment);
    else if (kept.length > 0 && kept.at(-1) !== "..") kept.pop();
    else if (!absolute) kept.push("..");
  }
  return kept;
}

/** Joins the non-empty `paths` with slashes and normalizes the result. */
export function join(path: string, ...paths: string[]): string {
  return normalize([path, ...paths].filter((part) => part !== "").join("/"));
}

/** Makes an absolute path from `segments`, read from the right until one is absolute, or else below `Deno.cwd()`. */
export function resolve(...segments: string[]): string {
  let resolved = "";
  for (const segment of segments.toReversed()) {
    if (isAbsolute(resolved)) break;
    if (segment !== "") resolved = resolved === "" ? segment : `${segment}/${resolved}`;
  }
  if (!isAbsolute(resolved)) resolved = `${Deno.cwd()}/${resolved}`;
  return withoutTrailingSlashes(normalize(resolved)) || "/";
}

/** Everything before the last segment of `path`, or `.` if there is nothing. */
export function dirname(path: string): string {
  const stripped = withoutTrailingSlashes(path);
  const slash = stripped.lastIndexOf("/");
  if (slash === -1) return stripped === "" && path !== "" ? "/" : ".";
  return withoutTrailingSlashes(stripped.slice(0, slash)) || "/";
}

/** The last segment of `path`, without `suffix` if it ends with it and is longer. */
export function basename(path: string, suffix = ""): string {
  const stripped = withoutTrailingSlashes(path);
  if (stripped === "" && path !== "") return "/";
  const name = stripped.slice(stripped.lastIndexOf("/") + 1);
  return suffix !== "" && name !== suffix && name.endsWith(suffix) ? name.slice(0, -suffix.length) : name;
}

function withoutTrailingSlashes(path: string): string {
  let end = path.length;
  while (end > 0 && path[end - 1] === "/") end--;
  return path.slice(0, end);
}

/** The relative path from the directory `from` to `to`; empty if they are the same. Both are resolved first. */
export function relative(from: string, to: string): string {
  const source = segmentsOf(from);
  const target = segmentsOf(to);
  let shared = 0;
  while (shared < source.length && shared < target.length && source[shared] === target[shared]) shared++;
  return [...source.slice(shared).map(() => ".."), ...target.slice(shared)].join("/");
}

function segmentsOf(path: string): readonly string[] {
  return resolve(path).split("/").filter((segment) => segment !== "");
}
