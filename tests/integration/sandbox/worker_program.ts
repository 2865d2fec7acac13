/** A worker that makes sandboxes of its own. A message is a directory; the answer is what its sandboxes have printed, with their ids. */

import { Sandbox } from "../../../mod.ts";

const worker = self as unknown as {
  onmessage: (event: MessageEvent<string>) => void;
  postMessage(message: { readonly texts: readonly string[]; readonly ids: readonly string[] }): void;
};

worker.onmessage = async ({ data: directory }) => {
  await using pool = Sandbox.pool({ size: 1, directory });
  const texts: string[] = [], ids: string[] = [];
  for (let round = 0; round < 5; round++) {
    await using sandbox = await pool.acquire();
    ids.push(sandbox.id);
    texts.push((await sandbox.sh`echo ${round}; hostname`.text()).replaceAll("\n", " "));
  }
  await pool.close();
  worker.postMessage({ texts, ids });
};
