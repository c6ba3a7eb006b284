// Compiles every .sol file of this folder and writes <Contract>.hex (creation code) beside it.
//
//     npm ci && npm run build
//
// The settings are pinned, so the same sources give the same bytes: no metadata, optimiser on.

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const solc = createRequire(import.meta.url)("solc");
const folder = dirname(fileURLToPath(import.meta.url));
const names = readdirSync(folder).filter((name) => name.endsWith(".sol")).sort();

const input = {
  language: "Solidity",
  sources: Object.fromEntries(
    names.map((name) => [name, { content: readFileSync(join(folder, name), "utf8") }]),
  ),
  settings: {
    evmVersion: "cancun",
    optimizer: { enabled: true, runs: 200 },
    metadata: { bytecodeHash: "none", appendCBOR: false },
    outputSelection: { "*": { "*": ["evm.bytecode.object", "evm.methodIdentifiers"] } },
  },
};

const output = JSON.parse(solc.compile(JSON.stringify(input)));
const problems = output.errors ?? [];
for (const problem of problems) console.error(problem.formattedMessage);
if (problems.length > 0) process.exit(1);

for (const name of names) {
  for (const [contract, { evm }] of Object.entries(output.contracts[name])) {
    if (evm.bytecode.object === "") continue; // an interface
    writeFileSync(join(folder, `${contract}.hex`), `${evm.bytecode.object}\n`);
    console.log(`${contract}.hex: ${evm.bytecode.object.length / 2} bytes`);
    for (const [signature, selector] of Object.entries(evm.methodIdentifiers)) {
      console.log(`  ${selector} ${signature}`);
    }
  }
}
