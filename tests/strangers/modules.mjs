// Packages come from the tool environment that tests/run made, not from a node_modules beside the script.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(`${process.env.TOOLS_NODE}/package.json`);

export const load = (name) => import(pathToFileURL(require.resolve(name)).href);
