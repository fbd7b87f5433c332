// componentize.mjs SOURCE WIT OUT: a component of a JavaScript handler.
import { writeFile } from "node:fs/promises";
import { componentize } from "@bytecodealliance/componentize-js";

const [sourcePath, witPath, out] = process.argv.slice(2);
const { component } = await componentize({ sourcePath, witPath, worldName: "backlot:hello/hello" });
await writeFile(out, component);
